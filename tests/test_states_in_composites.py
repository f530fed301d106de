"""The state of a gain, found inside composites of Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modulated import MASK, make_params, run
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import GainModulationState, find_gain_states, get_gain, slow_params

PAPER = {"sensitivity": 0.4}
LABELS = {"kernel": "modulated", "bias": "plain"}


def injected(**options):
    return optax.inject_hyperparams(gain_modulation, static_args=("base", "mask"))(
        optax.sgd(0.0), **PAPER | options
    )


def forwarding(multi_steps):
    """As Optax has it, only an outermost MultiSteps takes extra arguments."""
    return optax.GradientTransformationExtraArgs(multi_steps.init, multi_steps.update)


# Each is built on one modulation with a resting base, so that the slow weights never move.
COMPOSITES = {
    "alone": lambda **k: ngm_sgd(0.0, mask=MASK, **k),
    "chain": lambda **k: optax.chain(
        optax.clip_by_global_norm(1.0), optax.identity(), ngm_sgd(0.0, mask=MASK, **k)
    ),
    "named chain": lambda **k: optax.named_chain(
        ("z", optax.identity()), ("gain", ngm_sgd(0.0, mask=MASK, **k))
    ),
    "partition": lambda **k: optax.partition(
        {"modulated": ngm_sgd(0.0, **k), "plain": optax.adam(0.0)}, LABELS
    ),
    "masked": lambda **k: optax.chain(
        optax.masked(ngm_sgd(0.0, **k), MASK),
        optax.masked(optax.set_to_zero(), {"kernel": False, "bias": True}),
    ),
    "mask in partition": lambda **k: optax.partition(
        {"modulated": ngm_sgd(0.0, mask=MASK, **k), "plain": optax.set_to_zero()}, LABELS
    ),
    "MultiSteps": lambda **k: optax.MultiSteps(ngm_sgd(0.0, mask=MASK, **k), 1),
    "inject_hyperparams": lambda **k: injected(mask=MASK, **k),
    "apply_if_finite": lambda **k: optax.apply_if_finite(ngm_sgd(0.0, mask=MASK, **k), 3),
    "nested": lambda **k: optax.apply_if_finite(
        optax.chain(
            optax.clip(1.0),
            forwarding(
                optax.MultiSteps(
                    optax.partition({"modulated": injected(**k), "plain": optax.sgd(0.0)}, LABELS),
                    1,
                )
            ),
        ),
        3,
    ),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_state_is_found_in(name):
    optimizer = COMPOSITES[name](baseline=2.0)
    params = make_params(dtype=np.float32)
    assert get_gain(optimizer.init(params)) == 2
    trained, states = run(optimizer, params, np.array([1.0, 2.0], np.float32))
    assert_allclose(get_gain(states), [2.4, 3.16], rtol=1e-6)
    assert_allclose(trained["kernel"][-1], 1.58 * params["kernel"], rtol=1e-5)
    # The trajectory has a leading axis, in parameters and state alike.
    slow = jax.jit(slow_params)(trained, states)
    for n in range(2):
        assert_allclose(slow["kernel"][n], params["kernel"], rtol=1e-5)
        assert_array_equal(slow["bias"][n], params["bias"])


def test_several_modulations():
    optimizer = optax.partition(
        {
            "fast": ngm_sgd(0.0, sensitivity=1.0),
            "slow": ngm_sgd(0.0, baseline=2.0, mask=True),
        },
        {"kernel": "fast", "bias": "slow"},
    )
    params = make_params(dtype=np.float32)
    trained, states = run(optimizer, params, np.ones(3, np.float32))
    last, state = jax.tree.map(lambda x: x[-1], (trained, states))
    with pytest.raises(ValueError, match="exactly one gain: found 2"):
        get_gain(state)
    found = find_gain_states(state)
    assert all(isinstance(s, GainModulationState) for s in found)
    assert_allclose(sorted(float(s.gain) for s in found), [3.084, 3.71], rtol=1e-6)
    assert_allclose(last["kernel"], 3.71 * params["kernel"], rtol=1e-5)
    slow = slow_params(last, state)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-5), slow, params)
    alone = get_gain(state.inner_states["fast"])
    assert_allclose(alone, 3.71, rtol=1e-6)


def test_slow_params_of_a_vmapped_state():
    optimizer = ngm_sgd(0.0, mask=MASK)
    one = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)}

    @jax.jit
    @jax.vmap
    def train(scale, uncertainty):
        params = jax.tree.map(lambda x: scale * x, one)
        updates, state = optimizer.update(
            params, optimizer.init(params), params, uncertainty=uncertainty
        )
        return optax.apply_updates(params, updates), state

    # As many runs as rows, so that a wrong axis would not be noticed by its shape.
    trained, state = train(jnp.arange(1.0, 4.0), jnp.array([0.0, 1.0, 2.0]))
    assert_allclose(get_gain(state), [1.0, 1.4, 1.8], rtol=1e-6)
    assert_allclose(trained["kernel"][2], np.full((3, 2), 1.8 * 3), rtol=1e-6)
    for slow in (jax.jit(slow_params), jax.jit(jax.vmap(slow_params))):
        for name, leaf in slow(trained, state).items():
            expected = np.arange(1.0, 4.0).reshape(-1, *(1,) * one[name].ndim) * one[name]
            assert_allclose(leaf, expected, rtol=1e-6)


def test_multi_steps_takes_the_last_uncertainty():
    optimizer = optax.MultiSteps(ngm_sgd(0.1), 2)
    _, states = run(optimizer, make_params(dtype=np.float32), np.array([9.0, 1.0, 9.0, 0.0], "f4"))
    assert_allclose(get_gain(states), [1.0, 1.4, 1.4, 1.36], rtol=1e-6)


def test_apply_if_finite_holds_the_gain_with_the_weights():
    optimizer = optax.apply_if_finite(ngm_sgd(0.1, mask=True), 3)
    params = {"w": jnp.ones(2)}
    state = optimizer.init(params)
    bad = {"w": jnp.array([1.0, jnp.nan])}
    updates, state = optimizer.update(bad, state, params, uncertainty=2.0)
    assert_array_equal(updates["w"], 0.0)
    assert get_gain(state) == 1.0
    updates, state = optimizer.update(params, state, params, uncertainty=2.0)
    assert_allclose(get_gain(state), 1.8, rtol=1e-6)
