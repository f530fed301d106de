"""Modules of Flax NNX as models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import INPUTS, KEY, Nnx, X, equal, loss_and_gradient, mean_loss
from numpy.testing import assert_array_equal

from gainjax.models import from_nnx


def test_nnx_starts_and_trains_as_on_its_own():
    model = from_nnx(lambda rngs: Nnx(0.0, rngs))
    params, state = model.init(KEY, X)
    net = Nnx(0.0, nnx.Rngs(KEY))
    equal(params, nnx.to_pure_dict(nnx.state(net, nnx.Param)))
    equal(state, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))

    grads = nnx.grad(lambda net: mean_loss(net(X)))(net)
    (_, (_, state)), ours = loss_and_gradient(model, params, state, KEY)
    equal(ours, nnx.to_pure_dict(grads))
    equal(state, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))
    net.eval()
    assert_array_equal(model.apply(params, state, X, train=False, key=None)[0], net(X))


def test_each_dropout_of_nnx_has_a_key_of_its_own():
    class Two(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs  # shared
            self.layers = nnx.List([nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])

        def __call__(self, x, train):
            noise = jax.random.bernoulli(self.rngs.noise(), 0.5, x.shape)
            return jnp.stack([*(layer(x) for layer in self.layers), jnp.where(noise, x, 0)])

    model = from_nnx(Two)
    params, state = model.init(KEY, X)
    assert (params, state) == ({}, {})
    zero = np.asarray(model.apply({}, {}, jnp.ones((64, 8)), train=True, key=KEY)[0]) == 0
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 0.4 < np.mean(zero[a] == zero[b]) < 0.6


@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_own_variables_of_nnx_are_state_and_new_ones_are_refused():
    class Count(nnx.Variable):
        pass

    class Counting(nnx.Module):
        def __init__(self, grows):
            self.grows = grows
            self.count = Count(jnp.int32(0))
            self.key = jax.random.key(0)  # a bare key is random, too

        def __call__(self, x):
            self.count[...] += 1
            self.sow(nnx.Intermediate, "seen", x)
            if self.grows:
                self.more = Count(jnp.int32(0))
            return x

    model = from_nnx(lambda rngs: Counting(False))
    params, state = model.init(KEY, X)
    assert list(state) == ["count"]
    for count in range(3):
        assert state["count"] == count
        _, state = model.apply(params, state, X, train=True, key=KEY)
    model = from_nnx(lambda rngs: Counting(True))
    with pytest.raises(ValueError, match="Counting must keep the structure of the state"):
        model.apply(*model.init(KEY, X), X, train=True, key=KEY)


def test_layers_of_nnx_in_lists():
    def network(rngs):
        return nnx.Sequential(
            nnx.Linear(INPUTS, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 3, rngs=rngs)
        )

    model = from_nnx(network)
    params, state = model.init(KEY, X)
    outputs, _ = model.apply(params, state, X, train=True, key=KEY)
    assert_array_equal(outputs, network(nnx.Rngs(KEY))(X))
    assert sum(jax.tree.leaves(model.modulated(params))) == 2
