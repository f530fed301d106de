"""A policy gradient on CartPole: entropy stays high, and so does the gain."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gainjax
from experiments.adoption.images import Result, Wrap

_STEPS, _EPISODES, _UPDATES = 200, 16, 150
_Params = dict[str, dict[str, jax.Array]]


def _after(state: jax.Array, action: jax.Array) -> jax.Array:
    """Return the next state of CartPole-v1 (Barto et al. 1983) after a step of 20 ms."""
    _, speed, angle, turn = state
    force = jnp.where(action == 1, 10.0, -10.0)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    push = (force + 0.05 * turn**2 * sine) / 1.1
    angular = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    linear = push - 0.05 * angular * cosine / 1.1
    return state + 0.02 * jnp.stack([speed, linear, turn, angular])


def _logits(params: _Params, state: jax.Array) -> jax.Array:
    hidden = jnp.tanh(state @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["last"]["kernel"] + params["last"]["bias"]


def _first_params(key: jax.Array) -> _Params:
    first, last = jax.random.split(key)
    return {
        "first": {"kernel": jax.random.normal(first, (4, 32)) / 2, "bias": jnp.zeros(32)},
        "last": {"kernel": jax.random.normal(last, (32, 2)) / 10, "bias": jnp.zeros(2)},
    }


def _episode(params: _Params, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return states, actions and whether the pole was still up, for each step of an episode."""
    start, steps = jax.random.split(key)

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        state, stands = carry
        action = jax.random.categorical(key, _logits(params, state))
        new = _after(state, action)
        still = stands & (jnp.abs(new[0]) < 2.4) & (jnp.abs(new[2]) < 0.2095)
        return (jnp.where(still, new, state), still), (state, action, stands)

    first = (jax.random.uniform(start, (4,), minval=-0.05, maxval=0.05), jnp.bool_(True))
    return jax.lax.scan(step, first, jax.random.split(steps, _STEPS))[1]


def policy_gradient(
    base: optax.GradientTransformation, data: None, wrap: Wrap
) -> Callable[[int], Result]:
    """REINFORCE with the mean return as baseline; the result's losses are the final entropy.

    The uncertainty is the entropy of the actions while the pole is up.
    """
    del data
    optimizer = wrap(base)

    def update(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        params, opt_state = carry
        keys = jax.random.split(key, _EPISODES)
        states, actions, stands = jax.vmap(_episode, (None, 0))(params, keys)
        counts = stands.astype(jnp.float32)
        to_go = jnp.cumsum(counts[:, ::-1], 1)[:, ::-1]
        expected = (to_go * counts).sum(0) / jnp.maximum(counts.sum(0), 1)
        advantage = (to_go - expected) * counts / 50

        def loss_fn(params: _Params) -> tuple[jax.Array, jax.Array]:
            logits = _logits(params, states)
            chosen = optax.softmax_cross_entropy_with_integer_labels(logits, actions)
            loss = (chosen * advantage).sum() / counts.sum()
            return loss, gainjax.predictive_entropy(logits, where=stands)

        grads, entropy = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params, uncertainty=entropy)
        return (optax.apply_updates(params, updates), opt_state), (counts.sum(1).mean(), entropy)

    @jax.jit
    def train(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, keys = jax.random.split(jax.random.key(seed))
        params = _first_params(first)
        carry = (params, optimizer.init(params))
        return jax.lax.scan(update, carry, jax.random.split(keys, _UPDATES))[1]

    def run(seed: int) -> Result:
        returns, entropies = train(seed)
        entropy = float(entropies[-50:].mean())
        return Result(entropy, entropy, float(returns[-50:].mean()))

    return run
