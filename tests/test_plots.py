"""The figure: what it draws is what the curves say, for every shape a run can have."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic import CHARACTER, synthetic_curves, with_names

import gainjax
from gainjax import curves as results
from gainjax.show.plots import plot_accuracy, plot_curves
from gainjax.show.plots.drawing import visible


def lines(axes):
    """Return the curves of an axes, by color."""
    return {line.get_color(): line for line in axes.lines if len(line.get_xdata()) > 2}


def by_label(figure):
    return {axes.get_ylabel(): axes for axes in figure.axes if axes.get_ylabel()}


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=60)
    return buffer.getvalue()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tasks": 3},
        {"seeds": 1},
        {"methods": ["sgd"]},
        {"methods": ["ngm-sgd"], "seeds": 1},
        {"tasks": 1},
        {"tasks": 20, "updates_per_task": 50},
        {"updates_per_task": 2},
        {"updates_per_task": 1, "tasks": 2},
        {"eval_every": 30, "eval_tasks": 5},
        {"diverged": [("msgd", 3, 450), ("msgd", 1, 250), ("adam", 0, 1)]},
        {"seeds": 2, "diverged": [("sgd", 0, 30), ("sgd", 1, 900)]},
        {"seeds": 1, "methods": ["ngm-sgd"], "diverged": [("ngm-sgd", 0, 1)]},
    ],
    ids=str,
)
def test_every_shape_of_run_is_drawn_without_overlap(options):
    figure = plot_curves(synthetic_curves(**options))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    width, height = figure.bbox.size
    texts = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in set(figure.findobj(Text)) - out_of_view(figure)
        if text.get_visible() and text.get_text().strip()
    ]
    assert len(texts) > 8
    for i, (name, box) in enumerate(texts):
        assert -1 <= box.x0 < box.x1 <= width + 1, name
        assert -1 <= box.y0 < box.y1 <= height + 1, name
        for other, box2 in texts[i + 1 :]:
            assert not box.shrunk(0.98, 0.9).overlaps(box2.shrunk(0.98, 0.9)), (name, other)


def out_of_view(figure):
    """Return the labels of ticks beyond the limits of their axis, which are not drawn."""
    labels = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if not low <= tick.get_loc() <= high:
                labels |= {tick.label1, tick.label2}
    return labels


def test_lines_are_means_over_seeds():
    curves = synthetic_curves()
    axes = by_label(plot_curves(curves))
    whole = lines(axes["accuracy on task 1"])
    assert len(whole) == 4
    ngm = curves.sel(setting="ngm-sgd")
    line = whole["#D55E00"]
    np.testing.assert_array_equal(line.get_xdata(), curves.eval_update)
    np.testing.assert_allclose(line.get_ydata(), ngm.accuracy[..., 0].mean("seed"), rtol=1e-6)
    loss = lines(axes["test loss on\ntask 1 (nats)"])["#D55E00"]
    np.testing.assert_allclose(loss.get_ydata(), ngm.eval_loss[..., 0].mean("seed"), rtol=1e-6)
    (gain,) = lines(axes["gain"]).values()  # the others have none
    np.testing.assert_allclose(gain.get_ydata(), ngm.gain.mean("seed"), rtol=1e-6)


def test_the_right_column_shows_the_gap():
    curves = synthetic_curves(methods=["msgd"])
    axes = by_label(plot_curves(curves))["relative to before the switch"]
    (line,) = lines(axes).values()
    accuracy = curves.accuracy.values[0, ..., 0].astype(float)  # update n is column n - 1
    since = 7
    expected = np.mean(
        [accuracy[:, t + since - 1] / accuracy[:, t - 1] for t in (200, 400, 600, 800)]
    )
    at = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert at[0] == pytest.approx(1)
    assert at[since] == pytest.approx(expected)
    assert (min(at), max(at)) == (-10, 50)


def test_a_diverged_seed_counts_as_wrong_and_is_named():
    curves = synthetic_curves(diverged=[("msgd", 3, 450)])
    assert curves.diverged_update.sel(setting="msgd", seed=3) == 450
    figure = plot_curves(curves)
    axes = by_label(figure)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "NGM-SGD", "SGD", "MSGD (1 of 5 diverged)", "Adam",
    ]  # fmt: skip
    line = lines(axes["accuracy on task 1"])["#009E73"]
    assert line.get_ydata()[-1] < 0.81
    assert np.isfinite(lines(axes["test loss on\ntask 1 (nats)"])["#009E73"].get_ydata()).all()
    (mark,) = (m for m in axes["accuracy on task 1"].lines if m.get_marker() == "X")
    assert mark.get_xdata() == [450]


def test_methods_are_told_apart_with_and_without_color():
    names = [*CHARACTER, *(f"control-{i}" for i in range(12))]
    template = synthetic_curves(methods=["sgd"], seeds=1, tasks=2, updates_per_task=20)
    curves = with_names(template.isel(setting=[0] * len(names)), names)
    figure = plot_curves(curves)
    handles = figure.legends[0].get_lines()
    assert len({(h.get_color(), str(h._unscaled_dash_pattern)) for h in handles}) == len(names)
    assert len({str(h._unscaled_dash_pattern) for h in handles[:8]}) == 8
    png(figure)


def test_long_curves_are_thinned_without_losing_an_extreme():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50_000, 3))
    values[31_234] += 50
    values[7, 1] = -80
    kept = visible(values)
    assert len(kept) < 6100
    assert {0, 7, 31_234, 49_999} <= set(kept)
    assert (np.diff(kept) > 0).all()
    for stretch in np.array_split(np.arange(50_000), 1000):
        own, curve = kept[np.isin(kept, stretch)], values.mean(axis=1)
        assert curve[own].max() == curve[stretch].max()
        assert curve[own].min() == curve[stretch].min()
    assert visible(values[:4000]).tolist() == list(range(4000))


def test_long_runs_are_drawn_with_few_points():
    curves = synthetic_curves(["sgd"], seeds=2, tasks=2, updates_per_task=10_000)
    figure = plot_curves(curves)
    assert max(len(line.get_xdata()) for axes in figure.axes for line in axes.lines) < 6100
    png(figure)


@pytest.mark.parametrize(
    "names", [("eval_loss",), ("gain",), ("eval_loss", "gain"), ("train_loss", "uncertainty")]
)
def test_what_was_not_recorded_has_no_panel(names):
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=50, without=names)
    labels = by_label(plot_curves(curves))
    assert ("gain" in labels) == ("gain" not in names)
    assert ("test loss on\ntask 1 (nats)" in labels) == ("eval_loss" not in names)


def test_several_gains_are_thin_lines_beside_the_whole():
    curves = synthetic_curves(["ngm-sgd", "sgd"], seeds=2, tasks=2, updates_per_task=50)
    gains = 1 + np.random.default_rng(0).random((2, 2, 100, 3))
    gains[1] = np.nan  # SGD has none
    curves = curves.assign(gains=(("setting", "seed", "update", "group"), gains))
    axes = by_label(plot_curves(curves.assign_coords(group=["a", "b", "c"])))["gain"]
    drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert [line.get_linewidth() for line in drawn] == [2.0, 0.6, 0.6, 0.6]


def test_sparse_evaluations_after_a_switch_are_seen():
    curves = synthetic_curves(["sgd"], seeds=2, tasks=3, updates_per_task=100, eval_every=50)
    axes = by_label(plot_curves(curves))["relative to before the switch"]
    assert axes.get_xlim()[1] == 100  # two evaluations, to the end of the task
    (line,) = lines(axes).values()
    assert line.get_ydata()[-1] == pytest.approx(
        np.mean(
            [
                curves.accuracy.sel(eval_update=end + 100) / curves.accuracy.sel(eval_update=end)
                for end in (100, 200)
            ]
        )
    )


def test_the_loss_axis_is_logarithmic_over_decades_only():
    label = "test loss on\ntask 1 (nats)"
    curves = synthetic_curves()
    assert by_label(plot_curves(curves))[label].get_yscale() == "log"
    flat = curves.assign(eval_loss=0 * curves.eval_loss + 0.5)
    assert by_label(plot_curves(flat))[label].get_yscale() == "linear"
    png(plot_curves(curves.assign(eval_loss=curves.eval_loss.where(curves.eval_update < 500, 0))))


def test_a_passing_infinite_loss_does_no_harm():
    curves = synthetic_curves()
    curves.eval_loss[0, 0, 10] = np.inf
    figure = plot_curves(curves)
    png(figure)
    loss = by_label(figure)["test loss on\ntask 1 (nats)"]
    assert np.isfinite(loss.get_ylim()).all()
    others = curves.eval_loss[0, 1:, :, 0].mean("seed")
    np.testing.assert_allclose(loss.lines[0].get_ydata(), others, rtol=1e-6)


def test_scores_of_unknown_worst_value_are_drawn_without_diverged_seeds():
    curves = synthetic_curves(["ngm-sgd", "sgd"]).assign_attrs(score="r2")
    curves.diverged_update[0, 1] = curves.diverged_update[1] = 300
    for place in ((0, 1), (1, slice(None))):  # one seed, and all of the other method
        curves.accuracy[(*place, slice(299, None))] = np.nan
    sound = curves.accuracy[0, [0, 2, 3, 4], :, 0].mean("seed")
    for plot in (plot_curves, plot_accuracy):
        figure = plot(curves)
        png(figure)
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), sound, rtol=1e-6)
    # So does the table.
    rows = gainjax.table(curves)
    gaps = gainjax.per_seed(curves).groupby("setting")["avg_sg"]
    assert rows["avg_sg"]["ngm-sgd"] == pytest.approx(gaps.mean()["ngm-sgd"])
    assert gaps.count().tolist() == [4, 0]
    finite = curves.assign(accuracy=curves.accuracy.fillna(0.5))  # known, but of no meaning
    drawn = plot_curves(finite).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, sound, rtol=1e-6)


def test_no_global_state_is_touched(tmp_path):
    before = dict(matplotlib.rcParams)
    figure = plot_curves(results.load(results.save(synthetic_curves(), tmp_path)))
    assert type(figure) is Figure
    png(figure)
    assert dict(matplotlib.rcParams) == before
