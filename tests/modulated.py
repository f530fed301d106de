"""Parameters, a gradient and a compiled loop for the tests of gain modulation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

MASK = {"kernel": True, "bias": False}
QUICK = {"xla_backend_optimization_level": 0}  # most of the time would be compilation


def make_params(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {
        "kernel": jnp.asarray(rng.normal(size=(3, 2)), dtype),
        "bias": jnp.asarray(rng.normal(size=2), dtype),
    }


def gradient(theta, xp=jnp):
    """Gradient of some smooth loss, element by element, for JAX and NumPy alike."""
    return 0.5 * theta + xp.sin(3 * theta)


def run(optimizer, params, uncertainties, **extra):
    """Return parameters and states after each update."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def scan(params):
        def body(carry, uncertainty):
            params, state = carry
            grads = jax.tree.map(gradient, params)
            updates, state = optimizer.update(
                grads, state, params, uncertainty=uncertainty, **extra
            )
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state)

        return jax.lax.scan(body, (params, optimizer.init(params)), uncertainties)[1]

    return scan(params)
