"""Controls: what could explain the effect of a gain, each as a transformation of its own.

Two are rules for the gain of :func:`gainjax.optim.modulation.modulate` (a replayed trace, a bump at
known switches); the others scale no weight and change the step, the state or the evaluation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.optim.modulation import GainRule


def replayed_gain(trace: ArrayLike) -> GainRule:
    r"""Replay the gain of another run, whatever this run's uncertainty (open loop).

    .. math:: g_t = \mathrm{trace}_t

    Args:
        trace: Gain of each update, shape (updates,), > 0: the curve ``gain`` of another run.

    Returns:
        A rule for :func:`gainjax.optim.modulation.modulate`. The last value holds after the end of
        the trace.

    Example:
        >>> rule = replayed_gain(jnp.array([1.0, 2.0, 1.5]))
        >>> print(rule.baseline, rule.next_gain(jnp.ones(()), jnp.int32(0), jnp.zeros(()), {}))
        1.0 2.0

    Source:
        Ours, to tell the timing of the gain from its feedback.
    """
    trace = jnp.asarray(trace)

    def next_gain(gain: jax.Array, count: jax.Array, uncertainty: jax.Array, extra: Any) -> Any:
        del gain, uncertainty, extra
        return trace[jnp.minimum(count + 1, len(trace) - 1)]

    return GainRule(trace[0], next_gain)


def bump_at_switches(decay: ArrayLike, baseline: ArrayLike, height: ArrayLike) -> GainRule:
    r"""Raise the gain at each known switch of tasks, and let it decay (an oracle of the boundary).

    .. math:: g_{t+1} = \gamma g_t + (1 - \gamma) g_0 + h\,[\text{task changed at } t]

    Args:
        decay: Decay per update, in [0, 1).
        baseline: Tonic gain, > 0.
        height: Rise at a switch, >= 0.

    Returns:
        A rule for :func:`gainjax.optim.modulation.modulate`; ``update`` then takes the keyword
        ``is_switch``, true at the first update of a new task.

    Example:
        >>> rule = bump_at_switches(0.9, 1.0, 1.0)
        >>> rule.next_gain(jnp.ones(()), jnp.int32(0), jnp.zeros(()), {"is_switch": True})
        Array(2., dtype=float32)

    Source:
        Ours; the drive of arXiv 2507.14056 replaced by knowledge of the boundary.
    """
    dynamics = GainDynamics(decay, baseline, sensitivity=height)

    def next_gain(gain: jax.Array, count: Any, uncertainty: Any, extra: dict[str, Any]) -> Any:
        del count, uncertainty
        return dynamics.step(gain, jnp.asarray(extra["is_switch"], gain.dtype))

    return GainRule(baseline, next_gain)


class EntropyScaledState(NamedTuple):
    """State of :func:`entropy_scaled`."""

    signal: jax.Array  # shape=(), float32: what the gain would be
    base_state: optax.OptState


def entropy_scaled(
    base: optax.GradientTransformation, dynamics: GainDynamics
) -> optax.GradientTransformationExtraArgs:
    r"""Scale the steps of an optimizer by the squared gain signal, but no weight.

    .. math:: \theta_{t+1} = \theta_t + g_t^2 B(\nabla_\theta L, \theta_t)

    For SGD this is the step on effective weights that the gain makes, without the multiplication of
    the weights themselves.

    Args:
        base: The optimizer whose updates are scaled.
        dynamics: How the signal follows uncertainty.

    Returns:
        A transformation with ``update(grads, state, params, *, uncertainty, **extra_args)``.

    Example:
        >>> optimizer = entropy_scaled(optax.sgd(1.0), GainDynamics(baseline=2.0))
        >>> updates, _ = optimizer.update(jnp.ones(1), optimizer.init(jnp.ones(1)), uncertainty=0.0)
        >>> updates
        Array([-4.], dtype=float32)

    Source:
        Ours: a learning rate alpha on raw weights is alpha g**2 on effective ones.
    """
    base = optax.with_extra_args_support(base)

    def init_fn(params: optax.Params) -> EntropyScaledState:
        return EntropyScaledState(jnp.asarray(dynamics.baseline, jnp.float32), base.init(params))

    def update_fn(
        updates: optax.Updates,
        state: EntropyScaledState,
        params: optax.Params | None = None,
        *,
        uncertainty: ArrayLike,
        **extra_args: Any,
    ) -> tuple[optax.Updates, EntropyScaledState]:
        updates, base_state = base.update(
            updates, state.base_state, params, uncertainty=uncertainty, **extra_args
        )
        updates = jax.tree.map(lambda u: u * (state.signal**2).astype(u.dtype), updates)
        signal = dynamics.step(state.signal, uncertainty)
        return updates, EntropyScaledState(signal, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def reset_at_switches(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Forget the optimizer's state at each known switch of tasks (an oracle of the boundary).

    Args:
        base: An optimizer with a state, such as momentum.

    Returns:
        A transformation with ``update(grads, state, params, *, is_switch, **extra_args)``, where
        ``is_switch`` is true at the first update of a new task.

    Example:
        >>> optimizer = reset_at_switches(optax.sgd(1.0, momentum=0.9))
        >>> params = jnp.zeros(1)
        >>> state = optimizer.init(params)
        >>> _, state = optimizer.update(jnp.ones(1), state, params, is_switch=False)
        >>> updates, state = optimizer.update(jnp.ones(1), state, params, is_switch=True)
        >>> updates
        Array([-1.], dtype=float32)

    Source:
        Ours, after reviewers' question whether stale momentum makes the gap.
    """
    base = optax.with_extra_args_support(base)

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        is_switch: ArrayLike,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        fresh = base.init(updates if params is None else params)
        state = jax.tree.map(lambda new, old: jnp.where(is_switch, new, old), fresh, state)
        return base.update(updates, state, params, is_switch=is_switch, **extra_args)

    return optax.GradientTransformationExtraArgs(base.init, update_fn)


def sharpness_aware(
    base: optax.GradientTransformation, radius: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Step with the gradient at the worst nearby point (SAM).

    .. math:: u = B\left(\nabla L\left(\theta + \rho \frac{\nabla L}{\|\nabla L\|}\right)\right)

    Args:
        base: The optimizer that takes the second gradient.
        radius: Distance rho to the worst point, >= 0.

    Returns:
        A transformation with ``update(grads, state, params, *, grad_fn, **extra_args)``, where
        ``grad_fn(params, 0)`` gives the gradient of the same batch at other parameters.

    Raises:
        ValueError: If ``update`` is called without parameters.

    Example:
        >>> optimizer = sharpness_aware(optax.sgd(1.0), radius=0.5)
        >>> params = jnp.ones(1)
        >>> grad_fn = lambda p, i: 2 * p  # of p ** 2
        >>> updates, _ = optimizer.update(
        ...     grad_fn(params, 0), optimizer.init(params), params, grad_fn=grad_fn
        ... )
        >>> updates
        Array([-3.], dtype=float32)

    Source:
        Foret et al., arXiv 2010.01412.
    """
    base = optax.with_extra_args_support(base)

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        grad_fn: Callable[[optax.Params, int], optax.Updates],
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is None:
            raise ValueError("sharpness_aware needs the parameters: call update(..., params)")
        norm = jnp.maximum(optax.tree.norm(updates), 1e-12)
        worst = jax.tree.map(
            lambda p, g: p + (radius / norm * g.astype(norm.dtype)).astype(p.dtype), params, updates
        )
        return base.update(grad_fn(worst, 0), state, params, grad_fn=grad_fn, **extra_args)

    return optax.GradientTransformationExtraArgs(base.init, update_fn)
