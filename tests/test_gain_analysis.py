"""Bursts, tonic levels, timescales and temperature: exact in float64, and on runs on digits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import page_trend_test

import gainjax
from gainjax import GainDynamics, gain_modulation, get_gain
from gainjax.analysis import (
    Network,
    Subject,
    around_switches,
    boost_effect,
    burst_table,
    bursts,
    classes_seen,
    effective_step,
    fast_share,
    free_time_constant,
    held_out_uncertainty,
    judge_claims,
    logit_scale,
    loss_at,
    measure_bursts,
    part_norms,
    plot_bursts,
    plot_temperature,
    plot_timescales,
    plot_tonic,
    recorded_gains,
    recovered_decay,
    softmax_temperature,
    split_timescales,
    temperature_trace,
    the_recorded_gain,
    tonic_comparison,
    tonic_levels,
    tonic_trend,
)
from gainjax.curves import Setting, make_curves

UPDATES = 50


@pytest.fixture(scope="module")
def run():
    """Curves and final states of a short run on digits."""
    return gainjax.run(
        "split-digits", ["ngm-sgd", "sgd", "ngm-adam"], 3, updates_per_task=UPDATES,
        progress=False, return_states=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def curves(run):
    return run[0].sel(setting=["ngm-sgd"])


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


def test_settings_without_a_gain_of_their_own_are_passed_over(run):
    found = recorded_gains(run[0])
    assert list(found) == ["ngm-sgd", "ngm-adam"]
    assert found["ngm-sgd"].dynamics == GainDynamics(0.9, 1.0, 0.4)
    with pytest.raises(ValueError, match=r"one setting with a gain: got \['ngm-sgd', 'ngm-adam'\]"):
        the_recorded_gain(run[0])
    with pytest.raises(ValueError, match=r"no setting .* got \['sgd'\]"):
        recorded_gains(run[0].sel(setting=["sgd"]))
    with pytest.raises(ValueError, match="must hold the gain and the uncertainty"):
        recorded_gains(run[0].drop_vars("gain"))


def test_diverged_seeds_and_schedules_do_not_pass_silently(curves):
    diverged = curves["diverged_update"].copy()
    diverged[0, 1] = 7
    marked = curves.assign(diverged_update=diverged)
    assert the_recorded_gain(marked).seeds.tolist() == [0, 2]
    assert set(measure_bursts(marked)["seed"]) == {0, 2}
    assert fast_share(marked).isnull().any("update").values.tolist() == [[False, True, False]]
    spec = json.loads(curves.attrs["spec"])
    for row in spec["settings"]:
        row["hyperparameters"]["decay"] = {"schedule": "warm", "values": [0.9] * 250}
    spec["dynamics"] = {}
    with pytest.raises(ValueError, match="decay of 'ngm-sgd' must be one number: got a schedule"):
        recorded_gains(curves.assign_attrs(spec=json.dumps(spec)))


@pytest.mark.exhaustive
def test_a_gain_that_is_none_or_obeys_something_else_is_not_taken_for_one(curves):
    """entropy-lr has the numbers of the dynamics, drives its learning rate, and records gain 1."""
    both = gainjax.run(
        "split-digits", ["ngm-sgd", "entropy-lr"], 2, updates_per_task=12, progress=False
    )
    assert list(recorded_gains(both)) == ["ngm-sgd"]
    with pytest.raises(ValueError, match=r"no setting .* got \['entropy-lr'\]"):
        tonic_levels(both.sel(setting=["entropy-lr"]))
    gain = curves["gain"].copy()
    gain[0, 1, 70] *= 1.01
    with pytest.raises(ValueError, match=r"'ngm-sgd' must follow .* 1 % at update 71"):
        recorded_gains(curves.assign(gain=gain))
    with pytest.raises(ValueError, match="must follow its uncertainty"):
        recorded_gains(curves.sel(update=slice(None, None, 2)))


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


# Decay ------------------------------------------------------------------------------------------


def test_decay_is_recovered_exactly_from_made_gain():
    dynamics = GainDynamics(0.83, 1.3, 0.25)
    uncertainty = np.random.default_rng(0).exponential(size=(4, 200))
    found = recovered_decay(driven(dynamics, uncertainty), uncertainty, dynamics)
    assert found.decay == pytest.approx(0.83, abs=1e-13)
    assert found.largest_residual < 1e-13


def test_real_runs_give_back_their_own_decay(run):
    for recorded in recorded_gains(run[0]).values():
        found = recovered_decay(recorded.gain, recorded.uncertainty, recorded.dynamics)
        assert found.decay == pytest.approx(0.9, abs=1e-6)  # stored in float32
        assert found.largest_residual < 2e-6


def test_a_gain_of_another_uncertainty_is_noticed(curves):
    recorded = the_recorded_gain(curves)
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


def test_bursts_of_a_real_run(curves):
    rows = measure_bursts(curves)
    assert len(rows) == 3 * 4
    gain = curves["gain"].values[0]
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


def test_gains_whose_place_is_not_their_update_are_refused(curves):
    last = int(curves["task_end"][-1])
    for chosen in (slice(11, None), slice(0, last - 5)):
        for measure in (measure_bursts, tonic_levels):
            with pytest.raises(ValueError, match=f"every update from 1 to {last}"):
                measure(curves.sel(update=chosen))


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


def test_around_switches_aligns_and_stops_at_the_next_switch(curves):
    pieces = around_switches(curves["gain"], curves["task_end"], before=5, after=60)
    assert pieces.sizes["switch"] == 4
    aligned = pieces.sel(setting="ngm-sgd", seed=2, switch=3)
    own = curves["gain"].sel(setting="ngm-sgd", seed=2)
    for since in (-5, 0, 1, 50):
        assert aligned.sel(since=since) == own.sel(update=3 * UPDATES + since)
    assert aligned.sel(since=slice(51, None)).isnull().all()
    with pytest.raises(ValueError, match="at least 2 tasks"):
        around_switches(curves["gain"], [50])
    with pytest.raises(ValueError, match="must have the dimension update"):
        around_switches(xr.DataArray([1.0], dims="time"), [1, 2])
    with pytest.raises(ValueError, match="after must be an integer of at least 1: got 0"):
        around_switches(curves["gain"], [50, 100], before=0, after=0)
    with pytest.raises(ValueError, match="before must be an integer of at least 0: got"):
        around_switches(curves["gain"], [50, 100], before=1.5)
    with pytest.raises(ValueError, match="task_ends must be ascending"):
        around_switches(curves["gain"], [100, 50])


# Tonic levels -----------------------------------------------------------------------------------


def test_level_is_the_fixed_point_of_the_mean_uncertainty(curves):
    """Exactly: level - steady state = decay (first - last) / ((1 - decay) n), by telescoping."""
    rows = tonic_levels(curves)
    recorded = the_recorded_gain(curves)
    size = UPDATES // 4
    for row in rows.itertuples():
        last = row.task * UPDATES - 1
        gain = recorded.gain[row.seed]
        drift = 0.9 * (gain[last - size] - gain[last]) / (0.1 * size)
        assert row.level - row.steady_state == pytest.approx(drift, abs=1e-5)
    whole = tonic_levels(curves, part=1)
    assert whole["level"][0] == pytest.approx(recorded.gain[0, :UPDATES].mean())
    with pytest.raises(ValueError, match=r"part must be in \(0, 1\]: got 0"):
        tonic_levels(curves, part=0)


def rows_of(levels):
    return pd.DataFrame(
        [
            {"setting": "ngm", "seed": seed, "task": task, "level": level}
            for seed, own in enumerate(levels)
            for task, level in enumerate(own, 1)
        ]
    )


def test_trend_tells_rising_from_flat_from_undecided():
    noise = np.random.default_rng(0).normal(scale=0.01, size=(6, 5))
    rising = tonic_trend(rows_of(1.5 + 0.2 * np.arange(5) + noise)).iloc[0]
    assert rising["change"] == pytest.approx(0.8 / 1.9, abs=0.02)
    assert rising["p_change"] == 2 / 2**6
    assert rising["p_rising"] < 1e-6
    assert not rising["flat"]
    flat = tonic_trend(rows_of(2.0 + noise), margin=0.05).iloc[0]
    assert flat["flat"]
    assert flat["p_rising"] == page_trend_test(2.0 + noise, method="exact").pvalue
    undecided = tonic_trend(rows_of(2.0 + 20 * noise), margin=0.05).iloc[0]
    assert not undecided["flat"]
    assert undecided["p_rising"] > 0.01
    assert np.isnan(tonic_trend(rows_of(2.0 + noise[:, :2])).iloc[0]["p_rising"])


def test_trend_keeps_benchmarks_apart():
    first, second = rows_of(np.ones((3, 4)) + np.arange(4)), rows_of(np.ones((3, 3)))
    both = pd.concat([first.assign(benchmark="a"), second.assign(benchmark="b")])
    found = tonic_trend(both).set_index("benchmark")
    assert found["tasks"].to_dict() == {"a": 4, "b": 3}
    assert found["flat"].to_dict() == {"a": False, "b": True}
    assert found.loc["a", "change"] == tonic_trend(first).iloc[0]["change"]


def test_trend_refuses_what_has_none():
    with pytest.raises(ValueError, match="margin must be > 0: got 0"):
        tonic_trend(rows_of(np.ones((2, 3))), margin=0)
    with pytest.raises(ValueError, match="at least 2 tasks: got 1"):
        tonic_trend(rows_of(np.ones((2, 1))))


def test_more_classes_raise_the_tonic_gain_of_a_real_run(curves):
    stream = gainjax.get_benchmark("split-digits").load()
    table = tonic_comparison({"split": curves}, {"split": classes_seen(stream)})
    assert tonic_trend(table).iloc[0]["p_rising"] < 1e-3
    assert table["complexity"].corr(table["level"], method="spearman") > 0.8
    with pytest.raises(ValueError, match=r"of 'split' must have a number for each of its 5 tasks"):
        tonic_comparison({"split": curves}, {"split": [1, 2]})


def test_held_out_uncertainty_is_that_of_each_test_set(run):
    bench = gainjax.get_benchmark("split-digits")
    stream = bench.load()
    model = bench.model_for(stream)
    state = jax.tree.map(lambda leaf: leaf[1], run[1]["ngm-sgd"])
    network = Network(state.params, state.model_state)
    found = held_out_uncertainty(Subject(bench), network)
    for task, size in enumerate(stream.test_sizes):
        inputs = stream.test_inputs[task, :size]
        logits, _ = model.apply(state.params, state.model_state, inputs, train=False, key=None)
        np.testing.assert_allclose(found[task], gainjax.predictive_entropy(logits), rtol=1e-5)
    # A network sees its inputs as in training, whatever the benchmark does to them.
    blind = gainjax.Benchmark(
        "blind",
        stream=stream,
        model=model,
        preprocess=lambda inputs: 0 * inputs,
        updates_per_task=5,
        batch_size=8,
    )
    flat = held_out_uncertainty(Subject(blind), network)
    np.testing.assert_allclose(flat, np.log(10), rtol=1e-5)  # zeros, and no biases


# Timescales -------------------------------------------------------------------------------------


def test_parts_add_up_and_have_the_share_that_curves_tell(run):
    states = run[1]["ngm-sgd"]
    parts = split_timescales(states.params, states.opt_state)
    gain = get_gain(states.opt_state)
    for whole, slow, fast in zip(*map(jax.tree.leaves, (states.params, *parts)), strict=True):
        np.testing.assert_allclose(slow + fast, whole, rtol=1e-6, atol=1e-8)
        scale = np.asarray(gain).reshape(3, 1, 1)
        np.testing.assert_allclose(slow * scale, whole, rtol=1e-5, atol=1e-8)
    norms = jax.vmap(part_norms)(states.params, states.opt_state)
    np.testing.assert_allclose(norms.fast / (norms.slow + norms.fast), 1 - 1 / gain, rtol=1e-5)
    shares = fast_share(run[0].sel(setting=["ngm-sgd"]))
    recorded = run[0]["gain"].sel(setting="ngm-sgd").values
    np.testing.assert_allclose(shares[0], (recorded - 1) / recorded, rtol=1e-5, atol=1e-7)


@pytest.mark.exhaustive
def test_a_gain_that_follows_no_uncertainty_has_a_share_too(run, tmp_path):
    short = {"updates_per_task": 6, "progress": False}
    gainjax.run("split-digits", ["ngm-sgd"], 2, out=tmp_path, **short)
    methods = ["constant-gain", "fixed-gain", "ramped-gain", "sgd", "entropy-lr", "ngm-sgd"]
    curves = gainjax.run("split-digits", methods, 2, gain_from=tmp_path, **short)
    shares = fast_share(curves)
    with_gain = ["constant-gain", "fixed-gain", "ramped-gain", "ngm-sgd"]
    assert shares["setting"].values.tolist() == with_gain
    gain = curves["gain"].sel(setting=with_gain)
    assert (gain.sel(setting="constant-gain") > 1.1).all()
    assert (gain.sel(setting="fixed-gain") == 2).all()
    # Where the gain stays at its level, no part fades.
    assert not shares.sel(setting=["constant-gain", "fixed-gain"]).any()
    moving = ["ramped-gain", "ngm-sgd"]  # both from a baseline of 1
    expected = 1 - 1 / gain.sel(setting=moving)
    np.testing.assert_allclose(shares.sel(setting=moving), expected, rtol=1e-5, atol=1e-7)
    assert shares.sel(setting="ramped-gain").isel(update=-1).min() > 0.2
    late = curves.sel(update=slice(3, None))
    with pytest.raises(ValueError, match=r"first update of 'constant-gain'.* begin at 3"):
        fast_share(late)
    assert fast_share(late.sel(setting=["ngm-sgd"])).equals(
        shares.sel(setting=["ngm-sgd"], update=slice(3, None))
    )
    with pytest.raises(ValueError, match=r"no setting .* has a gain: got \['sgd', 'entropy-lr'\]"):
        fast_share(curves.sel(setting=["sgd", "entropy-lr"]))


# Temperature ------------------------------------------------------------------------------------


@pytest.fixture
def network(x64):
    """A bias-free ReLU network of three layers in float64: its function, weights and a batch."""

    def apply(weights, x):
        for w in weights[:-1]:
            x = jax.nn.relu(x @ w)
        return x @ weights[-1]

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((5, 7), (7, 6), (6, 4))
    weights = [jax.random.normal(*of) for of in zip(keys[:3], shapes, strict=True)]
    x = jax.random.normal(keys[3], (9, 5))
    return apply, weights, x, jnp.arange(9) % 4


def loss_of(logits, labels):
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.exhaustive
def test_gain_is_a_temperature_and_a_factor_of_the_gradient(network):
    apply, weights, x, labels = network
    gain = 1.7
    theta = [gain * w for w in weights]
    raw, pull_back = jax.vjp(lambda w: apply(w, x), weights)
    np.testing.assert_allclose(apply(theta, x), logit_scale(gain, 3) * raw, rtol=1e-12)
    by_raw = jax.grad(lambda w: loss_of(apply([gain * v for v in w], x), labels))(weights)
    by_effective = jax.grad(lambda t: loss_of(apply(t, x), labels))(theta)
    error = jax.nn.softmax(raw / softmax_temperature(gain, 3)) - jax.nn.one_hot(labels, 4)
    (split,) = pull_back(logit_scale(gain, 3) * error / len(x))
    for found, effective, of_split in zip(by_raw, by_effective, split, strict=True):
        np.testing.assert_allclose(found, gain * effective, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found, of_split, rtol=1e-11, atol=1e-13)


def test_effective_step_is_that_of_the_optimizer(network):
    """θ(t+1) = g(t+1)/g(t) θ(t) - (effective step) ∇θ, over updates whose gain moves."""
    apply, theta, x, labels = network
    optimizer = gain_modulation(optax.sgd(0.03), 0.7, 1.2, 0.5)
    state, gains = optimizer.init(theta), []
    for uncertainty in (0.9, 0.1, 0.4):
        gains.append(get_gain(state))
        grads = jax.grad(lambda t: loss_of(apply(t, x), labels))(theta)
        updates, state = optimizer.update(grads, state, theta, uncertainty=uncertainty)
        new = optax.apply_updates(theta, updates)
        ahead = jnp.stack([gains[-1], get_gain(state)])
        step = effective_step(ahead, 0.03)[0]
        for was, now, grad in zip(theta, new, grads, strict=True):
            expected = ahead[1] / ahead[0] * was - step * grad
            np.testing.assert_allclose(now, expected, rtol=1e-12, atol=1e-14)
        theta = new
    np.testing.assert_allclose(effective_step([2.0, 2.0], 0.03), [0.03 * 4])


def test_loss_at_another_gain_is_that_of_the_network_there(network):
    apply, weights, x, labels = network
    logits = apply([1.6 * w for w in weights], x)
    expected = {g: loss_of(apply([g * w for w in weights], x), labels) for g in (1.0, 1.6, 2.5)}
    for gain, loss in expected.items():
        np.testing.assert_allclose(loss_at(logits, labels, 1.6, 3, gain), loss, rtol=1e-12)
    effect = boost_effect(logits, labels, 1.6, 3)
    np.testing.assert_allclose(effect, expected[1.6] - expected[1.0], rtol=1e-10)


def test_boost_lowers_the_loss_of_right_answers_and_raises_that_of_wrong_ones(x64):
    logits = jnp.array([[3.0, 1.0, 0.0]])
    assert boost_effect(logits, jnp.array([0]), 2.0, 1) < 0
    assert boost_effect(logits, jnp.array([2]), 2.0, 1) > 0
    assert boost_effect(logits, jnp.array([2]), 1.0, 1) == 0


def test_temperature_of_a_run_follows_its_gain(curves):
    trace = temperature_trace(curves, layers=3)
    recorded = the_recorded_gain(curves)
    np.testing.assert_allclose(trace[0], recorded.gain**-3.0, rtol=1e-12)
    np.testing.assert_allclose(
        trace[0, 0, :9], softmax_temperature(recorded.gain[0, :9], 3), rtol=1e-5
    )
    with pytest.raises(ValueError, match="layers must be at least 0: got -1"):
        softmax_temperature(2.0, -1)


def test_figure_of_temperature_and_of_the_step(run, curves):
    figure = plot_temperature(run[0], 3, colors={"ngm-adam": "#123456"}, labels={"ngm-sgd": "ours"})
    above, below = figure.axes
    gain = run[0]["gain"].sel(setting="ngm-sgd").values.astype(np.float64)
    np.testing.assert_allclose(above.lines[0].get_ydata(), (gain**-3).mean(0), rtol=1e-6)
    step = 0.01 * gain[:, :-1] * gain[:, 1:]
    np.testing.assert_allclose(below.lines[0].get_ydata(), step.mean(0), rtol=1e-5)
    assert [line.get_label() for line in above.lines[:2]] == ["ours", "ngm-adam"]
    assert below.lines[1].get_color() == "#123456"
    assert plot_temperature(curves, 3, axes=figure.axes) is figure
    figure.draw_without_rendering()
    with pytest.raises(ValueError, match="layers must be at least 0: got -1"):
        plot_temperature(curves, -1)
    with pytest.raises(ValueError, match=r"colors must be of ngm-sgd: got one of 'sgd'"):
        plot_temperature(curves, 3, colors={"sgd": "red"})
    spec = json.loads(curves.attrs["spec"])
    rates = np.linspace(0.01, 0.02, curves.sizes["update"])
    for row in spec["settings"]:
        row["hyperparameters"]["learning_rate"] = {"schedule": "s", "values": rates.tolist()}
    scheduled = plot_temperature(curves.assign_attrs(spec=json.dumps(spec)), 3).axes[1]
    expected = (rates[:-1] * gain[:, :-1] * gain[:, 1:]).mean(0)
    np.testing.assert_allclose(scheduled.lines[0].get_ydata(), expected, rtol=1e-5)
    for row in spec["settings"]:
        del row["hyperparameters"]["learning_rate"]
    with pytest.raises(ValueError, match="with a learning rate: 'ngm-sgd' has"):
        plot_temperature(curves.assign_attrs(spec=json.dumps(spec)), 3)


# Figures ----------------------------------------------------------------------------------------


def test_the_level_is_drawn_against_complexity(curves):
    seen = [2, 4, 6, 8, 10]
    table = tonic_comparison({"split": curves}, {"split": seen})
    figure = plot_tonic(table)
    _, middle, _ = figure.axes
    (points,) = middle.containers
    np.testing.assert_array_equal(points.lines[0].get_xdata(), seen)
    levels = table.groupby("task")["level"].mean()
    np.testing.assert_allclose(points.lines[0].get_ydata(), levels, rtol=1e-12)
    assert plot_tonic(table, axes=figure.axes) is figure
    with pytest.raises(ValueError, match="axes must be 3 panels: got 2"):
        plot_tonic(table, axes=figure.axes[:2])


def test_a_burst_of_one_seed_is_drawn(curves):
    one = curves.isel(seed=[1])
    lines = plot_bursts(one).axes[0].lines
    piece = around_switches(one["gain"], one["task_end"], before=12, after=25)
    np.testing.assert_allclose(lines[0].get_ydata(), piece.sel(switch=1).values.ravel())


def test_what_figures_cannot_draw_is_refused_in_words(run, curves):
    with pytest.raises(ValueError, match="gain of successive updates"):
        plot_temperature(curves.isel(update=slice(0, None, 10)), 3)
    with pytest.raises(ValueError, match="must be of tonic_comparison: it has no benchmark"):
        plot_tonic(tonic_levels(curves))
    with pytest.raises(ValueError, match="must have one setting for each benchmark: got several"):
        plot_tonic(tonic_comparison({"split": run[0]}))


def test_figures_draw_into_given_panels(run, curves):
    figure = plot_bursts(curves)
    assert plot_bursts(curves, axes=figure.axes) is figure
    labels = [line.get_label() for line in figure.axes[1].lines]
    assert labels[0] == "gain"
    share = plot_timescales(run[0])
    assert plot_timescales(curves, axes=share.axes[0]) is share
    tonic = plot_tonic(tonic_comparison({"split": curves}))
    assert plot_tonic(tonic_comparison({"split": curves}), axes=tonic.axes) is tonic
    for drawn in (figure, share, tonic):
        drawn.draw_without_rendering()
    assert plot_bursts(curves, size=(5, 2)).get_size_inches().tolist() == [5, 2]
    named = plot_timescales(curves, colors={"ngm-sgd": "#123456"}, size=(4, 2))
    assert named.axes[0].lines[0].get_color() == "#123456"
    for plot in (plot_bursts, plot_timescales):
        given = figure.axes if plot is plot_bursts else share.axes[0]
        with pytest.raises(ValueError, match="size belongs to the figure of axes"):
            plot(curves, axes=given, size=(5, 2))
    with pytest.raises(ValueError, match="at least 2 tasks"):
        plot_bursts(curves.isel(task_end=[-1]))


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
