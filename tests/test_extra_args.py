"""Extra arguments, which a gain passes on to its base."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modulated import MASK, make_params, run
from numpy.testing import assert_allclose

from gainjax.optim.flatness import sharpness_aware
from gainjax.optim.modulation import gain_modulation


@pytest.mark.usefixtures("x64")
def test_base_that_needs_the_loss():
    base = optax.polyak_sgd(max_learning_rate=10.0, eps=0.0)
    optimizer = gain_modulation(base, baseline=2.0, sensitivity=0.0, mask=True)
    theta, grads = make_params(0), make_params(1)
    state = optimizer.init(theta)
    updates, _ = optimizer.update(grads, state, theta, uncertainty=1.0, value=0.3)
    norm = sum((2 * np.asarray(g) ** 2).sum() * 2 for g in grads.values())  # of raw gradients
    assert_allclose(updates["bias"], -0.3 / norm * 4 * grads["bias"], rtol=1e-12)
    with pytest.raises(TypeError, match="value"):
        optimizer.update(grads, state, theta, uncertainty=1.0)


def test_base_with_reduce_on_plateau():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=1)
    optimizer = gain_modulation(optax.chain(optax.sgd(0.1), plateau))
    params = make_params(dtype=np.float32)
    _, states = run(optimizer, params, np.zeros(6, np.float32), value=1.0)
    assert states.base_state[1].scale[-1] < 1.0


def uneven_loss(theta, shift=0.0):
    """A loss that does not treat all directions alike."""
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(theta)]
    flat = jnp.concatenate(leaves) - shift
    return jnp.sum(jnp.arange(1, flat.size + 1) * flat**2) + jnp.sum(jnp.cos(flat))


BASES_THAT_CALL = {
    "sam": sharpness_aware(optax.sgd(0.01), radius=0.3),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
    "lbfgs": optax.lbfgs(),
}


@pytest.mark.exhaustive
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mask", [True, MASK])
@pytest.mark.parametrize("shift", [None, 0.5])
@pytest.mark.parametrize("name", BASES_THAT_CALL)
def test_base_that_calls_functions_of_parameters_sees_raw_weights(name, shift, mask):
    gain, base, params = 2.0, BASES_THAT_CALL[name], make_params(3)
    extra = {} if shift is None or name == "sam" else {"shift": shift}
    scale = jax.tree.map(
        lambda on: gain if on else 1.0, MASK if mask is MASK else dict.fromkeys(params, True)
    )

    def effective(raw):
        return jax.tree.map(jnp.multiply, raw, scale)

    def train(optimizer, params, function, **more):
        state = optimizer.init(params)
        for _ in range(6):
            value, grads = jax.value_and_grad(function)(params, **extra)
            about = {"value": value, "grad": grads, "value_fn": function, **extra}
            if name == "sam":
                about = {"grad_fn": lambda p, _: jax.grad(function)(p)}
            updates, state = optimizer.update(grads, state, params, **about, **more)
            params = optax.apply_updates(params, updates)
        return params

    constant = gain_modulation(base, baseline=gain, sensitivity=0.0, mask=mask)
    modulated = train(constant, effective(params), uneven_loss, uncertainty=1.0)
    raw = train(base, params, lambda w, shift=0.0: uneven_loss(effective(w), shift))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9), modulated, effective(raw))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mask", [True, MASK])
def test_sam_of_optax_in_opaque_mode(mask):
    params, radius = make_params(3), 0.3
    worst = optax.chain(optax.contrib.normalize(), optax.sgd(radius))
    theirs = optax.contrib.sam(optax.adam(0.05), worst, opaque_mode=True)
    ours = sharpness_aware(optax.adam(0.05), radius)

    def train(base):
        optimizer = gain_modulation(base, 0.8, 1.5, 0.3, mask=mask)

        def step(carry, uncertainty):
            params, state = carry
            updates, state = optimizer.update(
                jax.grad(uneven_loss)(params),
                state,
                params,
                uncertainty=uncertainty,
                value=1.0,
                grad_fn=lambda p, _: jax.grad(uneven_loss)(p),
            )
            return (optax.apply_updates(params, updates), state), state.gain

        start = (params, optimizer.init(params))
        (last, _), gains = jax.lax.scan(step, start, jnp.array([1.0, 0.5, 0.0, 2.0]))
        return last, gains

    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-10), train(theirs), train(ours))
