"""Parameters of every kind under a gain, and what gain modulation refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modulated import MASK, make_params, run
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics
from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import find_gain_states, get_gain, slow_params

# --- Parameters of all kinds ----------------------------------------------------------------------


def test_integers_and_keys_are_never_modulated():
    params = {
        "w": jnp.ones((2, 2)),
        "counter": jnp.int32(10),
        "raw_key": jax.random.PRNGKey(3),
        "key": jax.random.key(5),
        "flag": jnp.bool_(True),
    }
    optimizer = gain_modulation(spy_without_zeros(), sensitivity=0.4, mask=True)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params, uncertainty=2.0)
    seen_grads, seen_params = state.base_state
    for name in ("counter", "raw_key", "flag"):
        for tree in (updates, seen_grads, seen_params):
            assert_array_equal(tree[name], params[name])
    assert (seen_params["key"] == params["key"]).all()
    slow = slow_params(params, state)
    assert_array_equal(slow["counter"], 10)
    assert (slow["key"] == params["key"]).all()
    assert_allclose(slow["w"], 1 / 1.8, rtol=1e-6)


def spy_without_zeros():
    def update(updates, state, params=None, **extra):
        return updates, (updates, params)

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_complex_parameters_have_a_real_gain():
    ones = jnp.ones((1, 2), jnp.float32)
    params = {"w": jnp.array([[1 + 2j, -1j]], jnp.complex64), "v": ones}
    optimizer = ngm_sgd(0.1)
    state = optimizer.init(params)
    assert state.gain.dtype == jnp.float32
    grads = {"w": jnp.array([[0.5j, 1.0]], jnp.complex64), "v": ones}
    updates, state = optimizer.update(grads, state, params, uncertainty=1.0)
    new = optax.apply_updates(params, updates)
    assert_allclose(new["w"], 1.4 * (params["w"] - 0.1 * grads["w"]), rtol=1e-6)
    assert new["w"].dtype == jnp.complex64
    assert_allclose(slow_params(new, state)["w"], params["w"] - 0.1 * grads["w"], rtol=1e-6)


@pytest.mark.parametrize("base", [optax.sgd(0.1, 0.9), optax.adam(0.1), optax.adamw(0.1)])
def test_init_of_abstract_parameters(base):
    params = make_params(dtype=np.float32)
    optimizer = gain_modulation(base, mask=MASK)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    abstract, real = (jax.tree.map(jnp.shape, optimizer.init(p)) for p in (shapes, params))
    assert abstract == real


def test_count_of_the_base_is_not_ambiguous():
    optimizer = gain_modulation(optax.adam(0.1))
    params = make_params(dtype=np.float32)
    _, states = run(optimizer, params, np.zeros(3, np.float32))
    assert_array_equal(optax.tree.get(states, "count"), [1, 2, 3])
    assert_array_equal(optax.tree.get(states, "step"), [1, 2, 3])


def test_injected_numbers_are_rounded_unless_told_otherwise():
    params = {"w": jnp.ones((2, 2), jnp.bfloat16)}

    def decays(**options):
        inject = optax.inject_hyperparams(
            gain_modulation, static_args=("base", "mask", "max_gain"), **options
        )
        optimizer = inject(optax.sgd(0.0), decay=0.9, sensitivity=0.4)
        state = optimizer.init(params)
        for uncertainty in (1.0, 0.0):
            _, state = optimizer.update(params, state, params, uncertainty=uncertainty)
        return float(get_gain(state))

    assert abs(decays() - 1.36) > 1e-4  # what Optax does
    assert abs(decays(hyperparam_dtype=jnp.float32) - 1.36) < 1e-6


@pytest.mark.usefixtures("x64")
def test_uncertainty_that_is_no_uncertainty():
    optimizer = ngm_sgd(0.1, mask=MASK)
    values = np.array([1.0, -1e-9, -5.0, 0.0])
    _, states = run(optimizer, make_params(), values)
    assert_allclose(states.gain, [1.4, 1.36, 1.324, 1.2916], rtol=1e-14)
    assert_array_equal(states.skipped, [0, 1, 2, 2])
    params = make_params()
    with pytest.raises(TypeError, match="uncertainty must be real: got complex"):
        optimizer.update(params, optimizer.init(params), params, uncertainty=1.0 + 1j)
    for wrong in ("2.3", 10**400):
        with pytest.raises(TypeError, match="uncertainty must be a real number: got"):
            optimizer.update(params, optimizer.init(params), params, uncertainty=wrong)
    with pytest.raises(TypeError, match=r"uncertainty must be a number .*: got None"):
        GainDynamics().step(1.0, None)


def test_updates_have_the_dtype_of_their_parameters():
    params, grads = make_params(0, np.float32), make_params(1, jnp.bfloat16)
    optimizer = ngm_sgd(0.1, mask=True)
    updates, _ = optimizer.update(grads, optimizer.init(params), params, uncertainty=2.0)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(updates))


def test_plain_numbers_are_parameters():
    optimizer = ngm_sgd(0.5, sensitivity=0.0, mask=True)
    updates, state = optimizer.update(2.0, optimizer.init(1.0), 1.0, uncertainty=0.0)
    assert float(updates) == -1.0
    assert float(slow_params(jnp.float32(3.0), state)) == 3.0


# --- Errors ---------------------------------------------------------------------------------------


def test_update_without_its_arguments():
    params = make_params(dtype=np.float32)
    optimizer = ngm_sgd(0.1)
    state = optimizer.init(params)
    with pytest.raises(TypeError, match=r"keyword `uncertainty`.*predictive_entropy.*TrainState"):
        optimizer.update(params, state, params)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(params, state, uncertainty=1.0)
    within = optax.chain(optax.clip(1.0), optax.MultiSteps(optimizer, 2))
    with pytest.raises(
        TypeError, match=r"wrappers do not pass it to optax.MultiSteps: put that in"
    ):
        within.update(params, within.init(params), params, uncertainty=1.0)
    for shape in ((1,), (3, 2)):
        with pytest.raises(ValueError, match=rf"uncertainty must be a scalar.*\({shape[0]},"):
            optimizer.update(params, state, params, uncertainty=np.ones(shape))


@pytest.mark.parametrize("base", [optax.sgd, 0.1, None, "sgd"])
def test_base_that_is_no_optimizer(base):
    with pytest.raises(TypeError, match=r"base must be an optax.GradientTransformation"):
        gain_modulation(base)


@pytest.mark.parametrize("make", [lambda **k: gain_modulation(optax.sgd(0.1), **k), ngm_sgd])
def test_ranges_are_checked_at_once(make):
    options = {"learning_rate": 0.1} if make is ngm_sgd else {}
    for name, value in (
        ("decay", 1.0),
        ("decay", np.nan),
        ("baseline", 0.0),
        ("sensitivity", -0.1),
        ("max_gain", 0.5),
        ("max_gain", np.nan),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            make(**options, **{name: value})


def test_one_gain_has_one_number_of_each_kind():
    options = {"decay": 0.5, "baseline": 0.9, "sensitivity": 0.1}
    for name in (*options, "max_gain"):
        with pytest.raises(ValueError, match=rf"^{name} must be one number: got .*shape \(1,\)"):
            gain_modulation(optax.sgd(0.1), **options | {name: np.array([0.9])})
    with pytest.raises(ValueError, match=r"^decay must be in \[0, 1\)"):
        gain_modulation(optax.sgd(0.1), jnp.array(-0.1))


def test_an_optimizer_that_flattens_belongs_inside():
    params = make_params(dtype=np.float32)
    outside = optax.flatten(ngm_sgd(0.1, mask=True))
    state = outside.init(params)
    with pytest.raises(ValueError, match=r"Put optax.flatten.* inside the gain modulation"):
        slow_params(params, state)
    with pytest.raises(ValueError, match=r"grad and loss_grad must be nested.*optax.flatten"):
        outside.update(params, state, params, uncertainty=1.0, grad=params)
    inside = gain_modulation(optax.flatten(optax.sgd(0.1)), sensitivity=0.4, mask=True)
    both = inside, ngm_sgd(0.1, mask=True)
    found, wanted = (
        one.update(params, one.init(params), params, uncertainty=1.0, grad=params)[0]
        for one in both
    )
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-6), found, wanted)


def test_states_without_a_gain():
    params = make_params(dtype=np.float32)
    state = optax.chain(optax.clip(1.0), optax.adam(0.1)).init(params)
    with pytest.raises(ValueError, match="exactly one gain: found 0 in a tuple"):
        get_gain(state)
    with pytest.raises(ValueError, match="holds no gain: got a tuple"):
        slow_params(params, state)
    assert find_gain_states(state) == []


def test_slow_params_of_other_parameters():
    params = make_params(dtype=np.float32)
    for optimizer, other in (
        (ngm_sgd(0.1), {"params": params}),
        (optax.flatten(ngm_sgd(0.1, mask=True)), params),
    ):
        with pytest.raises(ValueError, match="params must be nested like"):
            slow_params(other, optimizer.init(params))
    nothing = ngm_sgd(0.1, mask=lambda p: jax.tree.map(lambda _: False, p))
    jax.tree.map(assert_array_equal, slow_params(params, nothing.init(params)), params)


def test_negative_uncertainty():
    params = make_params(dtype=np.float32)
    optimizer = ngm_sgd(0.1)
    with pytest.raises(ValueError, match=r"uncertainty must be >= 0: got -1\.0"):
        optimizer.update(params, optimizer.init(params), params, uncertainty=-1.0)
