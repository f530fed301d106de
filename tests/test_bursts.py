"""Recorded gains and their bursts: exact in float64, and on runs on digits."""

import json

import numpy as np
import optax
import pytest
import xarray as xr
from recorded_run import UPDATES

import gainjax
from gainjax import GainDynamics
from gainjax.analysis import (
    around_switches,
    burst_table,
    bursts,
    fast_share,
    free_time_constant,
    judge_claims,
    measure_bursts,
    recorded_gains,
    recovered_decay,
    the_recorded_gain,
    tonic_levels,
)
from gainjax.curves import Setting, make_curves


def made_curves(gain, uncertainty, task_ends, **numbers):
    """Return curves of one setting with a given gain, shape (seeds, updates)."""
    numbers = {"decay": 0.9, "baseline": 1.0, "sensitivity": 0.4, "max_gain": None} | numbers
    return make_curves(
        [Setting("ngm", "ngm", "NGM", numbers)],
        {
            "accuracy": np.full((1, len(gain), len(task_ends), 1), 0.5),
            "gain": gain[None],
            "uncertainty": uncertainty[None],
        },
        seeds=range(len(gain)),
        task_ends=task_ends,
        eval_updates=task_ends,
        attrs={"benchmark": "made"},
    )


def driven(dynamics, uncertainty):
    """Return the gain of each forward pass for given uncertainties, by the equation, in NumPy."""
    gain = np.full(uncertainty.shape, float(dynamics.baseline))
    for t in range(uncertainty.shape[-1] - 1):
        gain[..., t + 1] = (
            dynamics.decay * gain[..., t]
            + (1 - dynamics.decay) * dynamics.baseline
            + dynamics.sensitivity * uncertainty[..., t]
        )
    return gain


# What was recorded ------------------------------------------------------------------------------


def test_settings_without_a_gain_of_their_own_are_passed_over(digits_run):
    found = recorded_gains(digits_run[0])
    assert list(found) == ["ngm-sgd", "ngm-adam"]
    assert found["ngm-sgd"].dynamics == GainDynamics(0.9, 1.0, 0.4)
    with pytest.raises(ValueError, match=r"one setting with a gain: got \['ngm-sgd', 'ngm-adam'\]"):
        the_recorded_gain(digits_run[0])
    with pytest.raises(ValueError, match=r"no setting .* got \['sgd'\]"):
        recorded_gains(digits_run[0].sel(setting=["sgd"]))
    with pytest.raises(ValueError, match="must hold the gain and the uncertainty"):
        recorded_gains(digits_run[0].drop_vars("gain"))


def test_diverged_seeds_and_schedules_do_not_pass_silently(ngm_curves):
    diverged = ngm_curves["diverged_update"].copy()
    diverged[0, 1] = 7
    marked = ngm_curves.assign(diverged_update=diverged)
    assert the_recorded_gain(marked).seeds.tolist() == [0, 2]
    assert set(measure_bursts(marked)["seed"]) == {0, 2}
    assert fast_share(marked).isnull().any("update").values.tolist() == [[False, True, False]]
    spec = json.loads(ngm_curves.attrs["spec"])
    for row in spec["settings"]:
        row["hyperparameters"]["decay"] = {"schedule": "warm", "values": [0.9] * 250}
    spec["dynamics"] = {}
    with pytest.raises(ValueError, match="decay of 'ngm-sgd' must be one number: got a schedule"):
        recorded_gains(ngm_curves.assign_attrs(spec=json.dumps(spec)))


