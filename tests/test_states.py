"""The state of gain modulations: found, named, refused where it cannot be true, and reset."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from numpy.testing import assert_allclose, assert_array_equal

import gainjax
from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import find_gain_states, get_gain, get_gains, reset, slow_params
from gainjax.train_state import TrainState

FIRST = jnp.array([[1.0, 2.0, -1.0]])
READERS = {
    "get_gain": lambda params, state: get_gain(state),
    "get_gains": lambda params, state: get_gains(state),
    "slow_params": slow_params,
    "reset": reset,
    "find_gain_states": lambda params, state: find_gain_states(state),
}


def resting(optimizer, params, state, uncertainties):
    """Train with gradients of zero, so that only the gain moves the weights."""
    zeros = jax.tree.map(jnp.zeros_like, params)

    def body(carry, uncertainty):
        params, state = carry
        updates, state = optimizer.update(zeros, state, params, uncertainty=uncertainty)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(body, (params, state), jnp.asarray(uncertainties))
    return params, state


def burst(optimizer, params):
    return resting(optimizer, params, optimizer.init(params), [2.3])


# --- Names ----------------------------------------------------------------------------------------

PARAMS = {"body": jnp.ones((2, 2)), "head": jnp.ones((2, 2)), "bias": jnp.ones(2)}
LABELS = {"body": "slow", "head": "fast", "bias": "plain"}
EMPTY = {"body": "", "head": "fast", "bias": ""}
GROUPS = {"slow": ngm_sgd(0.1, baseline=2.0), "fast": ngm_sgd(0.1, baseline=3.0)}
PARTITION = optax.partition(GROUPS | {"plain": optax.sgd(0.1)}, LABELS)


def only(name):
    return {key: key == name for key in PARAMS}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (optax.sgd(0.1), {}),
        (ngm_sgd(0.1, baseline=2.0), {"gain": 2}),
        (optax.chain(optax.clip(1.0), ngm_sgd(0.1)), {"gain": 1}),
        (PARTITION, {"fast": 3, "slow": 2}),
        (
            optax.chain(
                optax.clip(1.0),
                optax.masked(GROUPS["fast"], only("head")),
                optax.masked(GROUPS["slow"], only("body")),
            ),
            {"1": 3, "2": 2},
        ),
        (
            optax.partition({"": GROUPS["slow"], "fast": GROUPS["fast"]}, EMPTY),
            {"": 2, "fast": 3},
        ),
        (  # whose own state is a dictionary
            optax.GradientTransformation(lambda p: {"inner": PARTITION.init(p)}, PARTITION.update),
            {"fast": 3, "slow": 2},
        ),
    ],
    ids=["none", "one", "one in a chain", "partition", "chain of masks", "no label", "wrapper"],
)
def test_gains_have_names(optimizer, expected):
    state = optimizer.init(PARAMS)
    assert {name: float(gain) for name, gain in get_gains(state).items()} == expected
    assert list(jax.eval_shape(get_gains, state)) == list(expected)  # so in a compiled step


def test_equal_labels_are_told_apart_by_their_place():
    inner = optax.partition({"a": ngm_sgd(0.1)}, lambda p: jax.tree.map(lambda _: "a", p))
    optimizer = optax.chain(optax.masked(inner, only("head")), optax.masked(inner, only("body")))
    assert list(get_gains(optimizer.init(PARAMS))) == ["0/a", "1/a"]


def test_each_group_follows_its_own_dynamics():
    groups = {
        "slow": gain_modulation(optax.sgd(0.0), 0.9, sensitivity=0.1),
        "fast": gain_modulation(optax.sgd(0.0), 0.5, sensitivity=0.4),
        "plain": optax.sgd(0.0),
    }
    optimizer = optax.partition(groups, LABELS)
    params, state = resting(optimizer, PARAMS, optimizer.init(PARAMS), [1.0, 1.0])
    gains = get_gains(state)
    assert_allclose([gains["slow"], gains["fast"]], [1.19, 1.6], rtol=1e-6)
    assert_allclose(params["body"], np.full((2, 2), 1.19), rtol=1e-6)
    assert_allclose(params["head"], np.full((2, 2), 1.6), rtol=1e-6)
    assert_array_equal(params["bias"], 1.0)
    jax.tree.map(lambda a: assert_allclose(a, 1.0, rtol=1e-6), slow_params(params, state))


# --- What cannot be true is refused ---------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(tx, optax.clip_by_global_norm(0.5)),
        lambda tx: optax.chain(optax.clip(1.0), optax.chain(tx, optax.scale(0.5))),
        lambda tx: optax.chain(tx, optax.ema(0.9)),
        lambda tx: optax.apply_if_finite(optax.chain(tx, optax.scale(0.5)), 3),
        lambda tx: optax.partition({"it": optax.chain(tx, optax.scale(0.5))}, lambda p: "it"),
        lambda tx: optax.contrib.schedule_free(tx, 0.1),
        lambda tx: optax.contrib.mechanize(tx),
        lambda tx: optax.named_chain(("gain", tx), ("after", optax.scale(0.5))),
        lambda tx: optax.chain(tx, optax.masked(optax.set_to_zero(), True)),
    ],
    ids=[
        "clip",
        "nested chain",
        "ema",
        "deep in wrappers",
        "in a partition",
        "schedule_free",
        "mechanize",
        "named chain",
        "frozen behind it",
    ],
)
def test_a_gain_that_is_not_last_is_refused(wrap, name):
    optimizer = wrap(ngm_sgd(0.1))
    with pytest.raises(ValueError, match=r"must be the last.*gain_modulation\(optax.chain"):
        READERS[name](FIRST, optimizer.init(FIRST))


def test_train_state_refuses_it_when_it_is_made():
    optimizer = optax.chain(ngm_sgd(0.1), optax.clip_by_global_norm(0.5))
    with pytest.raises(ValueError, match="must be the last"):
        TrainState.create(apply_fn=None, params={"w": FIRST}, tx=optimizer)
    state = TrainState.create(apply_fn=None, params={"w": FIRST}, tx=optax.sgd(0.1))
    assert state.step == 0


@pytest.mark.parametrize("name", READERS)
def test_a_gain_in_a_gain_is_refused(name):
    for inner in (ngm_sgd(0.1), optax.chain(optax.clip(1.0), ngm_sgd(0.1))):
        optimizer = gain_modulation(inner)
        with pytest.raises(ValueError, match="one gain modulation is inside another"):
            READERS[name](FIRST, optimizer.init(FIRST))


def test_slow_params_wants_all_modulated_parameters():
    optimizer = ngm_sgd(0.0)
    params = {"layers": [FIRST, FIRST], "head": FIRST}
    params, state = burst(optimizer, params)
    # Lists become dictionaries: two of three paths are others, one is not.
    restored = serialization.msgpack_restore(
        serialization.msgpack_serialize(serialization.to_state_dict(params))
    )
    for reader in (slow_params, reset):
        with pytest.raises(ValueError, match="2 of its 3 modulated parameters are not in"):
            reader(restored, state)
    assert_allclose(slow_params(params, state)["head"], FIRST, rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mask_that_changes_is_refused(compiled):
    params = {"first": FIRST, "second": FIRST}
    state = ngm_sgd(0.1, mask={"first": True, "second": False}).init(params)

    def update(optimizer, params):
        def step(state):
            return optimizer.update(params, state, params, uncertainty=1.0)

        return jax.jit(step)(state) if compiled else step(state)

    others = [(ngm_sgd(0.1), params), (ngm_sgd(0.1, mask=False), params)]
    if not compiled:  # a compiled step sees how many, not which
        others.append((ngm_sgd(0.1, mask={"first": False, "second": True}), params))
        others.append((ngm_sgd(0.1, mask=True), [FIRST]))
    for optimizer, tree in others:
        with pytest.raises(ValueError, match="the modulated parameters differ from those at init"):
            update(optimizer, tree)
    update(ngm_sgd(0.5, mask={"first": True, "second": False}), params)


# --- A burst that must not stay -------------------------------------------------------------------


def test_what_happens_without_reset_and_with_it():
    optimizer = ngm_sgd(0.0)
    raised, state = burst(optimizer, FIRST)
    assert_allclose(raised, 1.92 * FIRST, rtol=1e-6)
    # Fresh at a raised gain: the burst stays for ever. Nothing in the weights tells of it.
    kept, _ = resting(optimizer, raised, optimizer.init(raised), np.zeros(200))
    assert_allclose(kept, 1.92 * FIRST, rtol=1e-5)
    slow, rested = reset(raised, state)
    for start in (optimizer.init(slow), rested):
        end, end_state = resting(optimizer, slow, start, np.zeros(200))
        assert_allclose(end, FIRST, rtol=1e-5)
        assert get_gain(end_state) == 1.0


def test_setting_the_gain_by_hand_moves_the_weights_with_it():
    optimizer = ngm_sgd(0.0)
    raised, state = burst(optimizer, FIRST)
    state = optax.tree.set(state, gain=jnp.float32(1.0))
    assert_allclose(get_gain(state), 1.92, rtol=1e-6)  # what the weights still carry
    assert_allclose(slow_params(raised, state), FIRST, rtol=1e-6)
    params, state = resting(optimizer, raised, state, [0.0])
    assert_allclose(params, FIRST, rtol=1e-6)
    assert optax.tree.get(state, "gain") == get_gain(state) == 1.0


@pytest.mark.parametrize("base", [optax.sgd(0.1, 0.9), optax.adam(0.1)])
@pytest.mark.usefixtures("x64")
def test_reset_keeps_raw_weights_and_the_base(base):
    optimizer = gain_modulation(base, baseline=2.0, sensitivity=0.4)
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))}
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(params, state, params, uncertainty=1.5)
        params = optax.apply_updates(params, updates)
    slow, rested = reset(params, state)
    jax.tree.map(assert_array_equal, rested.base_state, state.base_state)
    assert_allclose(slow["w"] / 2, params["w"] / get_gain(state), rtol=1e-15)
    assert (rested.gain, rested.carried, rested.step) == (2, 2, 3)
    # The same step of the base: the gradient is that of raw weights in both.
    grads = jax.tree.map(jnp.sin, params)
    one, after = optimizer.update(grads, state, params, uncertainty=0.0)
    scaled = jax.tree.map(lambda g: g * get_gain(state) / 2, grads)
    two, after_reset = optimizer.update(scaled, rested, slow, uncertainty=0.0)
    raw = (params["w"] + one["w"]) / get_gain(after)
    assert_allclose((slow["w"] + two["w"]) / get_gain(after_reset), raw, rtol=1e-13)


def test_reset_inside_composites_and_compiled():
    optimizer = optax.chain(
        optax.clip(1.0), optax.partition(GROUPS | {"plain": optax.sgd(0.0)}, LABELS)
    )
    params, state = burst(optimizer, PARAMS)
    gains = get_gains(state)
    assert_allclose([gains["fast"], gains["slow"]], [3.92, 2.92], rtol=1e-6)
    slow, rested = jax.jit(reset)(params, state)
    assert get_gains(rested) == {"fast": 3, "slow": 2}
    jax.tree.map(lambda x: assert_allclose(x, 1.0, rtol=1e-6), slow)
    assert jax.tree.structure(rested) == jax.tree.structure(state)
    jax.jit(lambda state: state, donate_argnums=0)(reset(params, state)[1])  # no buffer twice


def test_the_names_of_the_package():
    for name in ("get_gain", "get_gains", "reset", "slow_params", "sigmoid_entropy"):
        assert callable(getattr(gainjax, name))
        assert name in gainjax.__all__


@pytest.mark.parametrize("compiled", [False, True])
def test_nnx_optimizers_update_with_and_without_compilation(compiled):
    module = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, gain_modulation(optax.sgd(0.0)), wrt=nnx.Param)
    before = np.asarray(module.kernel[...])

    def update(module, optimizer):
        grads = jax.tree.map(jnp.zeros_like, nnx.state(module, nnx.Param))
        optimizer.update(module, grads, uncertainty=0.5)

    for _ in range(2):
        (nnx.jit(update) if compiled else update)(module, optimizer)
    gain = float(get_gain(optimizer.opt_state))
    assert gain > 1
    assert_allclose(module.kernel[...], gain * before, rtol=1e-6)
    slow = slow_params(nnx.state(module, nnx.Param), optimizer.opt_state)
    assert_allclose(jax.tree.leaves(slow)[1], before, rtol=1e-6)


def test_train_state_hands_uncertainty_to_multi_steps():
    optimizer = optax.MultiSteps(ngm_sgd(0.0), 2)
    state = TrainState.create(apply_fn=None, params={"w": FIRST}, tx=optimizer)
    for uncertainty in (1.0, 0.5):  # the last one counts
        state = state.apply_gradients(grads={"w": FIRST}, uncertainty=uncertainty)
    assert get_gain(state.opt_state) == pytest.approx(1.2)


def test_gradients_of_other_shapes_do_not_broadcast():
    optimizer = ngm_sgd(0.1)
    with pytest.raises(ValueError, match=r"got an update of shape \(3,\) for \(1, 3\)"):
        optimizer.update(FIRST[0], optimizer.init(FIRST), FIRST, uncertainty=1.0)
