"""Numbers of sweeps and comparisons, against direct computation from the curves."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic import synthetic_curves, synthetic_sweep

import gainjax
from gainjax import curves as results
from gainjax.show import tables

COMPARED = tables.compared("rodriguez-garcia")
SMALL = {"ngm-sgd": ((0.01, 0.1), (0.2, 0.4)), "sgd": ((0.01, 0.1, 0.3), (np.nan,))}


@pytest.fixture(scope="module")
def sweep():
    return synthetic_sweep(SMALL, seeds=3, tasks=3, updates_per_task=100)


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


def gaps(curves, row, length=200):
    """Return avg-SG of each seed of a row."""
    accuracy = curves.accuracy.values[row, ..., 0].astype(float)
    switches = range(length, accuracy.shape[1], length)
    drops = [1 - accuracy[:, t : t + length].min(axis=1) / accuracy[:, t - 1] for t in switches]
    return np.mean(drops, axis=0)


def with_metrics(points):
    """Return a sweep of ngm-sgd and sgd, one seed, whose settings have these (gap, anytime)."""
    methods = [method for method, _, _ in points]
    counts = {m: methods.count(m) for m in dict.fromkeys(methods)}
    grid = {m: (tuple(0.1 * (i + 1) for i in range(n)), (np.nan,)) for m, n in counts.items()}
    sweep = synthetic_sweep(grid, seeds=1, tasks=2, updates_per_task=20)
    for i, (_, gap, anytime) in enumerate(points):
        sweep.accuracy[i] = 1
        sweep.accuracy[i, :, 25] = 1 - gap
        sweep.seen_accuracy[i] = anytime
    return sweep


def test_a_sweep_has_a_row_per_setting(sweep):
    rows = tables.table(sweep)
    assert rows.index.name == "setting"
    assert COMPARED == ["avg_sg", "min_acc", "anytime_accuracy", "final_accuracy"]
    assert list(rows.columns[:3]) == ["method", "learning_rate", "sensitivity"]
    assert rows["method"].tolist() == ["ngm-sgd"] * 4 + ["sgd"] * 3
    assert rows["learning_rate"].tolist() == [0.01, 0.01, 0.1, 0.1, 0.01, 0.1, 0.3]
    assert rows["sensitivity"].isna().tolist() == [False] * 4 + [True] * 3
    for i, label in enumerate(rows.index):
        assert rows.loc[label, "avg_sg"] == pytest.approx(gaps(sweep, i, 100).mean())


def test_a_sweep_survives_the_disk(sweep, tmp_path):
    loaded = results.load(results.save(sweep, tmp_path))
    xr.testing.assert_identical(loaded, sweep)
    assert results.swept_names(loaded) == ["learning_rate", "sensitivity"]
    pd.testing.assert_frame_equal(tables.ranking(loaded), tables.ranking(sweep))
    with pytest.raises(ValueError, match="no method over setting"):
        results.save(sweep.drop_vars("method"), tmp_path)


def test_what_is_swept_are_the_coordinates_that_vary(curves, sweep):
    assert results.swept_names(curves) == []
    only_sgd = sweep.isel(setting=sweep.method.values == "sgd")
    assert results.swept_names(only_sgd) == ["learning_rate"]


def test_the_smallest_gap_among_the_accurate_is_chosen():
    sweep = with_metrics(
        [
            ("sgd", 0.02, 0.2),  # never learns
            ("sgd", 0.2, 0.9),
            ("sgd", 0.1, 0.896),
            ("sgd", 0.3, 0.899),
            ("ngm-sgd", 0.05, 0.95),
            ("ngm-sgd", 0.04, 0.945),  # just within
            ("ngm-sgd", 0.03, 0.9445),
        ]
    )
    rows = tables.ranking(sweep)
    assert rows["method"].tolist() == ["sgd"] * 4 + ["ngm-sgd"] * 3
    np.testing.assert_allclose(rows["avg_sg"], [0.1, 0.2, 0.3, 0.02, 0.04, 0.05, 0.03], rtol=1e-5)
    assert rows["chosen"].tolist() == [True, False, False, False, True, False, False]
    assert rows["frontier"].tolist() == [False] * 3 + [True] * 4
    every = tables.ranking(sweep, best="any")
    assert every["chosen"].tolist() == [False] * 4 + [True, False, False]
    np.testing.assert_allclose(every["anytime_accuracy"][:4], [0.9, 0.899, 0.896, 0.2], rtol=1e-5)
    narrow = tables.ranking(sweep, tolerance=0)
    np.testing.assert_allclose(narrow["avg_sg"][narrow["chosen"]], [0.2, 0.05], rtol=1e-5)
    wide = tables.ranking(sweep, tolerance=0.06, best="any")
    np.testing.assert_allclose(wide["avg_sg"][wide["chosen"]], [0.1, 0.03], rtol=1e-5)


def test_an_evaluation_before_the_first_update_counts_in_no_table_of_task_1():
    accuracy = {"a": np.random.default_rng(0).uniform(0.5, 1, (3, 5, 1))}
    with_start = gainjax.from_curves(accuracy, eval_updates=[0, 1, 2, 3, 4], task_ends=[2, 4])
    accuracy = {"a": accuracy["a"][:, 1:]}
    without = gainjax.from_curves(accuracy, eval_updates=[1, 2, 3, 4], task_ends=[2, 4])
    pd.testing.assert_frame_equal(tables.table(with_start), tables.table(without))


def test_a_diverged_setting_is_never_the_best():
    sweep = with_metrics([("sgd", 0.0, 0.95), ("sgd", 0.2, 0.9), ("ngm-sgd", 0.1, 0.8)])
    sweep["diverged_update"][{"setting": [0, 2], "seed": 0}] = 7
    rows = tables.ranking(sweep)
    assert rows["diverged"].tolist() == [0, 1, 1]
    assert rows["frontier"].tolist() == rows["chosen"].tolist() == [True, False, False]


def test_seeds_that_all_diverged_under_another_score_have_unknown_metrics():
    """A column that a custom statistic reads does not vanish when nothing is left to measure."""
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=30).assign_attrs(score="r2")
    healthy, some = gainjax.per_seed(curves), curves.sel(setting=["sgd"]).copy(deep=True)
    some["diverged_update"][:] = 7
    some["accuracy"] = some.accuracy.where(some.eval_update < 7)
    rows = gainjax.per_seed(some)
    assert rows.columns.tolist() == healthy.columns.tolist()
    assert rows[["avg_sg", "min_acc", "anytime_accuracy"]].isna().all(axis=None)
    summary = tables.table(some)
    assert summary.columns.tolist() == tables.table(curves).columns.tolist()
    assert summary[["avg_sg", "avg_sg_low", "avg_sg_mean_curve"]].isna().all(axis=None)
    without = gainjax.per_seed(some.isel(seen_update=slice(0)))  # nobody recorded it
    assert set(rows.columns) - set(without.columns) == {"anytime_accuracy", "final_accuracy"}


def test_a_diverged_seed_never_recovers(curves):
    curves = curves.copy(deep=True)
    curves["accuracy"][:] = 0.5  # no seed loses anything
    assert (tables.table(curves)["recovered"] == 1).all()
    curves["diverged_update"][{"setting": 0, "seed": 0}] = 7
    lost = 1 / curves.sizes["seed"]
    np.testing.assert_allclose(tables.table(curves)["recovered"], [1 - lost, 1, 1, 1])


def test_equal_gaps_are_decided_by_accuracy():
    sweep = with_metrics([("sgd", 0.1, 0.9), ("sgd", 0.1, 0.902), ("sgd", 0.1, 0.901)])
    rows = tables.ranking(sweep)
    np.testing.assert_allclose(rows["anytime_accuracy"], [0.902, 0.901, 0.9], rtol=1e-5)


def test_the_ranking_has_the_numbers_of_the_table(sweep):
    rows, whole = tables.ranking(sweep), tables.table(sweep)
    assert sorted(rows.index) == sorted(whole.index)
    assert rows.groupby("method")["chosen"].sum().tolist() == [1, 1]
    assert list(rows.columns[:5]) == [*whole.columns[:3], "avg_sg", "avg_sg_low"]
    shared = [name for name in rows.columns if name != "chosen"]
    pd.testing.assert_frame_equal(rows[shared], whole.loc[rows.index, shared])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda d: synthetic_curves(seeds=1, tasks=2), {}, "must be a sweep: nothing varies"),
        (lambda d: d, {"tolerance": -0.1}, r"fraction in \[0, 1\): got -0.1"),
        (lambda d: d, {"tolerance": 5}, r"fraction in \[0, 1\): got 5"),
        (lambda d: d, {"best": "mine"}, r"one of \('method', 'any'\): got 'mine'"),
        (lambda d: d.isel(seen_update=slice(0)), {}, "must hold seen_accuracy"),
    ],
)
def test_wrong_rankings_are_refused(sweep, change, options, message):
    with pytest.raises(ValueError, match=message):
        tables.ranking(change(sweep), **options)


def test_differences_are_paired_by_seed(curves):
    rows = tables.comparison(curves)
    assert rows.index.name == "setting"
    assert rows.index.tolist() == ["sgd", "msgd", "adam"]
    assert set(rows["reference"]) == {"ngm-sgd"}
    signs = np.array(list(itertools.product([-1, 1], repeat=6)))
    for i, name in enumerate(rows.index, start=1):
        differences = gaps(curves, i) - gaps(curves, 0)
        row = rows.loc[name]
        assert row["avg_sg"] == pytest.approx(differences.mean())
        assert differences.min() <= row["avg_sg_low"] < row["avg_sg"]
        assert row["avg_sg"] < row["avg_sg_high"] <= differences.max()
        extreme = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12
        assert row["avg_sg_p"] == pytest.approx(extreme.mean())
        seen = curves.seen_accuracy.values.astype(float)
        final = seen[i, :, -1] - seen[0, :, -1]
        assert row["final_accuracy"] == pytest.approx(final.mean())


def test_p_values_are_corrected_over_the_whole_table(curves):
    rows = tables.comparison(curves)
    plain = rows[[f"{name}_p" for name in COMPARED]].to_numpy().ravel()
    corrected = rows[[f"{name}_p_holm" for name in COMPARED]].to_numpy().ravel()
    expected, largest = {}, 0.0
    for rank, i in enumerate(np.argsort(plain, kind="stable")):
        largest = max(largest, min(1, (12 - rank) * plain[i]))
        expected[i] = largest
    np.testing.assert_allclose(corrected, [expected[i] for i in range(12)])
    assert plain.min() == 2 / 64
    one = tables.comparison(curves.isel(setting=[0, 1]), metrics=["avg_sg"])
    assert one["avg_sg_p_holm"].tolist() == one["avg_sg_p"].tolist()


def test_the_reference_can_be_chosen(curves):
    rows = tables.comparison(curves, "adam", ["min_acc"])
    assert rows.index.tolist() == ["ngm-sgd", "sgd", "msgd"]
    turned = tables.comparison(curves, "ngm-sgd", ["min_acc"])
    assert rows.loc["ngm-sgd", "min_acc"] == pytest.approx(-turned.loc["adam", "min_acc"])
    assert rows.columns.tolist() == [
        "reference", "min_acc", "min_acc_low", "min_acc_high", "min_acc_p", "min_acc_p_holm",
    ]  # fmt: skip
    without = tables.comparison(curves.sel({"setting": ["msgd", "sgd"]}))
    assert set(without["reference"]) == {"msgd"}
    later = tables.comparison(curves.sel({"setting": ["msgd", "ngm-sgd"]}))
    assert set(later["reference"]) == {"msgd"}


def test_settings_can_be_compared(sweep):
    rows = tables.comparison(sweep, metrics=["avg_sg"])
    assert rows.index.name == "setting"
    assert set(rows["reference"]) == {"ngm-sgd learning_rate=0.01 sensitivity=0.2"}
    assert len(rows) == 6
    label = "sgd learning_rate=0.1"
    expected = (gaps(sweep, 5, 100) - gaps(sweep, 0, 100)).mean()
    assert rows.loc[label, "avg_sg"] == pytest.approx(expected)


def test_a_single_seed_tells_nothing():
    rows = tables.comparison(synthetic_curves(seeds=1))
    assert rows.filter(regex="_(low|high)$").isna().all().all()
    assert rows.filter(regex="_p(_holm)?$").isna().all().all()


@pytest.mark.parametrize("seeds", [5, 6])
def test_p_values_need_six_seeds(seeds):
    rows = tables.comparison(synthetic_curves(seeds=seeds))
    p_values = rows.filter(regex="_p(_holm)?$")
    assert p_values.isna().all().all() == (seeds < 6)
    assert rows[["avg_sg_low", "avg_sg_high"]].notna().all().all()


def test_wrong_comparisons_are_refused(curves):
    with pytest.raises(ValueError, match=r"at least two settings to compare: got \['sgd'\]"):
        tables.comparison(curves.sel({"setting": ["sgd"]}))
    with pytest.raises(ValueError, match="one of ngm-sgd, sgd, msgd, adam: got 'adan'"):
        tables.comparison(curves, "adan")
    for metrics in (["avg_sg", "de_lange_acc"], [], "avg_sg"):
        with pytest.raises(ValueError, match="metrics must be a list of avg_sg, min_acc"):
            tables.comparison(curves, metrics=metrics)
    blind = curves.isel(seen_update=slice(0))
    with pytest.raises(ValueError, match=r"got .*'anytime_accuracy'"):
        tables.comparison(blind, metrics=["anytime_accuracy"])
    assert "anytime_accuracy" not in tables.comparison(blind)
    with pytest.raises(ValueError, match=r"select with a list, such as curves\.sel\(setting="):
        tables.table(curves.sel(setting="sgd"))
    with pytest.raises(TypeError, match=r"xarray\.Dataset: got <class 'NoneType'>"):
        tables.table(None)


def test_the_package_offers_them():
    assert gainjax.table is tables.table
    assert gainjax.ranking is tables.ranking
    assert gainjax.comparison is tables.comparison
    assert gainjax.plot_frontier.__name__ == "plot_frontier"
    assert gainjax.plot_heatmap.__name__ == "plot_heatmap"


@pytest.mark.exhaustive
def test_the_floor_is_what_the_same_run_shows_without_a_switch():
    options = {"seeds": [0, 3], "updates_per_task": 20, "batch_size": 16, "threads": 1}
    curves = gainjax.run("rotated-digits", ["sgd", "bump-at-switch"], **options)
    floor = gainjax.run("rotated-digits", ["bump-at-switch", "sgd"], regime="no-switch", **options)
    # Until the first switch nothing differs; afterward nothing tells an oracle of one.
    np.testing.assert_array_equal(
        curves.train_loss.sel(setting="sgd")[:, :20], floor.train_loss.sel(setting="sgd")[:, :20]
    )
    assert (curves.gain.sel(setting="bump-at-switch") > 1.5).any()
    assert (floor.gain == 1).all()
    longer = gainjax.run("rotated-digits", ["sgd"], **options | {"updates_per_task": [60, 1, 1]})
    np.testing.assert_array_equal(floor.accuracy.sel(setting="sgd"), longer.accuracy[0, :, :60])
    rows = gainjax.table(curves, floor=floor)
    gap, without = (gainjax.table(each)["avg_sg"] for each in (curves, floor))
    np.testing.assert_allclose(rows["avg_sg_floor"], without[rows.index])
    np.testing.assert_allclose(rows["avg_sg_excess"], gap - without[rows.index])
    assert (rows["avg_sg_excess_low"] < rows["avg_sg_excess"]).all()
    with pytest.raises(ValueError, match="floor must have the settings of the curves: sgd is"):
        gainjax.table(curves, floor=floor.sel(setting=["bump-at-switch"]))
    with pytest.raises(ValueError, match="floor must have the seeds of the curves: 3 is missing"):
        gainjax.table(curves, floor=floor.sel(seed=[0]))
    with pytest.raises(ValueError, match="floor must have tasks of the same length"):
        gainjax.table(curves.sel(setting=["sgd"]), floor=longer)
    with pytest.raises(ValueError, match="regime=\"no-switch\": got regime='joint'"):
        gainjax.table(curves, floor=curves)
    other = options | {"hyperparameters": {"learning_rate": 0.02}, "regime": "no-switch"}
    floor = gainjax.run("rotated-digits", ["sgd"], **other)
    with pytest.raises(ValueError, match=r"they differ in sgd\.learning_rate"):
        gainjax.table(curves.sel(setting=["sgd"]), floor=floor)