@pytest.mark.exhaustive
def test_a_gain_that_is_none_or_obeys_something_else_is_not_taken_for_one(ngm_curves):
    """entropy-lr has the numbers of the dynamics, drives its learning rate, and records gain 1."""
    both = gainjax.run(
        "split-digits", ["ngm-sgd", "entropy-lr"], 2, updates_per_task=12, progress=False
    )
    assert list(recorded_gains(both)) == ["ngm-sgd"]
    with pytest.raises(ValueError, match=r"no setting .* got \['entropy-lr'\]"):
        tonic_levels(both.sel(setting=["entropy-lr"]))
    gain = ngm_curves["gain"].copy()
    gain[0, 1, 70] *= 1.01
    with pytest.raises(ValueError, match=r"'ngm-sgd' must follow .* 1 % at update 71"):
        recorded_gains(ngm_curves.assign(gain=gain))
    with pytest.raises(ValueError, match="must follow its uncertainty"):
        recorded_gains(ngm_curves.sel(update=slice(None, None, 2)))


@pytest.mark.exhaustive
def test_every_method_with_the_numbers_of_a_gain_has_that_gain_or_none():
    """So that a new method cannot be analyzed by dynamics that are not its own."""
    bench = gainjax.get_benchmark("split-digits")
    numbers = {"decay", "baseline", "sensitivity"}
    names = [n for n, m in gainjax.METHODS.items() if numbers <= set(bench.defaults(m))]
    assert {"ngm-sgd", "ngm-adam", "entropy-lr"} <= set(names)
    curves = gainjax.run(
        bench, names, 1, updates_per_task=4, batch_size=8, eval_examples=20, progress=False
    )
    assert set(names) - set(recorded_gains(curves)) == {"entropy-lr"}


@pytest.mark.exhaustive
def test_the_gain_of_a_custom_method_is_analyzed_by_its_own_dynamics():
    """Though its decay and its baseline are no hyperparameters, and its sensitivity is computed."""

    def gain(strength=2.0):
        return gainjax.GainDynamics(decay=0.8, baseline=1.5, sensitivity=strength / 10)

    method = gainjax.Method("mine", lambda learning_rate=0.01: optax.sgd(learning_rate), gain=gain)
    options = {"updates_per_task": 10, "progress": False}
    curves = gainjax.sweep("split-digits", {"strength": [1.0, 2.0]}, ["sgd", method], 2, **options)
    found = recorded_gains(curves)
    assert list(found) == ["mine strength=1", "mine strength=2"]
    numbers = {"decay": 0.8, "baseline": 1.5, "max_gain": None}
    for recorded, sensitivity in zip(found.values(), (0.1, 0.2), strict=True):
        assert vars(recorded.dynamics) == pytest.approx({**numbers, "sensitivity": sensitivity})
    one = gainjax.run("split-digits", [method], 2, **options)
    both = gainjax.concat([one, curves.sel(setting=["sgd", "mine strength=1"])], "setting")
    assert list(recorded_gains(both)) == ["mine", "mine strength=1"]
    scheduled = {"strength": lambda count: 1.0}
    of_schedule = gainjax.run("split-digits", [method], hyperparameters=scheduled, **options)
    with pytest.raises(ValueError, match="no setting of these curves has a gain that follows"):
        recorded_gains(of_schedule)


# Decay ------------------------------------------------------------------------------------------


def test_decay_is_recovered_exactly_from_made_gain():
    dynamics = GainDynamics(0.83, 1.3, 0.25)
    uncertainty = np.random.default_rng(0).exponential(size=(4, 200))
    found = recovered_decay(driven(dynamics, uncertainty), uncertainty, dynamics)
    assert found.decay == pytest.approx(0.83, abs=1e-13)
    assert found.largest_residual < 1e-13


def test_real_runs_give_back_their_own_decay(digits_run):
    for recorded in recorded_gains(digits_run[0]).values():
        found = recovered_decay(recorded.gain, recorded.uncertainty, recorded.dynamics)
        assert found.decay == pytest.approx(0.9, abs=1e-6)  # stored in float32
        assert found.largest_residual < 2e-6


