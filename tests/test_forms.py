"""The mechanism in the model and the mechanism in the optimizer are one mechanism."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from gainjax.gain import GainDynamics, predictive_entropy
from gainjax.models.layers import GainDense, modulated_mask
from gainjax.optim.modulation import gain_modulation
from gainjax.optim.states import get_gain, slow_params

DECAY, SENSITIVITY = 0.9, 0.2
QUICK = {"xla_backend_optimization_level": 0}  # most of the time would be compilation
BASES = {
    "sgd": optax.sgd(0.02),
    "nesterov": optax.sgd(0.002, momentum=0.9, nesterov=True),
    "adam": optax.adam(1e-3),
    "adamw": optax.adamw(1e-3, weight_decay=0.1),
    "clipping": optax.chain(optax.clip_by_global_norm(2.0), optax.sgd(0.02, momentum=0.5)),
}


class Network(nn.Module):
    """Three layers with biases, all kernels modulated if there are dynamics."""

    activation: Callable
    dynamics: GainDynamics | None = None

    @nn.compact
    def __call__(self, x):
        layers = []
        for i, (features, scale) in enumerate(((24, 0.15), (16, 0.25), (10, 0.3))):
            options = {"kernel_init": nn.initializers.normal(scale), "name": f"layer_{i}"}
            if self.dynamics is None:
                layers.append(nn.Dense(features, **options))
            else:
                layers.append(GainDense(features, self.dynamics, **options))
            x = layers[-1](self.activation(x) if i else x)
        if self.dynamics is not None:
            uncertainty = predictive_entropy(x)
            for layer in layers:
                layer.advance(uncertainty)
        return x


def batches(updates, dtype):
    """Handwritten digits: the classes 0 to 4, and from the middle on all of them."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    early = rng.choice(np.flatnonzero(labels < 5), (updates // 2, 32))
    late = rng.choice(len(labels), (updates - len(early), 32))
    chosen = np.concatenate([early, late])
    return jnp.asarray(images[chosen] / 8 - 1, dtype), jnp.asarray(labels[chosen], jnp.int32)


def first_params(dtype):
    params = Network(nn.relu).init(jax.random.key(0), jnp.ones((1, 64)))
    return jax.tree.map(lambda x: x.astype(dtype), params["params"])


def mean_loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def scale_kernels(params, factor):
    return {
        name: {"kernel": factor * layer["kernel"], "bias": layer["bias"]}
        for name, layer in params.items()
    }


@functools.partial(jax.jit, static_argnames=("base", "activation"), compiler_options=QUICK)
def form_in_model(params, data, baseline, base, activation):
    """Raw weights under the base optimizer; the layers multiply by their gain and move it."""
    model = Network(activation, GainDynamics(DECAY, baseline, SENSITIVITY))
    gains = model.init(jax.random.key(1), data[0][0])["gain"]

    def body(carry, batch):
        params, gains, opt_state = carry
        images, labels = batch

        def loss(params):
            variables = {"params": params, "gain": gains}
            logits, state = model.apply(variables, images, mutable=["gain"])
            return mean_loss(logits, labels), (logits, state["gain"])

        grads, (logits, new_gains) = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = base.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        gain = new_gains["layer_1"]["gain"][3]  # any unit
        record = {
            "logits": logits,
            "gain": gain,
            "raw": params,
            "effective": scale_kernels(params, gain),
        }
        return (params, new_gains, opt_state), (record, optax.tree.norm(grads))

    return jax.lax.scan(body, (params, gains, base.init(params)), data)[1]


@functools.partial(jax.jit, static_argnames=("base", "activation"), compiler_options=QUICK)
def form_in_optimizer(params, data, baseline, base, activation):
    """Effective weights of a plain model under the wrapped optimizer."""
    model = Network(activation)
    shapes = jax.eval_shape(Network(activation, GainDynamics()).init, jax.random.key(1), data[0][0])
    optimizer = gain_modulation(
        base, DECAY, baseline, SENSITIVITY, mask=modulated_mask(params, shapes["gain"])
    )

    def body(carry, batch):
        params, opt_state = carry
        images, labels = batch

        def loss(params):
            logits = model.apply({"params": params}, images)
            return mean_loss(logits, labels), logits

        grads, logits = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, uncertainty=predictive_entropy(logits)
        )
        params = optax.apply_updates(params, updates)
        record = {
            "logits": logits,
            "gain": get_gain(opt_state),
            "raw": scale_kernels(slow_params(params, opt_state), 1 / baseline),
            "effective": params,
        }
        return (params, opt_state), record

    params = scale_kernels(params, baseline)
    return jax.lax.scan(body, (params, optimizer.init(params)), data)[1]


def compare(base, baseline, updates, dtype, activation):
    """Return the largest deviations (absolute, and relative to the largest value), and a record."""
    params, data = first_params(dtype), batches(updates, dtype)
    baseline = jnp.asarray(baseline, dtype)
    first, grad_norms = form_in_model(params, data, baseline, base, activation)
    second = form_in_optimizer(params, data, baseline, base, activation)
    assert {x.dtype for x in jax.tree.leaves((first, second))} == {jnp.dtype(dtype)}

    def deviations(x, y):
        distance = np.abs(np.subtract(x, y)).max()
        return np.array([distance, distance / np.abs(x).max()])

    found = jax.tree.map(deviations, first, second)
    return {key: np.max(jax.tree.leaves(found[key]), axis=0) for key in found}, first, grad_norms


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("baseline", [1.0, 1.5])
@pytest.mark.usefixtures("x64")
def test_forms_agree_in_float64(name, baseline):
    found, first, grad_norms = compare(BASES[name], baseline, 300, jnp.float64, nn.relu)
    for key, (absolute, _) in found.items():
        assert absolute < 1e-9, key
    # Something was compared: the gain rose, each bias was trained, some gradients were clipped.
    assert first["gain"].max() > baseline + 1
    for layer in first["raw"].values():
        assert np.abs(layer["bias"][-1]).max() > 0.01
    if name == "clipping":
        assert 0.1 < np.mean(grad_norms > 2) < 0.9


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", BASES)
def test_forms_agree_in_float32(name):
    # Smooth units: at the kink of a ReLU rounding decides on the gradient, and then any two float32
    # programs part sooner or later.
    found, _, _ = compare(BASES[name], 1.0, 1000, jnp.float32, nn.softplus)
    for key, (_, relative) in found.items():
        assert relative < 1e-4, key
