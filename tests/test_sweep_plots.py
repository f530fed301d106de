"""The figures of a sweep: every point where it belongs, and nothing squeezed or hidden."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text
from synthetic import GRID, synthetic_curves, synthetic_sweep
from test_plots import out_of_view

from gainjax.show import tables
from gainjax.show.plots import plot_frontier, plot_heatmap

COLORS = {"ngm-sgd": "#D55E00", "sgd": "#0072B2", "msgd": "#009E73", "adam": "#000000"}
NGM = {"ngm-sgd": GRID["ngm-sgd"]}
AXES = ("learning_rate", "sensitivity")


@pytest.fixture(scope="module")
def sweep():
    return synthetic_sweep()


def test_scores_above_1_are_in_view(sweep):
    returns = sweep.assign(accuracy=40 * sweep.accuracy, seen_accuracy=40 * sweep.seen_accuracy)
    returns = returns.assign_attrs(score="return")
    (axes,) = plot_frontier(returns).axes
    rows = tables.table(returns)
    low, high = axes.get_xlim()
    assert low < rows["anytime_accuracy"].max() < high
    (axes,) = plot_frontier(returns, "min_acc").axes  # higher is better, and 1 not the most
    assert axes.get_ylabel().startswith("−")
    assert axes.get_ylim()[0] < -rows["min_acc"].max() < axes.get_ylim()[1]
    # A tolerance has no unit but the range of the score.
    doubled = returns.assign(seen_accuracy=2 * returns.seen_accuracy)
    assert tables.ranking(doubled, 0.1)["chosen"].equals(tables.ranking(returns, 0.1)["chosen"])
    unknown = returns.copy(deep=True)
    unknown.diverged_update[:] = 3
    with pytest.raises(ValueError, match="must have a setting with avg_sg and seen_accuracy"):
        plot_frontier(unknown)


def points(figure, method):
    """Return the points of a method as {(x, y): filled}."""
    (axes,) = figure.axes
    found = {}
    for line in axes.lines:
        if line.get_color() == COLORS[method] and line.get_linestyle() == "None":
            if line.get_marker() in ("", "None", None, "|", "_"):
                continue
            filled = line.get_markerfacecolor() != "white"
            found |= dict.fromkeys(zip(*line.get_data(), strict=True), filled)
    return found


def joined(figure, method):
    (axes,) = figure.axes
    return [
        line.get_xydata()
        for line in axes.lines
        if line.get_color() == COLORS[method] and line.get_linestyle() != "None"
    ]


def caption(figure):
    return " ".join(figure.get_supxlabel().split())


def check_no_overlap(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    width, height = figure.bbox.size
    texts = [
        (text.get_text(), Text.get_window_extent(text, renderer))
        for text in set(figure.findobj(Text)) - out_of_view(figure)
        if text.get_visible() and text.get_text().strip()
    ]
    for i, (name, box) in enumerate(texts):
        assert -1 <= box.x0 < box.x1 <= width + 1, name
        assert -1 <= box.y0 < box.y1 <= height + 1, name
        for other, box2 in texts[i + 1 :]:
            assert not box.shrunk(0.96, 0.6).overlaps(box2.shrunk(0.96, 0.6)), (name, other)


@pytest.mark.parametrize("gap", ["avg_sg", "min_acc"])
def test_the_frontier_shows_the_numbers_of_the_table(sweep, gap):
    rows = tables.table(sweep)
    figure = plot_frontier(sweep, gap)
    y = rows["avg_sg"] if gap == "avg_sg" else 1 - rows["min_acc"]
    x = rows["anytime_accuracy"]
    for method in COLORS:
        own = rows["method"] == method
        shown = points(figure, method)
        assert shown.keys() == set(zip(x[own], y[own], strict=True))
        for (a, b), filled in shown.items():
            beaten = ((x >= a) & (y <= b) & ((x > a) | (y < b))).any()
            assert filled == (not beaten)
    bars = [c for c in figure.axes[0].collections if to_hex(c.get_color()[0]) == "#0072b2"]
    segments = np.concatenate([np.array(c.get_segments()) for c in bars])
    for end in ("low", "high"):
        ends = rows.loc[rows["method"] == "sgd", f"anytime_accuracy_{end}"]
        assert all(np.isclose(segments[..., 0], value, rtol=0, atol=1e-12).any() for value in ends)


def test_settings_are_joined_in_order_of_the_learning_rate(sweep):
    places = np.arange(sweep.sizes["setting"])
    methods = [list(COLORS).index(method) for method in sweep.method.values]
    turned = sweep.isel(setting=np.lexsort((-places, methods)))
    rows = tables.table(sweep)
    figure = plot_frontier(turned)
    (line,) = joined(figure, "adam")
    np.testing.assert_array_equal(
        line, rows.loc[rows["method"] == "adam", ["anytime_accuracy", "avg_sg"]]
    )
    lines = joined(figure, "ngm-sgd")
    assert len(lines) == 4  # one for each sensitivity
    own = rows[(rows["method"] == "ngm-sgd") & (rows["sensitivity"] == 0.4)]
    expected = own.sort_values("learning_rate")[["anytime_accuracy", "avg_sg"]].to_numpy()
    assert sum(np.array_equal(line, expected) for line in lines) == 1


def test_what_never_learns_does_not_squeeze_the_rest(sweep):
    figure = plot_frontier(sweep)
    low, high = figure.axes[0].get_xlim()
    x = tables.table(sweep)["anytime_accuracy"]
    assert x.min() < 0.3
    assert low > 0.85
    assert low < x.max() < high
    outside = int((x < low).sum())
    assert outside > 0
    assert f"{outside} of 32 settings lie outside, at lower accuracy" in caption(figure)
    best = tables.ranking(sweep).groupby("method")["anytime_accuracy"].max()
    assert (best > low).all()  # every method is seen


def test_an_even_spread_is_shown_whole():
    sweep = synthetic_sweep({"sgd": (tuple(np.linspace(0.1, 1, 10)), (np.nan,))}, seeds=2)
    for i in range(10):
        sweep.seen_accuracy[i] = 0.5 + 0.04 * i
    figure = plot_frontier(sweep)
    assert figure.axes[0].get_xlim()[0] < 0.5
    assert "outside" not in caption(figure)


def test_a_method_that_never_learns_is_out_of_view_and_counted():
    grid = {"ngm-sgd": ((0.1, 0.2, 0.3), (np.nan,)), "sgd": ((0.1, 0.2), (np.nan,))}
    sweep = synthetic_sweep(grid, seeds=2)
    for i, accuracy in enumerate([0.9, 0.89, 0.88, 0.2, 0.2]):
        sweep.seen_accuracy[i] = accuracy
    sweep.accuracy[3:] = 0.5  # no gap at all: on the frontier, and of no interest
    figure = plot_frontier(sweep)
    assert figure.axes[0].get_xlim()[0] > 0.8
    assert "2 of 5 settings lie outside" in caption(figure)
    assert all(points(figure, "sgd").values())
    check_no_overlap(figure)


def test_labels_are_learning_rates_beside_their_points(sweep):
    figure = plot_frontier(sweep)
    rows = tables.table(sweep)
    labels = [a for a in figure.axes[0].texts if isinstance(a, Annotation)]
    by_point = {(r["anytime_accuracy"], r["avg_sg"]): r for _, r in rows.iterrows()}
    for label in labels:
        row = by_point[label.xy]
        swept = [row["learning_rate"], row["sensitivity"]]
        assert label.get_text() == ", ".join(f"{v:g}"[1:] for v in swept if v == v)
        assert label.get_color() == COLORS[row["method"]]
        assert np.hypot(*label.xyann) < 25
    assert len(labels) >= 10
    assert len({label.xy for label in labels}) == len(labels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": 1},
        {"grid": NGM},
        {"grid": {"sgd": ((0.1,), (np.nan,))}, "tasks": 2},
        {"grid": {"sgd": ((0.1, 0.2), (np.nan,)), "ngm-sgd": ((0.1,), (0.2,))}},
        {"diverged": [("sgd learning_rate=0.3", 0, 30), ("sgd learning_rate=0.3", 1, 1)]},
    ],
    ids=str,
)
def test_every_shape_of_sweep_is_drawn_without_overlap(options):
    check_no_overlap(plot_frontier(synthetic_sweep(**options)))


def test_a_run_has_a_point_per_method():
    curves = synthetic_curves()
    figure = plot_frontier(curves)
    rows = tables.table(curves)
    for method in COLORS:
        where = (rows.loc[method, "anytime_accuracy"], rows.loc[method, "avg_sg"])
        assert points(figure, method) == {where: rows.loc[method, "frontier"]}
    assert not figure.axes[0].texts
    check_no_overlap(figure)


def test_a_method_without_what_is_swept_is_a_point(sweep):
    rates = sweep.learning_rate.where(sweep.method != "adam")
    figure = plot_frontier(sweep.assign_coords(learning_rate=rates))
    assert len(points(figure, "adam")) == 5
    assert "#000000" not in {text.get_color() for text in figure.axes[0].texts}


def test_seeds_that_agree_have_bars_of_no_length():
    sweep = synthetic_sweep({"sgd": ((0.1, 0.2), (np.nan,))}, seeds=5, tasks=2)
    sweep.accuracy[:] = sweep.accuracy.values[:, :1]
    sweep.seen_accuracy[:] = np.float32(0.9)
    check_no_overlap(plot_frontier(sweep))


def test_wrong_frontiers_are_refused(sweep):
    with pytest.raises(ValueError, match=r"gap must be one of avg_sg, min_acc, .*got 'nothing'"):
        plot_frontier(sweep, "nothing")
    with pytest.raises(ValueError, match="must hold seen_accuracy"):
        plot_frontier(sweep.isel(seen_update=slice(0)))


@pytest.mark.parametrize("metric", ["avg_sg", "min_acc"])
def test_cells_hold_the_numbers_of_the_table(sweep, metric):
    left, right = plot_heatmap(sweep, "ngm-sgd", *AXES, metric=metric).axes
    rows = tables.table(sweep).query("method == 'ngm-sgd'")
    rates = [label.get_text() for label in left.get_xticklabels()]
    levels = [label.get_text() for label in left.get_yticklabels()]
    assert rates == ["0.003", "0.01", "0.03", "0.1"]
    assert levels == ["0.1", "0.2", "0.4", "0.8"]
    for axes, name in ((left, metric), (right, "anytime_accuracy")):
        cells = {text.get_position(): text.get_text() for text in axes.texts}
        assert len(cells) == 16
        for _, row in rows.iterrows():
            at = rates.index(f"{row['learning_rate']:g}"), levels.index(f"{row['sensitivity']:g}")
            value = f"{row[name]:.3f}" if name == "avg_sg" else f"{100 * row[name]:.1f}"
            assert cells[at] == value
    label = tables.ranking(sweep).query("chosen and method == 'ngm-sgd'").index[0]
    for axes in (left, right):
        (outline,) = axes.patches
        column, line = outline.get_x() + 0.5, outline.get_y() + 0.5
        where = f"learning_rate={rates[int(column)]} sensitivity={levels[int(line)]}"
        assert label == f"ngm-sgd {where}"


def test_dark_is_good_and_grey_is_inaccurate(sweep):
    left, right = plot_heatmap(sweep, "ngm-sgd", *AXES).axes
    rows = tables.table(sweep).query("method == 'ngm-sgd'")
    gap, accuracy = (
        rows.pivot(index="sensitivity", columns="learning_rate", values=name).to_numpy()
        for name in ("avg_sg", "anytime_accuracy")
    )
    light, light2 = (a.images[0].get_array()[..., :3].sum(axis=-1) for a in (left, right))
    gray = np.isclose(light, 3 * 0.94)
    assert (gray == np.isclose(light2, 3 * 0.94)).all()
    assert 0 < gray.sum() < 12
    assert accuracy[gray].max() < accuracy[~gray].min()
    assert (np.argsort(light[~gray]) == np.argsort(gap[~gray])).all()
    assert (np.argsort(light2[~gray]) == np.argsort(-accuracy[~gray])).all()


def test_heatmaps_have_holes_and_marks():
    label = "ngm-sgd learning_rate=0.1 sensitivity=0.8"
    sweep = synthetic_sweep(NGM, seeds=2, diverged=[(label, 0, 300)]).isel(setting=slice(1, None))
    figure = plot_heatmap(sweep, "ngm-sgd", *AXES)
    left = figure.axes[0]
    assert len(left.texts) == 15
    assert left.images[0].get_array()[0, 0, 3] == 0
    assert [t.get_position() for t in left.texts if t.get_text().endswith("×")] == [(3, 3)]
    assert "×: seeds diverged" in caption(figure)
    check_no_overlap(figure)
    turned = plot_heatmap(sweep, "ngm-sgd", *AXES[::-1])
    assert turned.axes[0].get_xlabel() == "sensitivity"
    assert turned.axes[0].get_ylabel() == "learning rate"


def test_large_heatmaps_can_be_read():
    rates, levels = tuple(0.001 * 2.0 ** np.arange(8)), tuple(0.1 * np.arange(1, 9))
    sweep = synthetic_sweep({"ngm-sgd": (rates, levels)}, seeds=2, tasks=2)
    check_no_overlap(plot_heatmap(sweep, "ngm-sgd", *AXES))


def test_nothing_is_outlined_if_nothing_is_chosen(sweep):
    lowered = sweep.copy(deep=True)
    lowered.seen_accuracy[sweep.method.values == "ngm-sgd"] *= 0.9
    figure = plot_heatmap(lowered, "ngm-sgd", *AXES, best="any")
    assert not figure.axes[0].patches
    assert "outlined" not in caption(figure)


def test_wrong_heatmaps_are_refused(sweep):
    wrong = [
        (("adan", *AXES), {}, "one of ngm-sgd, sgd, msgd, adam: got 'adan'"),
        (("ngm-sgd", "rate", "sensitivity"), {}, "x must be a swept.*got 'rate'"),
        (("sgd", *AXES), {}, "y must be a swept hyperparameter of sgd, one of learning_rate"),
        (("ngm-sgd", AXES[0], AXES[0]), {}, "different hyperparameters: got 'learning_rate' tw"),
        (("ngm-sgd", *AXES), {"metric": "nothing"}, "metric must be one of .*got 'nothing'"),
    ]
    for arguments, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            plot_heatmap(sweep, *arguments, **options)
    with pytest.raises(ValueError, match="must be a sweep"):
        plot_heatmap(synthetic_curves(seeds=1), "sgd", *AXES)
    same = sweep.assign_coords(sensitivity=0 * sweep.sensitivity)
    with pytest.raises(ValueError, match=r"one setting of ngm-sgd for each.*curves\.sel"):
        plot_heatmap(same, "ngm-sgd", *AXES)


def test_figures_can_be_saved(sweep):
    for figure in (plot_frontier(sweep), plot_heatmap(sweep, "ngm-sgd", *AXES)):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="pdf")
        assert buffer.getvalue().startswith(b"%PDF")