def test_a_gain_of_another_uncertainty_is_noticed(ngm_curves):
    recorded = the_recorded_gain(ngm_curves)
    shifted = np.roll(recorded.uncertainty, 1, axis=1)  # one update late
    found = recovered_decay(recorded.gain, shifted, recorded.dynamics)
    assert found.largest_residual > 0.01


def test_bounded_gain_gives_back_its_decay_where_it_is_free():
    curves = gainjax.run(
        "split-digits", ["ngm-sgd"], 2, updates_per_task=50, progress=False,
        hyperparameters={"max_gain": 2.4},
    )  # fmt: skip
    recorded = the_recorded_gain(curves)
    assert (recorded.gain > 2.3999).sum() > 2
    found = recovered_decay(recorded.gain, recorded.uncertainty, recorded.dynamics)
    assert found.decay == pytest.approx(0.9, abs=1e-5)


def test_gain_that_does_not_move_has_no_decay():
    with pytest.raises(ValueError, match="must leave its baseline"):
        recovered_decay([1.0, 1.0], [0.0, 0.0], GainDynamics())
    with pytest.raises(ValueError, match=r"the same shape.*got \(2,\) and \(3,\)"):
        recovered_decay([1.0, 1.0], [0.0, 0.0, 0.0], GainDynamics())


# Bursts -----------------------------------------------------------------------------------------


def test_measures_of_a_burst_whose_every_number_is_known():
    """A pulse of uncertainty at the first update of task 2, then none: a pure exponential."""
    dynamics = GainDynamics(0.9, 1.0, 0.4)
    uncertainty = np.zeros((2, 400))
    uncertainty[:, 100] = [2.0, 1.0]  # the forward pass of update 101, the first of task 2
    curves = made_curves(driven(dynamics, uncertainty), uncertainty, [100, 400])
    rows = measure_bursts(curves)
    np.testing.assert_allclose(rows["before"], 1)
    np.testing.assert_allclose(rows["peak"], [1.8, 1.4])
    np.testing.assert_allclose(rows["height"], [0.8, 0.4])
    np.testing.assert_allclose(rows["floor"], 0, atol=1e-12)
    np.testing.assert_array_equal(rows["time_to_peak"], 2)
    np.testing.assert_allclose(rows["tonic"], 1, atol=1e-9)
    np.testing.assert_allclose(rows["time_constant"], -1 / np.log(0.9), rtol=1e-4)
    np.testing.assert_allclose(rows["predicted"], -1 / np.log(0.9))
    # The sum of a geometric series, which the run ends before its last term is 1e-13.
    np.testing.assert_allclose(rows["area"], [0.8 / 0.1, 0.4 / 0.1], rtol=1e-6)


def test_slow_uncertainty_makes_the_visible_decay_slow():
    dynamics = GainDynamics(0.5, 1.0, 0.4)
    since = np.arange(300)
    uncertainty = np.concatenate([np.zeros(50), np.exp(-since / 40)])[None]
    row = measure_bursts(
        made_curves(driven(dynamics, uncertainty), uncertainty, [50, 350], decay=0.5)
    )
    assert row["predicted"].item() == pytest.approx(1.4427, abs=1e-4)
    assert row["time_constant"].item() == pytest.approx(40, rel=0.03)
    assert row["uncertainty_time_constant"].item() == pytest.approx(40, rel=0.03)


def test_burst_of_a_gain_that_only_rises_has_no_time_constant():
    uncertainty = np.concatenate([np.zeros(50), np.linspace(0, 1, 100)])[None]
    row = measure_bursts(made_curves(driven(GainDynamics(), uncertainty), uncertainty, [50, 150]))
    assert row["time_constant"].isna().item()
    table = burst_table(row)
    assert table["fitted"].tolist() == [0, 0]
    assert table["peak"].notna().all()


