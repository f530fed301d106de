"""One network, written for each library: dense, batch normalization, dropout, dense."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_array_equal

from gainjax.models import from_equinox, from_functions, from_linen, from_nnx

INPUTS, HIDDEN, CLASSES = 6, 5, 3
LIBRARIES = ["linen", "nnx", "equinox", "functions", "haiku"]
X = jnp.asarray(np.random.default_rng(1).normal(size=(16, INPUTS)), jnp.float32)
LABELS = jnp.arange(16) % CLASSES
KEY = jax.random.key(7)


def weights(seed=0):
    """Return the parameters under common names, in the layout of Flax, and nothing left at 0."""
    rng = np.random.default_rng(seed)
    shapes = {
        "first": {"kernel": (INPUTS, HIDDEN), "bias": (HIDDEN,)},
        "norm": {"scale": (HIDDEN,), "bias": (HIDDEN,)},
        "last": {"kernel": (HIDDEN, CLASSES), "bias": (CLASSES,)},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


class Linen(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(HIDDEN, name="first")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(CLASSES, name="last")(x)


class Nnx(nnx.Module):
    def __init__(self, rate, rngs):
        self.first = nnx.Linear(INPUTS, HIDDEN, rngs=rngs)
        self.norm = nnx.BatchNorm(HIDDEN, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(HIDDEN, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


@functools.cache
def equinox_class():
    eqx = pytest.importorskip("equinox")

    class Network(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        dropout: eqx.nn.Dropout
        last: eqx.nn.Linear
        activation: object

        def __init__(self, rate, key):
            keys = jax.random.split(key)
            self.first = eqx.nn.Linear(INPUTS, HIDDEN, key=keys[0])
            self.norm = eqx.nn.BatchNorm(HIDDEN, axis_name="batch", mode="batch")
            self.dropout = eqx.nn.Dropout(rate)
            self.last = eqx.nn.Linear(HIDDEN, CLASSES, key=keys[1])
            self.activation = lambda x: jax.nn.relu(x)  # another object each time

        def __call__(self, x, state, *, key=None):
            x, state = self.norm(self.first(x), state)
            x = self.dropout(self.activation(x), key=key)
            return self.last(x), state

    return Network


def equinox_network(rate, key):
    return equinox_class()(rate, key)


def plain_functions(rate):
    def init(key, x):
        keys = jax.random.split(key)
        params = weights()
        params["first"]["kernel"] = jax.random.normal(keys[0], (x.shape[1], HIDDEN))
        params["last"]["kernel"] = jax.random.normal(keys[1], (HIDDEN, CLASSES))
        return params, {"mean": jnp.zeros(HIDDEN), "var": jnp.ones(HIDDEN)}

    def apply(params, state, x, *, train, key):
        x = x @ params["first"]["kernel"] + params["first"]["bias"]
        mean, var = (x.mean(0), x.var(0)) if train else (state["mean"], state["var"])
        moved = {"mean": mean, "var": var}
        state = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, state, moved)
        x = (x - mean) / jnp.sqrt(var + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
        x = jax.nn.relu(x)
        if train:
            x = jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
        return x @ params["last"]["kernel"] + params["last"]["bias"], state

    return from_functions(init, apply)


def haiku_network(rate):
    hk = pytest.importorskip("haiku")

    def forward(x, train):
        x = hk.Linear(HIDDEN, name="first")(x)
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.99, name="norm")(x, is_training=train))
        if train:
            x = hk.dropout(hk.next_rng_key(), rate, x)
        return hk.Linear(CLASSES, name="last")(x)

    network = hk.transform_with_state(forward)
    return from_functions(
        lambda key, x: network.init(key, x, train=True),
        lambda params, state, x, *, train, key: network.apply(params, state, key, x, train=train),
    )


def make(library, rate=0.0):
    """Return the network of a library as a model."""
    if library == "linen":
        return from_linen(Linen(rate))
    if library == "nnx":
        return from_nnx(lambda rngs: Nnx(rate, rngs))
    if library == "equinox":
        pytest.importorskip("equinox")
        return from_equinox(lambda key: equinox_network(rate, key))
    return plain_functions(rate) if library == "functions" else haiku_network(rate)


def renamed(library, tree):
    """Return parameters, gradients or marks of a library under the common names."""
    if library == "equinox":
        linear = lambda layer: {"kernel": jnp.transpose(layer.weight), "bias": layer.bias}  # noqa: E731
        norm = {"scale": tree.norm.weight, "bias": tree.norm.bias}
        return {"first": linear(tree.first), "norm": norm, "last": linear(tree.last)}
    if library == "haiku":
        linear = lambda layer: {"kernel": layer["w"], "bias": layer["b"]}  # noqa: E731
        norm = {"scale": tree["norm"]["scale"], "bias": tree["norm"]["offset"]}
        return {"first": linear(tree["first"]), "norm": norm, "last": linear(tree["last"])}
    return tree


def filled(library, params, values):
    """Return parameters of a library with values under the common names."""
    if library == "equinox":
        import equinox as eqx

        where = lambda net: [  # noqa: E731
            *(net.first.weight, net.first.bias, net.norm.weight, net.norm.bias),
            *(net.last.weight, net.last.bias),
        ]
        first, norm, last = values["first"], values["norm"], values["last"]
        return eqx.tree_at(
            where,
            params,
            [
                *(first["kernel"].T, first["bias"], norm["scale"], norm["bias"]),
                *(last["kernel"].T, last["bias"]),
            ],
        )
    if library == "haiku":
        linear = lambda layer: {"w": layer["kernel"], "b": layer["bias"]}  # noqa: E731
        norm = {"scale": values["norm"]["scale"], "offset": values["norm"]["bias"]}
        named = {"first": linear(values["first"]), "norm": norm, "last": linear(values["last"])}
        return jax.tree.map(lambda old, new: new.reshape(old.shape), params, named)
    return values


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(assert_array_equal, a, b)


def mean_loss(outputs):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, LABELS).mean()


def loss_and_gradient(model, params, state, key):
    def loss(params):
        outputs, new_state = model.apply(params, state, X, train=True, key=key)
        return mean_loss(outputs), (outputs, new_state)

    return jax.value_and_grad(loss, has_aux=True)(params)
