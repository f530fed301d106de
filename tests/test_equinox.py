"""Modules of Equinox as models."""

import jax
import jax.numpy as jnp
import pytest
from networks import INPUTS, KEY, X, renamed
from numpy.testing import assert_allclose

from gainjax.models import from_equinox


@pytest.fixture
def eqx():
    return pytest.importorskip("equinox")


@pytest.mark.exhaustive
def test_equinox_is_called_by_what_it_takes(eqx):
    plain = from_equinox(lambda key: eqx.nn.MLP(INPUTS, 3, 8, 1, key=key))
    params, state = jax.jit(plain.init)(KEY, X)
    outputs, _ = plain.apply(params, state, X, train=True, key=KEY)
    assert_allclose(outputs, jax.vmap(eqx.nn.MLP(INPUTS, 3, 8, 1, key=KEY))(X), rtol=1e-6)

    class Bare(eqx.Module):
        weight: jax.Array
        order: jax.Array

        def __call__(self, x):
            return self.weight @ x[self.order]

    order = jnp.arange(INPUTS)[::-1]
    bare = from_equinox(lambda key: Bare(jax.random.normal(key, (3, INPUTS)), order))
    params, state = bare.init(KEY, X)
    assert len(jax.tree.leaves(params)) == len(jax.tree.leaves(state)) == 1
    outputs, _ = bare.apply(params, state, X, train=True, key=KEY)
    assert_allclose(outputs, X[:, ::-1] @ params.weight.T, rtol=1e-5, atol=1e-6)

    def sequential(key):
        layers = [eqx.nn.Linear(INPUTS, 3, key=key), eqx.nn.Dropout(0.5)]
        return eqx.nn.Sequential([*layers, eqx.nn.BatchNorm(3, axis_name="batch", mode="ema")])

    model = from_equinox(sequential)
    params, state = model.init(KEY, X)
    outputs, moved = model.apply(params, state, X, train=True, key=KEY)
    assert outputs.shape == (len(X), 3)
    assert not eqx.tree_equal(moved, state)


@pytest.mark.parametrize("library", ["equinox"])
def test_a_mask_of_equinox_from_another_module_of_the_kind(eqx, library):
    # Its markers of state are other objects, so its structure is not that of the parameters.
    import networks

    net = networks.equinox_network(0.0, KEY)
    off = jax.tree.map(lambda _: False, net)
    mask = eqx.tree_at(lambda net: net.last.weight, off, True)
    model = from_equinox(lambda key: networks.equinox_network(0.0, key), mask=mask)
    params, _ = jax.eval_shape(model.init, KEY, X)
    marks = renamed(library, model.modulated(params))
    assert [bool(x) for x in jax.tree.leaves(marks)] == [False, False, False, True, False, False]
    prefix = eqx.tree_at(lambda net: net.first, off, True)
    marks = from_equinox(lambda key: networks.equinox_network(0.0, key), mask=prefix).modulated(
        params
    )
    assert marks.first.weight
    assert marks.first.bias
    hole = eqx.tree_at(lambda net: net.first.bias, off, None)
    with pytest.raises(ValueError, match=r"mask must mark each parameter: .first.bias is not in"):
        from_equinox(lambda key: net, mask=hole).modulated(params)


def test_random_keys_are_not_kept_in_a_module_of_equinox(eqx):
    class Keeper(eqx.Module):
        key: jax.Array

        def __call__(self, x):
            return x

    with pytest.raises(TypeError, match="arrays without random keys"):
        from_equinox(Keeper).init(KEY, X)
