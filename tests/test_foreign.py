"""Curves from elsewhere and metrics per seed, through everything that is shown."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rich.console import Console
from synthetic import synthetic_curves, synthetic_sweep
from test_plots import png

import gainjax
from gainjax import concat, from_curves, metrics, per_seed, show
from gainjax.curves import load, save
from gainjax.metrics import METRICS, register_metric

ENDS = [100, 150, 290]  # unequal tasks
WHEN = np.unique([*range(10, 291, 10), *ENDS]).tolist()  # sparse evaluation
EVERY = {"eval_updates": WHEN, "task_ends": ENDS}


def arrays(labels=("er", "ewc", "si"), seeds=6, tasks=3, dtype=np.float64):
    rng = np.random.default_rng(7)
    return {label: rng.uniform(0.2, 1, (seeds, len(WHEN), tasks)).astype(dtype) for label in labels}


def seen(labels=("er", "ewc", "si"), seeds=6):
    rng = np.random.default_rng(8)
    return {label: rng.uniform(0.2, 1, (seeds, len(WHEN))) for label in labels}


def printed(function, *arguments, **options):
    console = Console(width=100, file=io.StringIO())
    function(*arguments, console=console, **options)
    return console.file.getvalue()


# --- from_curves ---


def test_numbers_are_those_of_the_arrays(tmp_path):
    given_accuracy, given_seen = arrays(), seen()
    curves = from_curves(given_accuracy, seen_accuracy=given_seen, benchmark="torch", **EVERY)
    rows = gainjax.table(curves)
    for label, accuracy in given_accuracy.items():
        expected = metrics.summarize(accuracy, WHEN, ENDS, given_seen[label])
        for name, values in expected.items():
            assert rows.loc[label, name] == pytest.approx(values.mean()), name
        chosen = per_seed(curves).query("setting == @label")
        assert chosen["seed"].tolist() == list(range(6))
        for name, values in expected.items():
            np.testing.assert_allclose(chosen[name], values, err_msg=name)
    assert (rows["diverged"] == 0).all()
    xr.testing.assert_identical(load(save(curves, tmp_path)), curves)


def test_an_evaluation_before_the_first_update_may_be_of_seen_tasks_too():
    """It is recorded, and no metric counts it: none of its updates had been trained."""
    accuracy, seen_accuracy = np.array([[0.1], [0.9], [0.8]]), np.array([0.5, 0.9, 0.7])
    when = {"task_ends": [10, 20], "benchmark": "b"}
    curves = from_curves(
        {"er": accuracy}, seen_accuracy={"er": seen_accuracy}, eval_updates=[0, 10, 20], **when
    )
    assert curves.seen_update.values.tolist() == [0, 10, 20]
    later = from_curves(
        {"er": accuracy[1:]}, seen_accuracy={"er": seen_accuracy[1:]}, eval_updates=[10, 20], **when
    )
    names = ["anytime_accuracy", "final_accuracy", "avg_sg"]
    np.testing.assert_array_equal(per_seed(curves)[names], per_seed(later)[names])


def test_all_tables_figures_and_tests_take_them(tmp_path):
    curves = from_curves(arrays(), seen_accuracy=seen(), benchmark="torch", **EVERY)
    text = printed(show.print_table, curves)
    assert "torch, 3 tasks, 290 updates, 6 seeds" in text
    assert "Rodriguez-Garcia" in text
    assert "De Lange" in text
    assert "Differences from er, paired by seed" in text
    assert "p=" in text
    assert "diverged" not in text
    assert "nan" not in text
    rows = gainjax.comparison(curves)
    assert rows.index.tolist() == ["ewc", "si"]
    assert rows["avg_sg_p_holm"].notna().all()
    figure = gainjax.plot_curves(curves)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["accuracy on task 1", "relative to before the switch"]
    png(figure)
    png(gainjax.plot_frontier(curves))
    names = [path.name for path in show.write(curves, tmp_path)]
    assert names == ["curves.png", "curves.pdf", "table.csv", "table.md", "comparison.csv"]


def test_what_was_recorded_is_drawn():
    rng = np.random.default_rng(0)
    series = {"er": rng.uniform(1, 2, (2, 290))}
    accuracy = arrays(["er"], seeds=2, tasks=1)
    curves = from_curves(
        accuracy, gain=series, train_loss=series, eval_loss={"er": 1 - accuracy["er"]}, **EVERY
    )
    labels = [axes.get_ylabel() for axes in gainjax.plot_curves(curves).axes]
    assert labels[:3] == ["accuracy on task 1", "test loss on\ntask 1 (nats)", "gain"]


def test_one_seed_needs_no_axis():
    accuracy = arrays(["er"], seeds=1)["er"]
    with_axis = from_curves({"er": accuracy}, seeds=[5], **EVERY)
    xr.testing.assert_identical(with_axis, from_curves({"er": accuracy[0]}, seeds=[5], **EVERY))
    assert with_axis.seed.values.tolist() == [5]


def test_a_seed_that_diverged_is_told_by_its_loss():
    accuracy = arrays(["er"], seeds=2)
    loss = np.ones((2, 290))
    loss[1, 40:] = np.nan
    curves = from_curves(accuracy, train_loss={"er": loss}, **EVERY)
    assert curves.diverged_update.values.tolist() == [[0, 41]]
    assert "1/2 diverged" in printed(show.print_table, curves)
    png(gainjax.plot_curves(curves))


def test_another_score_than_accuracy():
    score = {"er": 3 * arrays(["er"])["er"] - 1.5}  # below 0 and above 1
    curves = from_curves(score, score="R²", **EVERY)
    text = printed(show.print_table, curves)
    assert "R² at the ends of tasks, mean" in text
    assert "%" not in text.split("avg-SG:")[0]
    mean = metrics.average_accuracy(score["er"][..., 0], WHEN, ENDS).mean()
    assert f"{mean:.3f}" in text
    figure = gainjax.plot_curves(curves)
    assert figure.axes[0].get_ylabel() == "R² on task 1"
    png(figure)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"accuracy": np.ones((2, 3))}, TypeError, "must map labels to arrays"),
        ({"accuracy": {}}, ValueError, "at least one"),
        ({"accuracy": {"er": 100 * arrays()["er"]}}, ValueError, "divide percentages by 100"),
        ({"accuracy": {"er": arrays()["er"][..., 0]}}, ValueError, r"array\[\.\.\., None\]"),
        ({"accuracy": {"er": arrays()["er"][:, 1:]}}, ValueError, "29 evaluations: got shape"),
        ({"accuracy": {"er": arrays()["er"][..., :2]}}, ValueError, "of task 1 or of all 3 tasks"),
        (
            {"accuracy": {"er": np.ma.masked_less(arrays()["er"], 0.5)}},
            ValueError,
            "accuracy of 'er' must not be masked",
        ),
        ({"accuracy": {"er": "high"}}, ValueError, "must be numbers with the axes"),
        ({"accuracy": arrays() | {"x": arrays(seeds=2)["er"]}}, ValueError, "the same shape"),
        ({"seeds": [1]}, ValueError, "as many as in accuracy, 6: got"),
        ({"seeds": [1, 1, 2, 3, 4, 5]}, ValueError, "different integers"),
        ({"seen_accuracy": seen(["er"])}, ValueError, "must map the labels er, ewc, si"),
        ({"seen_updates": [10]}, ValueError, "no seen_accuracy"),
        (
            {"learning_rate": {}},
            ValueError,
            "learning_rate cannot be recorded; these can",
        ),
        ({"train_loss": {k: np.ones((6, 9)) for k in arrays()}}, ValueError, "train_loss must be"),
        ({"task_ends": [100, 155, 290]}, ValueError, r"\[155\] were not evaluated"),
        ({"task_ends": [100, 150]}, ValueError, "must end with the last task, at 150"),
        ({"benchmark": 5}, ValueError, "must be names"),
    ],
)
def test_wrong_curves_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        from_curves(**({"accuracy": arrays(), **EVERY} | changes))


# --- concat ---


def test_curves_from_elsewhere_join_a_run_of_the_same_protocol(tmp_path):
    own = synthetic_curves(["ngm-sgd", "sgd"], seeds=6, tasks=2, updates_per_task=50)
    accuracy = {"er": np.random.default_rng(0).uniform(0.5, 1, (6, 100, 1))}
    when = {"eval_updates": range(1, 101), "task_ends": [50, 100]}
    foreign = from_curves(accuracy, benchmark="synthetic", **when)
    both = concat([own, foreign], "setting")
    assert both.setting.values.tolist() == ["ngm-sgd", "sgd", "er"]
    assert not both.diverged_update.any()
    assert both.gain.sel(setting="er").isnull().all()
    assert json.loads(both.attrs["spec"])["elsewhere"] == ["er"]
    xr.testing.assert_identical(load(save(both, tmp_path)), both)
    turned = concat([foreign, own], "setting")
    xr.testing.assert_equal(turned.sel(setting=both.setting.values), both)
    rows = gainjax.table(both)
    alone = gainjax.table(foreign)
    assert rows.loc["er", "avg_sg"] == alone.loc["er", "avg_sg"]
    assert np.isnan(rows.loc["er", "anytime_accuracy"])
    assert rows["diverged"].tolist() == [0, 0, 0]
    text = printed(show.print_table, both)
    assert "required data were not recorded" in text
    assert "–" in next(line for line in text.splitlines() if line.startswith(" er"))
    assert "nan" not in text
    assert "diverged" not in text
    frame = per_seed(both)
    assert frame["anytime_accuracy"].isna().sum() == 6
    figure = gainjax.plot_curves(both)
    assert len([line for line in figure.axes[1].lines if len(line.get_xdata()) > 2]) == 2
    png(figure)
    png(gainjax.plot_frontier(both))
    show.write(both, tmp_path)
    assert (
        gainjax.comparison(both, metrics=["avg_sg", "anytime_accuracy"]).loc["er"].isna().sum() == 5
    )


# --- per seed, and metrics from outside ---


@pytest.mark.parametrize("eval_tasks", [1, 3])
def test_metrics_per_seed_are_the_metrics(eval_tasks):
    sweep = synthetic_sweep(seeds=2, tasks=3, updates_per_task=30, eval_tasks=eval_tasks)
    frame = per_seed(sweep)
    assert len(frame) == sweep.sizes["setting"] * 2
    assert list(frame.columns[:5]) == ["setting", "method", "learning_rate", "sensitivity", "seed"]
    for i in (0, 17, len(frame) - 1):
        one = sweep.sel(setting=frame["setting"][i], seed=frame["seed"][i])
        expected = metrics.summarize(
            one.accuracy.values,
            one.eval_update.values,
            [30, 60, 90],
            one.seen_accuracy.values,
            seen_updates=one.seen_update.values,
        )
        assert list(expected) == list(frame.columns[5:-1])
        np.testing.assert_allclose(
            frame.iloc[i][list(expected)].astype(float), list(expected.values())
        )
    means = frame.groupby("setting", sort=False)[list(expected)].mean()
    pd.testing.assert_frame_equal(gainjax.table(sweep)[list(expected)], means)


def test_a_metric_from_outside_shows_everywhere(tmp_path):
    curves = synthetic_curves(seeds=2, eval_tasks=5)
    sweep = synthetic_sweep({"ngm-sgd": ((0.01, 0.1), (0.2, 0.4))}, seeds=2, tasks=2)

    def time_below_half(accuracy):
        return (accuracy < 0.5).mean(axis=-1)

    register_metric(
        "below_half", time_below_half, ("first_accuracy",), "below 50",
        "share of the evaluations below one half", unit="percent", better="lower", compared=True,
    )  # fmt: skip
    register_metric(
        "mean_gain", lambda gain: gain.mean(axis=-1), ("gain",), "gain", "gain, mean over updates"
    )
    try:
        assert {"below_half", "mean_gain"} <= set(per_seed(curves).columns)
        expected = (curves.accuracy.sel(eval_task=1) < 0.5).mean(["seed", "eval_update"])
        rows = gainjax.table(curves)
        np.testing.assert_allclose(rows["below_half"], expected)
        np.testing.assert_allclose(
            rows["mean_gain"], curves.gain.mean(["seed", "update"]), rtol=1e-6
        )
        assert "below_half_p" in gainjax.comparison(curves)
        assert "below_half" in gainjax.ranking(sweep)
        text = printed(show.print_table, curves)
        assert text.count("below 50: share of the evaluations below one half, %") == 2
        assert "gain: gain, mean over updates" in text
        show.write(curves, tmp_path)
        assert "below_half_low" in pd.read_csv(tmp_path / "table.csv")
        assert "below 50" in (tmp_path / "table.md").read_text()
        axes = gainjax.plot_heatmap(
            sweep, "ngm-sgd", "learning_rate", "sensitivity", "below_half"
        ).axes
        assert axes[0].get_title() == "below 50 (%)"
        assert (
            gainjax.plot_frontier(sweep, "below_half").axes[0].get_ylabel() == "below 50 (← better)"
        )
        assert "mean_gain" not in gainjax.table(curves.drop_vars("gain"))
    finally:
        del METRICS["below_half"], METRICS["mean_gain"]
    assert "below_half" not in gainjax.table(curves)
