"""A small benchmark of random numbers, and a linear model for it."""

import jax
import jax.numpy as jnp
import numpy as np

import gainjax


def small(**options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), np.arange(40) // 10
    stream = gainjax.data.class_incremental(x, y, x, y, tasks=[[0, 1], [2, 3]])
    return gainjax.Benchmark("b", stream=stream, updates_per_task=4, batch_size=8, **options)


def linear(dtype=jnp.float32, **more):
    def init(key, x):
        weights = 0.1 * jax.random.normal(key, (x.shape[1], 4))
        return {"kernel": weights.astype(dtype), **more}, {}

    def apply(params, state, x, *, train, key):
        return (x.astype(dtype) @ params["kernel"]).astype(jnp.float32), state

    return gainjax.models.from_functions(init, apply)
