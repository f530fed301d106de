"""The controls: each against the equation that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax.optim.averaging import averaged_weights, get_average
from gainjax.optim.controls import (
    bump_at_switches,
    entropy_scaled,
    replayed_gain,
    reset_at_switches,
)
from gainjax.optim.flatness import sharpness_aware
from gainjax.optim.modulation import modulate

SHORT = {"updates_per_task": 20, "batch_size": 32, "seen_every": 20, "seeds": 2}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    out = tmp_path_factory.mktemp("reference")
    return out, gainjax.run("split-digits", ["ngm-sgd"], out=out, **SHORT)


def borrow(reference, methods, **options):
    options = {"benchmark": "split-digits", "gain_from": reference[0]} | SHORT | options
    return gainjax.run(methods=methods, **options)


@pytest.mark.exhaustive
def test_a_replayed_gain_gives_the_very_run_that_it_was_taken_from(reference):
    _, original = reference
    settings = {"learning_rate": 0.01}
    replayed = borrow(reference, ["replayed-gain"], hyperparameters=settings)
    for name in ("gain", "train_loss", "accuracy", "seen_accuracy"):
        np.testing.assert_allclose(
            replayed[name].values, original[name].values, rtol=1e-4, atol=1e-5
        )


@pytest.mark.exhaustive
def test_constant_and_shuffled_gain_keep_the_mean_of_each_seed(reference):
    _, original = reference
    gain = borrow(reference, ["constant-gain", "shuffled-gain"]).gain
    want = original.gain.sel(setting="ngm-sgd")
    np.testing.assert_allclose(gain.mean("update"), [want.mean("update")] * 2, rtol=1e-5)
    assert np.all(gain.sel(setting="constant-gain").std("update") < 1e-6)
    shuffled = gain.sel(setting="shuffled-gain").values
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(want.values))
    assert np.abs(shuffled - want.values).max() > 0.3


@pytest.mark.parametrize(
    ("methods", "options", "message"),
    [
        (["replayed-gain"], {"gain_from": None}, "first run ngm-sgd"),
        (["sgd"], {}, "none of the methods borrows"),
        (["replayed-gain"], {"seeds": [0, 5]}, r"must hold the seeds \[0, 5\]: .* lacks \[5\]"),
        (["replayed-gain"], {"updates_per_task": 19}, "updates_per_task: 20 -> 19"),
        (["replayed-gain"], {"regime": "fine-tuning"}, 'regime: "joint" -> "fine-tuning"'),
        (["replayed-gain"], {"benchmark": "permuted-digits"}, "differs in benchmark"),
        (["replayed-gain"], {"form": "model"}, "cannot be in the model"),
    ],
)
def test_a_gain_that_does_not_fit_is_refused(reference, methods, options, message):
    with pytest.raises(ValueError, match=message):
        borrow(reference, methods, **options)


def test_a_bump_follows_its_equation():
    optimizer = modulate(optax.sgd(0.0), bump_at_switches(0.5, 1.0, 1.0), mask=True)
    params = jnp.ones(2)
    state, gains = optimizer.init(params), []
    for switch in (False, True, False, False):
        updates, state = optimizer.update(
            params, state, params, uncertainty=9.0, is_switch=jnp.asarray(switch)
        )
        params = optax.apply_updates(params, updates)
        gains.append(float(state.gain))
    np.testing.assert_allclose(gains, [1.0, 2.0, 1.5, 1.25])
    np.testing.assert_allclose(params, 1.25)


def test_the_entropy_scales_steps_by_the_squared_signal():
    dynamics = gainjax.GainDynamics(0.5, 1.0, 2.0)
    optimizer = entropy_scaled(optax.sgd(0.1), dynamics)
    state, gain = optimizer.init(jnp.ones(1)), 1.0
    for uncertainty in (1.0, 0.5, 0.0):
        updates, state = optimizer.update(jnp.ones(1), state, uncertainty=uncertainty)
        np.testing.assert_allclose(updates, -0.1 * gain**2, rtol=1e-6)
        gain = 0.5 * gain + 0.5 + 2.0 * uncertainty


@pytest.mark.parametrize("base", [optax.sgd(0.1, 0.9), optax.adam(0.1)])
def test_a_reset_starts_the_base_anew(base):
    optimizer = reset_at_switches(base)
    params = jnp.ones(3)
    state = optimizer.init(params)
    for _ in range(3):
        _, state = optimizer.update(params, state, params, is_switch=jnp.asarray(False))
    ours, _ = optimizer.update(params, state, params, is_switch=jnp.asarray(True))
    fresh, _ = base.update(params, base.init(params), params)
    np.testing.assert_array_equal(ours, fresh)
    kept, _ = optimizer.update(params, state, params, is_switch=jnp.asarray(False))
    assert not np.array_equal(kept, fresh)


def test_the_average_follows_its_equation():
    optimizer = averaged_weights(optax.sgd(0.1), 0.8)
    params = average = np.ones(2)
    state = optimizer.init(jnp.asarray(params))
    for grad in (1.0, -2.0, 0.5):
        updates, state = optimizer.update(jnp.full(2, grad), state, jnp.asarray(params))
        params = params + np.asarray(updates)
        average = 0.8 * average + 0.2 * params
    np.testing.assert_allclose(get_average(None, state), average, rtol=1e-6)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(jnp.ones(2), state)
    # It is found at any depth, as a gain is; one among several is not guessed.
    inside = optax.chain(optax.clip(1.0), optimizer).init(jnp.ones(2))
    np.testing.assert_array_equal(get_average(None, inside), np.ones(2))
    for states, number in (((), 0), ((state, state), 2)):
        with pytest.raises(ValueError, match=f"exactly one averaged_weights: found {number}"):
            get_average(None, states)


def test_sharpness_aware_takes_the_gradient_at_the_worst_nearby_point():
    matrix = np.diag([1.0, 10.0])

    def grad_fn(params, i):
        return jnp.asarray(matrix, jnp.float32) @ params

    optimizer = sharpness_aware(optax.sgd(1.0), 0.1)
    params = jnp.array([1.0, 1.0])
    grads = grad_fn(params, 0)
    updates, _ = optimizer.update(grads, optimizer.init(params), params, grad_fn=grad_fn)
    worst = np.ones(2) + 0.1 * np.asarray(grads) / np.linalg.norm(grads)
    np.testing.assert_allclose(updates, -matrix @ worst, rtol=1e-6)
    zero = jnp.zeros(2)
    updates, _ = optimizer.update(zero, optimizer.init(zero), zero, grad_fn=grad_fn)
    assert np.all(np.isfinite(updates))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(zero, optimizer.init(zero), grad_fn=grad_fn)


def test_rules_are_data_under_vmap():
    def final_gain(trace):
        optimizer = modulate(optax.sgd(0.1), replayed_gain(trace), mask=True)
        state = optimizer.init(jnp.ones(2))
        for _ in range(2):
            _, state = optimizer.update(jnp.ones(2), state, jnp.ones(2), uncertainty=0.0)
        return state.gain

    traces = jnp.array([[1.0, 2.0, 3.0], [1.0, 1.5, 1.25]])
    np.testing.assert_allclose(jax.vmap(final_gain)(traces), [3.0, 1.25])


def test_several_gains_are_not_borrowed_as_their_mean(tmp_path):
    def two(learning_rate=0.001):
        parts = {"all": gainjax.ngm_sgd(learning_rate), "none": gainjax.ngm_sgd(learning_rate)}
        names = ("layer_0", "layer_1", "layer_2")
        return optax.partition(parts, {n: "all" if n == "layer_0" else "none" for n in names})

    gainjax.run("split-digits", {"two": two}, out=tmp_path, **SHORT)
    with pytest.raises(ValueError, match=r"must hold a run with one gain: two .* of all, none"):
        gainjax.run("split-digits", ["constant-gain"], gain_from=tmp_path, **SHORT)
