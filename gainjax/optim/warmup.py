"""Learning rate warm-ups at the start, at known switches, or when a switch is detected."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.optim.extra_args import with_extra_args


class WarmupState(NamedTuple):
    """State of the warm-ups."""

    since: jax.Array  # updates since the warm-up began: shape=(), int32
    usual_loss: jax.Array  # shape=(), float32; 0 if it is not tracked
    base_state: optax.OptState


def warmup_at_start(
    base: optax.GradientTransformation, length: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Ramp up the steps of an optimizer from 0 when training starts.

    .. math:: u_t = \min\Bigl(1, \frac{t + 1}{T}\Bigr) B(\nabla_\theta L)

    Args:
        base: The optimizer.
        length: Updates :math:`T` until the steps have their full size, > 0.

    Returns:
        A transformation like ``base``.

    Example:
        >>> optimizer = warmup_at_start(optax.sgd(1.0), length=4)
        >>> updates, _ = optimizer.update(jnp.ones(1), optimizer.init(jnp.zeros(1)), jnp.zeros(1))
        >>> updates
        Array([-0.25], dtype=float32)

    References:
        Goyal et al. 2017, arXiv 1706.02677; for Adam: Ma & Yarats, arXiv 1910.04209.
    """
    return _warmup(base, length, lambda state, extra_args: (False, state.usual_loss), True)


def warmup_at_switches(
    base: optax.GradientTransformation, length: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Ramp up the steps of an optimizer from 0 after each known switch (an oracle).

    .. math:: u_t = \min\Bigl(1, \frac{n_t + 1}{T}\Bigr) B(\nabla_\theta L)

    with :math:`n_t` updates since the switch.

    Args:
        base: The optimizer.
        length: Updates :math:`T` until the steps have their full size, > 0.

    Returns:
        A transformation with ``update(grads, state, params, *, is_switch, **extra_args)``, where
        ``is_switch`` is true at the first update of a new task.

    Example:
        >>> optimizer = warmup_at_switches(optax.sgd(1.0), length=4)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> updates, _ = optimizer.update(jnp.ones(1), state, jnp.zeros(1), is_switch=True)
        >>> updates
        Array([-0.25], dtype=float32)

    References:
        Ours.
    """

    def begins(state: WarmupState, extra_args: Any) -> tuple[Any, jax.Array]:
        return extra_args["is_switch"], state.usual_loss

    return _warmup(base, length, begins, False)


def warmup_at_surprise(
    base: optax.GradientTransformation,
    length: ArrayLike,
    factor: ArrayLike = 2.0,
    smoothing: ArrayLike = 0.9,
) -> optax.GradientTransformationExtraArgs:
    r"""Ramp up the steps of an optimizer from 0 when the loss jumps, as it does at a switch.

    .. math:: L_t > \lambda \bar L_{t-1}, \qquad
        \bar L_t = \beta \bar L_{t-1} + (1 - \beta) L_t

    Args:
        base: The optimizer.
        length: Updates until the steps have their full size, > 0.
        factor: Ratio :math:`\lambda` of the loss to its usual value that counts as a jump, > 0.
        smoothing: Decay :math:`\beta` of the usual loss, in [0, 1).

    Returns:
        A transformation with ``update(grads, state, params, *, value, **extra_args)``, where
        ``value`` is the loss of the batch.

    Example:
        >>> optimizer = warmup_at_surprise(optax.sgd(1.0), length=4)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> for loss in (1.0, 3.0):
        ...     updates, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1), value=loss)
        ...     print(updates)
        [-1.]
        [-0.25]

    References:
        Ours.
    """

    def begins(state: WarmupState, extra_args: Any) -> tuple[Any, jax.Array]:
        loss, usual = jnp.asarray(extra_args["value"], jnp.float32), state.usual_loss
        followed = jnp.where(usual > 0, smoothing * usual + (1 - smoothing) * loss, loss)
        return (usual > 0) & (loss > factor * usual), followed.astype(jnp.float32)

    return _warmup(base, length, begins, False)


def _warmup(
    base: optax.GradientTransformation, length: ArrayLike, begins: Any, at_start: bool
) -> optax.GradientTransformationExtraArgs:
    base = with_extra_args(base)
    full = jnp.iinfo(jnp.int32).max // 2

    def init_fn(params: optax.Params) -> WarmupState:
        since = jnp.array(0 if at_start else full, jnp.int32)
        return WarmupState(since, jnp.zeros((), jnp.float32), base.init(params))

    def update_fn(
        updates: optax.Updates,
        state: WarmupState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, WarmupState]:
        begin, usual = begins(state, extra_args)
        since = jnp.where(begin, 0, state.since).astype(jnp.int32)
        updates, base_state = base.update(updates, state.base_state, params, **extra_args)
        scale = jnp.minimum(1.0, (since.astype(float) + 1.0) / length)
        updates = jax.tree.map(lambda u: u * scale.astype(u.dtype), updates)
        return updates, WarmupState(optax.safe_increment(since), usual, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
