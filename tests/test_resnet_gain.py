"""Gains in the slim ResNet-18, and seeds that train together."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from gainjax.gain import GainDynamics
from gainjax.models import from_linen
from gainjax.models.layers import modulated_mask
from gainjax.models.resnet import BatchNorm, Conv, GainBatchNorm, SlimResNet18
from gainjax.optim.modulation import gain_modulation
from gainjax.training.goal import Goal, accuracy, cross_entropy, predictive_entropy
from gainjax.training.step import Batch, TrainState, train_step

pytestmark = pytest.mark.exhaustive

GOAL = Goal(cross_entropy, accuracy, predictive_entropy)
DYNAMICS = GainDynamics(sensitivity=0.3)
# Most of the time would be compilation.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def make(image=8, batch=6, seed=0, **options):
    """Return a model, variables drawn by NumPy (quicker than compiling an initialization), data."""
    model = SlimResNet18(**({"width": 2} | options))
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((batch, image, image, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jax.tree.map(
        lambda leaf: (
            rng.normal(size=leaf.shape, scale=0.3).astype(np.float32) + (leaf.ndim == 1)
        ),  # normalizations near one
        shapes["params"],
    )
    state = {
        "batch_stats": jax.tree.map(
            lambda leaf: rng.uniform(0.5, 2, leaf.shape).astype(np.float32), shapes["batch_stats"]
        )
    }
    if "gain" in shapes:
        state["gain"] = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes["gain"])
    return model, params, state, x


# --- Gain -----------------------------------------------------------------------------------------


def test_a_gain_in_front_of_a_normalization_would_do_nothing(x64):
    """The reason to place it behind: the raw kernel gets the same gradient at any gain."""

    class Unit(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BatchNorm(name="norm")(Conv(4, name="conv")(x), train=True)

    x, unit = 10 * normal((5, 4, 4, 3)), Unit()
    target = normal((5, 4, 4, 4), 1)
    params = unit.init(jax.random.key(0), x)["params"]

    def loss(kernel, gain):
        variables = {"params": params | {"conv": {"kernel": gain * kernel}}}
        y, _ = unit.apply(variables, x, mutable=["batch_stats"])
        return jnp.mean((y - target) ** 2)

    raw = params["conv"]["kernel"]
    values = [quick(jax.value_and_grad(loss))(raw, gain) for gain in (1.0, 3.0)]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=0, atol=1e-5)


def test_gain_multiplies_the_normalized_input_but_not_the_bias():
    x = normal((6, 2, 2, 3))
    params = {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.5, 0.0, -1.0])}
    norm = GainBatchNorm(3, GainDynamics(baseline=2.0))
    variables = norm.init(jax.random.key(0), x) | {"params": params}
    y = norm.apply(variables, x, train=True)
    without = BatchNorm().apply(variables | {"params": params | {"bias": jnp.zeros(3)}}, x, True)
    np.testing.assert_allclose(y, 2 * without + params["bias"], rtol=0, atol=1e-6)


def test_gain_in_the_model_equals_gain_in_the_optimizer(x64):
    model, *variables = make(dynamics=DYNAMICS, modulate="all")
    params, state, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
    labels = jnp.arange(len(x)) % 10
    base = optax.with_extra_args_support(optax.sgd(0.05, momentum=0.9))
    mask = modulated_mask(params, state["gain"])
    assert sum(jax.tree.leaves(mask)) == 21  # the scale of 20 normalizations, the head's kernel
    wrapped = gain_modulation(base, sensitivity=DYNAMICS.sensitivity, mask=mask)

    def run(model, optimizer, model_state):
        def body(state, _):
            batch = Batch(x, labels, jax.random.key(0))
            return train_step(state, batch, from_linen(model), GOAL, optimizer)

        @quick
        def program(start):
            end, info = lax.scan(body, start, length=6)
            return end, info, model.apply({"params": end.params, **end.model_state}, x)

        return program(TrainState(params, model_state, optimizer.init(params)))

    end, *in_model = run(model, base, state)
    _, *in_optimizer = run(
        model.clone(dynamics=None), wrapped, {"batch_stats": state["batch_stats"]}
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), in_model, in_optimizer
    )
    gains = np.concatenate(jax.tree.leaves(end.model_state["gain"]))
    assert gains[0] > 1.2
    np.testing.assert_array_equal(gains, gains[0])  # one drive for all


# --- Training -------------------------------------------------------------------------------------


def test_seeds_together_train_like_each_alone():
    optimizer = optax.with_extra_args_support(optax.sgd(0.05, momentum=0.9))
    runs = [make(seed=seed, dynamics=DYNAMICS) for seed in (0, 1)]
    model = runs[0][0]

    def step(params, model_state, x):
        state = TrainState(params, model_state, optimizer.init(params))
        batch = Batch(x, jnp.arange(6), jax.random.key(0))
        return train_step(state, batch, from_linen(model), GOAL, optimizer)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(run[1:] for run in runs))
    together = quick(jax.vmap(step))(*stacked)
    alone = quick(step)
    for seed, run in enumerate(runs):
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-4, atol=1e-5),
            together,
            alone(*run[1:]),
        )
