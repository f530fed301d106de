"""Methods that hold the outputs of each layer on earlier tasks."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gainjax.models import MLP, from_functions, from_linen
from gainjax.optim.layerwise import layerwise_proximal


def close(a, b, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.exhaustive
def test_layers_hold_their_outputs_on_earlier_tasks(x64):
    """A step of SGD is the minimum of linear loss, distance and change of old outputs."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "c": rng.normal(size=(3, 2))}
    grads = {name: rng.normal(size=p.shape) for name, p in params.items()}
    inputs = [{"a": rng.normal(size=(6, 4)), "c": rng.normal(size=(6, 3))} for _ in range(2)]
    new = jnp.array([True, True, False, False, False, True])
    rate, strength, decay = 0.1, 3.0, 0.8
    optimizer = layerwise_proximal(optax.sgd(rate), strength, decay)
    state = optimizer.init(params)

    def step(state, x, is_new):
        return optimizer.update(
            grads, state, params, is_new=is_new,
            layer_inputs=lambda: {**x, "b": optax.MaskedNode()},
        )  # fmt: skip

    updates, state = step(state, inputs[0], jnp.ones(6, bool))  # task 1: that of SGD
    chex.assert_trees_all_close(updates, jax.tree.map(lambda g: -rate * g, grads), rtol=1e-12)
    moments = {"a": 0, "c": 0}
    for x in inputs:
        updates, state = step(state, x, new)
        for name, (size, _) in {"a": (4, 3), "c": (3, 2)}.items():
            old = x[name][~np.asarray(new)]
            moments[name] = decay * moments[name] + (1 - decay) * old.T @ old / len(old)
            relative = moments[name] / (np.trace(moments[name]) / size)
            # u minimizes <g, u> + (|u|^2 + omega <u, A u>) / (2 rate), so that there:
            close(grads[name] + (updates[name] + strength * relative @ updates[name]) / rate, 0)
    close(updates["b"], -rate * grads["b"])
    with pytest.raises(TypeError, match="layer_inputs must be a function"):
        optimizer.update(grads, state, params, is_new=new, layer_inputs=None)


def test_inputs_of_dense_layers_are_what_their_kernels_multiply():
    model = from_linen(MLP((5, 4, 3), (0.5, 0.5, 0.5), use_bias=True))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 4)), jnp.float32)
    params, state = model.init(jax.random.key(0), x)
    inputs = model.layer_inputs(params, state, x)
    hidden = x.reshape(6, 8)
    for i in range(3):
        layer = params[f"layer_{i}"]
        np.testing.assert_array_equal(inputs[f"layer_{i}"]["kernel"], hidden)
        hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"])
        assert isinstance(inputs[f"layer_{i}"]["bias"], optax.MaskedNode)
    assert from_functions(lambda key, x: ({}, {}), model.apply).layer_inputs is None


def test_a_layer_without_one_input_is_left_out_and_a_network_of_them_is_refused():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4, use_bias=False)
            return layer(layer(x))

    model, x = from_linen(Twice()), jnp.ones((2, 4))
    params, state = model.init(jax.random.key(0), x)
    inputs = model.layer_inputs(params, state, x)
    assert isinstance(inputs["Dense_0"]["kernel"], optax.MaskedNode)
    optimizer = layerwise_proximal(optax.sgd(0.1), 1.0)
    with pytest.raises(ValueError, match="inputs of at least one kernel that the mask marks"):
        optimizer.update(
            params, optimizer.init(params), params,
            layer_inputs=lambda: inputs, is_new=jnp.array([True, False]),
        )  # fmt: skip
