"""Models of any library: the same network is the same, and none of them leaks or forgets."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from networks import (
    CLASSES,
    HIDDEN,
    KEY,
    LIBRARIES,
    Linen,
    Nnx,
    X,
    equal,
    filled,
    loss_and_gradient,
    make,
    renamed,
    weights,
)
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import predictive_entropy
from gainjax.models import (
    MLP,
    GainDense,
    Model,
    as_model,
    from_equinox,
    from_functions,
    from_linen,
    from_nnx,
)
from gainjax.optim.modulation import gain_modulation
from gainjax.optim.states import get_gain

each_library = pytest.mark.parametrize("library", LIBRARIES)


# --- One network of five libraries ------------------------------------------------------------


@functools.cache
def reference():
    model = make("linen")
    _, state = model.init(KEY, X)
    (_, (outputs, state)), grads = loss_and_gradient(model, weights(), state, KEY)
    return outputs, grads, model.apply(weights(), state, X, train=False, key=None)[0]


@pytest.mark.exhaustive
@each_library
def test_the_same_weights_give_the_same_outputs_and_gradients(library):
    model = make(library)
    params, state = jax.jit(model.init)(KEY, X)
    params = filled(library, params, weights())
    (_, (outputs, state)), grads = loss_and_gradient(model, params, state, KEY)
    right_outputs, right_grads, right_evaluated = reference()
    close = functools.partial(assert_allclose, rtol=2e-4, atol=2e-5)
    close(outputs, right_outputs)
    jax.tree.map(lambda a, b: close(a, b.reshape(a.shape)), right_grads, renamed(library, grads))
    evaluated, _ = model.apply(params, state, X, train=False, key=None)
    if library not in ("equinox", "haiku"):  # which correct running averages for their start
        close(evaluated, right_evaluated)


@each_library
def test_statistics_move_in_training_alone(library):
    model = make(library)
    params, state = model.init(KEY, X)
    outputs, same = model.apply(params, state, X, train=False, key=None)
    equal(same, state)
    _, moved = model.apply(params, state, 2 * X + 1, train=True, key=KEY)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, state)), strict=True))
    assert (model.apply(params, moved, X, train=False, key=None)[0] != outputs).any()


@each_library
def test_dropout_follows_the_key_and_is_off_in_evaluation(library):
    model = make(library, rate=0.5)
    params, state = model.init(KEY, X)
    _, state = model.apply(params, state, X, train=True, key=KEY)

    def trained(key):
        return model.apply(params, state, X, train=True, key=key)[0]

    assert_array_equal(trained(KEY), trained(KEY))
    one, two = trained(KEY), trained(jax.random.key(8))
    assert (one != two).any()
    assert len(np.unique(one - two, axis=0)) > 8  # not one mask for all examples
    without, _ = make(library).apply(params, state, X, train=False, key=None)
    assert_array_equal(model.apply(params, state, X, train=False, key=None)[0], without)


@pytest.mark.exhaustive
@each_library
def test_seeds_together_are_each_alone(library):
    model = make(library, rate=0.5)
    optimizer = gain_modulation(optax.sgd(0.05), sensitivity=0.1)

    def run(key):
        params, state = model.init(key, X)

        def body(carry, key):
            params, state, opt_state = carry
            (loss, (outputs, state)), grads = loss_and_gradient(model, params, state, key)
            updates, opt_state = optimizer.update(
                grads, opt_state, params, uncertainty=predictive_entropy(outputs)
            )
            return (optax.apply_updates(params, updates), state, opt_state), loss

        (params, state, _), losses = jax.lax.scan(
            body, (params, state, optimizer.init(params)), jax.random.split(key, 5)
        )
        return losses, jax.tree.leaves((params, state))

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(run))(keys)
    for i in (0, 2):
        alone = jax.jit(run)(keys[i])
        close = functools.partial(assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(lambda a, b, i=i, close=close: close(a[i], b), together, alone)
    assert (together[0][0] != together[0][2]).all()


@pytest.mark.exhaustive
@each_library
def test_parameters_and_state_are_arrays_of_one_structure(library):
    model = make(library, rate=0.5)
    abstract = jax.eval_shape(model.init, KEY, X)
    params, state = jax.jit(model.init)(KEY, X)
    for i, part in enumerate((params, state)):
        assert jax.tree.structure(part) == jax.tree.structure(abstract[i])
        for leaf in jax.tree.leaves(part):
            assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            assert not leaf.weak_type
    # Stored as NumPy arrays and read again, they work as before.
    stored = jax.tree.map(np.asarray, (params, state))
    step = jax.jit(model.apply, static_argnames="train")
    outputs, new_state = step(*stored, X, train=True, key=KEY)
    assert outputs.shape == (len(X), CLASSES)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


@each_library
def test_default_mask_marks_the_two_matrices(library):
    model = make(library)
    params, _ = model.init(KEY, X)
    marks = model.modulated(params)
    assert jax.tree.structure(marks) == jax.tree.structure(params)
    shapes, _ = jax.eval_shape(model.init, KEY, X)
    assert jax.tree.leaves(model.modulated(shapes)) == jax.tree.leaves(marks)
    layer, norm = {"kernel": True, "bias": False}, {"scale": False, "bias": False}
    named = jax.tree.map(bool, renamed(library, marks))
    assert named == {"first": layer, "norm": norm, "last": layer}
    # The gain of the optimizer multiplies those and no others.
    optimizer = gain_modulation(optax.sgd(0.0), mask=marks)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, opt_state = optimizer.update(zeros, optimizer.init(params), params, uncertainty=1.0)
    factor = jnp.where(jnp.asarray(True), get_gain(opt_state), 1)
    after = optax.apply_updates(params, updates)
    jax.tree.map(
        lambda on, a, b: assert_allclose(b, a * factor if on else a, rtol=1e-6),
        marks,
        params,
        after,
    )


# --- Plain functions, and the door ------------------------------------------------------------


def identity(params, state, x, *, train, key):
    return x, state


def test_functions_of_another_form_are_refused():
    def init(key, x):
        return {}, {}

    with pytest.raises(TypeError, match=r"init must be a function called as init\(key, x\)"):
        from_functions(lambda key: {}, identity)
    with pytest.raises(TypeError, match=r"called as apply\(params, state, x, \*, train, key\)"):
        from_functions(init, lambda params, x: x)
    with pytest.raises(TypeError, match=r"apply must be a function .* got 3"):
        from_functions(init, 3)
    model = from_functions(init, lambda params, state, x, *, train, key: x)
    with pytest.raises(TypeError, match=r"apply must return a pair \(outputs, state\)"):
        model.apply({}, {}, X, train=True, key=KEY)
    model = from_functions(lambda key, x: {}, identity)
    with pytest.raises(TypeError, match=r"init must return a pair \(params, state\): got a dict"):
        model.init(KEY, X)
    model = from_functions(lambda key, x: ({}, {"key": key}), identity)
    with pytest.raises(TypeError, match=r"without random keys .* at \[1\]\['key'\]"):
        model.init(KEY, X)
    model = from_functions(init, lambda params, state, x, *, train, key: (x, {"more": 1.0}))
    with pytest.raises(ValueError, match="apply must keep the structure of the state"):
        model.apply({}, {}, X, train=True, key=KEY)


def test_evaluation_of_functions_cannot_move_the_state():
    model = from_functions(
        lambda key, x: ({}, {"calls": 0}),
        lambda params, state, x, *, train, key: (x, {"calls": state["calls"] + 1}),
    )
    params, state = model.init(KEY, X)
    assert state["calls"].dtype == jnp.int32
    assert model.apply(params, state, X, train=False, key=None)[1]["calls"] == 0
    assert model.apply(params, state, X, train=True, key=KEY)[1]["calls"] == 1


def test_as_model():
    model = from_functions(lambda key, x: ({}, {}), identity)
    assert as_model(model) is model
    adapted = as_model(MLP((5, 3), (0.5, 0.5)))
    assert isinstance(adapted, Model)
    assert adapted.description == "MLP(features=(5, 3), kernel_scales=(0.5, 0.5))"
    assert as_model(nn.Dense(3, kernel_init=nn.initializers.ones)).description == (
        "Dense(features=3, kernel_init=ones)"
    )
    for other in (Nnx(0.0, nnx.Rngs(0)), len, "mlp"):
        with pytest.raises(TypeError, match=r"adapt it with gainjax\.models\.from_nnx"):
            as_model(other)


def test_modules_in_place_of_what_makes_them_are_refused():
    with pytest.raises(TypeError, match="`lambda rngs: Net"):
        from_nnx(Nnx(0.0, nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"must be a flax\.linen\.Module"):
        from_linen(Linen)
    eqx = pytest.importorskip("equinox")
    with pytest.raises(TypeError, match="`lambda key: Net"):
        from_equinox(eqx.nn.Linear(2, 3, key=KEY))


def test_models_differ_though_made_alike():
    models = [from_linen(GainDense(HIDDEN)) for _ in range(2)]
    assert models[0] != models[1]
    assert len(set(models)) == 2