def test_bursts_of_a_real_run(ngm_curves):
    rows = measure_bursts(ngm_curves)
    assert len(rows) == 3 * 4
    gain = ngm_curves["gain"].values[0]
    for row in rows.itertuples():
        task = gain[row.seed, row.switch * UPDATES : (row.switch + 1) * UPDATES]
        assert row.peak == task.max()
        assert task[int(row.time_to_peak) - 1] == row.peak
    assert (rows["peak"] > rows["before"]).all()
    table = burst_table(rows)
    assert table["switch"].tolist() == [0, 1, 2, 3, 4]
    assert table["peak"][0] == pytest.approx(table["peak"][1:].mean())
    assert (table["peak_low"] <= table["peak"]).all()


def test_a_gain_that_merely_fluctuates_has_heights_but_no_bursts():
    uncertainty = np.random.default_rng(0).exponential(0.3, size=(50, 800))
    gain = driven(GainDynamics(), uncertainty)
    made = made_curves(gain, uncertainty, [200, 400, 600, 800])
    rows = measure_bursts(made)
    assert (rows["height"] > 0).mean() > 0.95  # the largest of 200, over the mean of 10
    assert (rows["height"] > rows["floor"]).mean() < 0.5  # a coin's toss, not a burst
    claim = judge_claims(made.assign_coords(method=("setting", ["ngm-sgd"])))
    assert claim.set_index("claim").loc["burst", "verdict"] == "fails"
    short = made_curves(gain[:, :20], uncertainty[:, :20], [10, 20])
    assert measure_bursts(short)["floor"].isna().all()


def test_gains_whose_place_is_not_their_update_are_refused(ngm_curves):
    last = int(ngm_curves["task_end"][-1])
    for chosen in (slice(11, None), slice(0, last - 5)):
        for measure in (measure_bursts, tonic_levels):
            with pytest.raises(ValueError, match=f"every update from 1 to {last}"):
                measure(ngm_curves.sel(update=chosen))


def test_floor_is_what_is_left_of_a_line():
    """A drift is no fluctuation; one raised update is, by its height over the rest."""
    gain = np.linspace(1.0, 1.2, 200)
    gain[150] += 0.5
    late = gain[100:] - np.polyval(np.polyfit(np.arange(100), gain[100:], 1), np.arange(100))
    means = [late[t : t + 10].mean() for t in range(91)]
    assert bursts._floor(gain) == pytest.approx(max(late) - min(means), abs=1e-12)
    assert bursts._floor(gain[:150]) == pytest.approx(0, abs=1e-12)


def test_free_time_constant_of_no_memory_is_zero():
    assert free_time_constant(GainDynamics(decay=0.0)) == 0
    assert free_time_constant(GainDynamics(decay=np.exp(-1 / 7))) == pytest.approx(7)


def test_around_switches_aligns_and_stops_at_the_next_switch(ngm_curves):
    pieces = around_switches(ngm_curves["gain"], ngm_curves["task_end"], before=5, after=60)
    assert pieces.sizes["switch"] == 4
    aligned = pieces.sel(setting="ngm-sgd", seed=2, switch=3)
    own = ngm_curves["gain"].sel(setting="ngm-sgd", seed=2)
    for since in (-5, 0, 1, 50):
        assert aligned.sel(since=since) == own.sel(update=3 * UPDATES + since)
    assert aligned.sel(since=slice(51, None)).isnull().all()
    with pytest.raises(ValueError, match="at least 2 tasks"):
        around_switches(ngm_curves["gain"], [50])
    with pytest.raises(ValueError, match="must have the dimension update"):
        around_switches(xr.DataArray([1.0], dims="time"), [1, 2])
    with pytest.raises(ValueError, match="after must be an integer of at least 1: got 0"):
        around_switches(ngm_curves["gain"], [50, 100], before=0, after=0)
    with pytest.raises(ValueError, match="before must be an integer of at least 0: got"):
        around_switches(ngm_curves["gain"], [50, 100], before=1.5)
    with pytest.raises(ValueError, match="task_ends must be ascending"):
        around_switches(ngm_curves["gain"], [100, 50])
