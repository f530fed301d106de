"""Gains in the wrong place, or fed the wrong number: what is refused, and what goes unseen."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax import gain_modulation, get_gain, ngm_sgd, slow_params

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


def rested(optimizer, params, first=2.3, updates=200):
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, uncertainty):
        grads = optax.tree.zeros_like(params)
        updates, state = optimizer.update(grads, state, params, uncertainty=uncertainty)
        return optax.apply_updates(params, updates), state

    for uncertainty in [first, *[0.0] * updates]:
        params, state = step(params, state, jnp.float32(uncertainty))
    return params, state


def test_a_clip_behind_the_gain_is_refused_by_all_but_a_bare_loop():
    params = jnp.array([1.0, 2.0, -1.0])
    good = gain_modulation(
        optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.0)), sensitivity=0.4, mask=True
    )
    np.testing.assert_allclose(rested(good, params)[0], [1, 2, -1], rtol=1e-4)
    bad = optax.chain(ngm_sgd(0.0, mask=True), optax.clip_by_global_norm(0.5))
    wrong, state = rested(bad, params)
    # An update cannot see what comes behind it: the docstring says so.
    np.testing.assert_allclose(wrong, [0.62, 1.25, -0.62], atol=0.01)
    for reader in (get_gain, lambda s: slow_params(wrong, s)):
        with pytest.raises(ValueError, match="last"):
            reader(state)
    with pytest.raises(ValueError, match="last"):
        gainjax.run("split-digits", {"bad": bad}, **SHORT)


def test_a_masked_transformation_behind_a_masked_gain_goes_unseen():
    """No state tells it from a partition of the parameters, which is right: docstrings say so."""
    params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([1.0, 2.0])}
    on, off = {"w": True, "b": False}, {"w": False, "b": True}
    gain = optax.masked(ngm_sgd(0.0, mask=True), on)
    right, state = rested(optax.chain(gain, optax.masked(optax.set_to_zero(), off)), params)
    np.testing.assert_allclose(right["w"], [1, 2], rtol=1e-4)
    assert get_gain(state) == pytest.approx(1, rel=1e-4)
    both = optax.chain(gain, optax.masked(optax.scale(0.5), on))
    twice, state = rested(both, params)
    np.testing.assert_allclose(twice["w"], [1.056, 2.112], atol=0.001)  # should be at rest again
    assert get_gain(state) == pytest.approx(1, rel=1e-4)


def test_a_mask_of_the_same_size_that_changes_under_jit_goes_unseen():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    state = ngm_sgd(0.1, mask={"a": True, "b": False}).init(params)
    swapped = ngm_sgd(0.1, mask={"a": False, "b": True})

    def step(state):
        return swapped.update(params, state, params, uncertainty=1.0)

    with pytest.raises(ValueError, match="modulated parameters differ"):
        step(state)
    jax.jit(step)(state)  # numbers of parameters are all that a compiled step can compare


def test_a_partition_that_changes_is_refused():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}

    def split(first, second):
        groups = {"on": ngm_sgd(0.1, mask=True), "off": optax.sgd(0.1)}
        return optax.partition(groups, {"a": first, "b": second})

    state = split("on", "off").init(params)
    with pytest.raises(ValueError, match="modulated parameters differ"):
        split("off", "on").update(params, state, params, uncertainty=1.0)


def test_devices_that_do_not_average_uncertainty_drift_apart():
    program = """
import jax, jax.numpy as jnp, numpy as np, gainjax
optimizer = gainjax.ngm_sgd(0.1, mask=True)
params = jnp.ones((2, 2))
def gain(uncertainty, averaged):
    u = jax.lax.pmean(uncertainty, "d") if averaged else uncertainty
    return optimizer.update(params, optimizer.init(params), params, uncertainty=u)[1].gain
for averaged in (False, True):
    step = jax.pmap(lambda u: gain(u, averaged), axis_name="d")
    print(np.unique(step(jnp.array([1.0, 2.0]))).size)
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "1"], done.stderr


def test_a_loss_as_uncertainty_is_bounded_by_the_default_and_runs_away_without_bound():
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(64, 8))), jnp.asarray(rng.integers(0, 4, 64))

    def loss(params):
        logits = jax.nn.relu(x @ params["a"]) @ params["b"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def ends(optimizer):
        params = {"a": jnp.asarray(rng.normal(size=(8, 32))), "b": jnp.ones((32, 4)) / 9}
        state = optimizer.init(params)

        @jax.jit
        def step(params, state):
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, uncertainty=value)
            return optax.apply_updates(params, updates), state

        for _ in range(300):
            params, state = step(params, state)
        return float(get_gain(state))

    assert ends(gain_modulation(optax.sgd(0.1))) <= 2**0.5 + 1e-6
    assert not ends(ngm_sgd(0.5)) < 100
