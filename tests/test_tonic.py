"""Tonic levels of gains, and their share in slow and fast weights."""

import jax
import numpy as np
import pandas as pd
import pytest
from recorded_run import UPDATES
from scipy.stats import page_trend_test

import gainjax
from gainjax import get_gain
from gainjax.analysis import (
    Network,
    Subject,
    classes_seen,
    fast_share,
    held_out_uncertainty,
    part_norms,
    split_timescales,
    the_recorded_gain,
    tonic_comparison,
    tonic_levels,
    tonic_trend,
)

# Tonic levels -----------------------------------------------------------------------------------


def test_level_is_the_fixed_point_of_the_mean_uncertainty(ngm_curves):
    """Exactly: level - steady state = decay (first - last) / ((1 - decay) n), by telescoping."""
    rows = tonic_levels(ngm_curves)
    recorded = the_recorded_gain(ngm_curves)
    size = UPDATES // 4
    for row in rows.itertuples():
        last = row.task * UPDATES - 1
        gain = recorded.gain[row.seed]
        drift = 0.9 * (gain[last - size] - gain[last]) / (0.1 * size)
        assert row.level - row.steady_state == pytest.approx(drift, abs=1e-5)
    whole = tonic_levels(ngm_curves, part=1)
    assert whole["level"][0] == pytest.approx(recorded.gain[0, :UPDATES].mean())
    with pytest.raises(ValueError, match=r"part must be in \(0, 1\]: got 0"):
        tonic_levels(ngm_curves, part=0)


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


def test_more_classes_raise_the_tonic_gain_of_a_real_run(ngm_curves):
    stream = gainjax.get_benchmark("split-digits").load()
    table = tonic_comparison({"split": ngm_curves}, {"split": classes_seen(stream)})
    assert tonic_trend(table).iloc[0]["p_rising"] < 1e-3
    assert table["complexity"].corr(table["level"], method="spearman") > 0.8
    with pytest.raises(ValueError, match=r"of 'split' must have a number for each of its 5 tasks"):
        tonic_comparison({"split": ngm_curves}, {"split": [1, 2]})


def test_held_out_uncertainty_is_that_of_each_test_set(digits_run):
    bench = gainjax.get_benchmark("split-digits")
    stream = bench.load()
    model = bench.model_for(stream)
    state = jax.tree.map(lambda leaf: leaf[1], digits_run[1]["ngm-sgd"])
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


def test_parts_add_up_and_have_the_share_that_curves_tell(digits_run):
    states = digits_run[1]["ngm-sgd"]
    parts = split_timescales(states.params, states.opt_state)
    gain = get_gain(states.opt_state)
    for whole, slow, fast in zip(*map(jax.tree.leaves, (states.params, *parts)), strict=True):
        np.testing.assert_allclose(slow + fast, whole, rtol=1e-6, atol=1e-8)
        scale = np.asarray(gain).reshape(3, 1, 1)
        np.testing.assert_allclose(slow * scale, whole, rtol=1e-5, atol=1e-8)
    norms = jax.vmap(part_norms)(states.params, states.opt_state)
    np.testing.assert_allclose(norms.fast / (norms.slow + norms.fast), 1 - 1 / gain, rtol=1e-5)
    shares = fast_share(digits_run[0].sel(setting=["ngm-sgd"]))
    recorded = digits_run[0]["gain"].sel(setting="ngm-sgd").values
    np.testing.assert_allclose(shares[0], (recorded - 1) / recorded, rtol=1e-5, atol=1e-7)


@pytest.mark.exhaustive
def test_a_gain_that_follows_no_uncertainty_has_a_share_too(digits_run, tmp_path):
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
