"""Controls: alternative explanations of a gain's effect, each isolated in a transformation.

Some are rules for the gain of :func:`gainjax.optim.modulation.modulate` (a fixed level, a replayed
trace, a bump at known switches); the others scale no weights, but change the step or the state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.optim.extra_args import with_extra_args
from gainjax.optim.modulation import GainRule


def replayed_gain(trace: ArrayLike) -> GainRule:
    r"""Replay the gain of another run, regardless of this run's uncertainty (open loop).

    .. math:: g_t = \mathrm{trace}_t

    Args:
        trace: Gain of each update, shape (updates,), > 0: the curve ``gain`` of another run.

    Returns:
        A rule for :func:`gainjax.optim.modulation.modulate`. After the end of the trace, the last
        value is held.

    Example:
        >>> rule = replayed_gain(jnp.array([1.0, 2.0, 1.5]))
        >>> print(rule.baseline, rule.next_gain(jnp.ones(()), jnp.int32(0), jnp.zeros(()), {}))
        1.0 2.0

    References:
        Ours, to separate the timing of the gain from its feedback.
    """
    trace = jnp.asarray(trace)

    def next_gain(gain: jax.Array, count: jax.Array, uncertainty: jax.Array, extra: Any) -> Any:
        del gain, uncertainty, extra
        return trace[jnp.minimum(count + 1, len(trace) - 1)]

    return GainRule(trace[0], next_gain)


def bump_at_switches(decay: ArrayLike, baseline: ArrayLike, height: ArrayLike) -> GainRule:
    r"""Raise the gain at each known task switch and let it decay (an oracle).

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

    References:
        Ours; the drive of arXiv 2507.14056 replaced by knowledge of the boundary.
    """
    dynamics = GainDynamics(decay, baseline, sensitivity=height)

    def next_gain(gain: jax.Array, count: Any, uncertainty: Any, extra: dict[str, Any]) -> Any:
        del count, uncertainty
        return dynamics.step(gain, jnp.asarray(extra["is_switch"], gain.dtype))

    return GainRule(baseline, next_gain)


def fixed_gain(level: ArrayLike) -> GainRule:
    r"""Hold the gain at a fixed level.

    .. math:: g_t = c

    Args:
        level: The gain :math:`c`, > 0.

    Returns:
        A rule for :func:`gainjax.optim.modulation.modulate`. In terms of effective weights, it
        multiplies the initial weights by c and the steps by c squared.

    Example:
        >>> print(fixed_gain(2.0).next_gain(2.0, 0, 0.0, {}))
        2.0

    References:
        Ours, to separate the level of the gain from its bursts.
    """
    return ramped_gain(level, level, 0.0)


def ramped_gain(start: ArrayLike, level: ArrayLike, decay: ArrayLike) -> GainRule:
    r"""Let the gain approach a level and stay there.

    .. math:: g_{t+1} = \gamma g_t + (1 - \gamma) c

    Args:
        start: Gain of the first update, > 0.
        level: Level :math:`c`, > 0.
        decay: Decay :math:`\gamma` of the distance per update, in [0, 1).

    Returns:
        A rule for :func:`gainjax.optim.modulation.modulate`.

    Example:
        >>> print(ramped_gain(1.0, 2.0, 0.75).next_gain(1.0, 0, 0.0, {}))
        1.25

    References:
        Ours, to separate the level of the gain from its bursts.
    """

    def next_gain(gain: jax.Array, count: Any, uncertainty: Any, extra: Any) -> jax.Array:
        del count, uncertainty, extra
        return jnp.asarray(decay * gain + (1 - decay) * level)

    return GainRule(start, next_gain)


class EntropyScaledState(NamedTuple):
    """State of :func:`entropy_scaled`."""

    signal: jax.Array  # shape=(), float32: the value a gain would have
    base_state: optax.OptState


def entropy_scaled(
    base: optax.GradientTransformation, dynamics: GainDynamics
) -> optax.GradientTransformationExtraArgs:
    r"""Scale the steps of an optimizer by the squared gain signal, but leave the weights unscaled.

    .. math:: \theta_{t+1} = \theta_t + g_t^2 B(\nabla_\theta L, \theta_t)

    For SGD this is the step that the gain causes on effective weights, without the multiplication
    of the weights themselves.

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

    References:
        Ours: a learning rate alpha on raw weights is alpha g**2 on effective ones.
    """
    base = with_extra_args(base)

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
    """Reset the optimizer's state at each known task switch (an oracle).

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

    References:
        Ours, after reviewers asked whether stale momentum causes the gap.
    """
    base = with_extra_args(base)

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


def time_reset_at_switches(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Reset the step counts of an optimizer to 0 at each known task switch (an oracle).

    Its gradient moments are kept; only their bias correction starts over.

    Args:
        base: An optimizer that counts steps, such as Adam.

    Returns:
        A transformation with ``update(grads, state, params, *, is_switch, **extra_args)``.

    Example:
        >>> optimizer = time_reset_at_switches(optax.adam(0.1))
        >>> state = optimizer.init(jnp.zeros(1))
        >>> for is_switch in (False, False, True):
        ...     _, state = optimizer.update(jnp.ones(1), state, is_switch=is_switch)
        >>> print(optax.tree.get(state, "count"))
        1

    References:
        Adam on local time, Ellis et al., arXiv 2412.17113.
    """
    base = with_extra_args(base)

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        is_switch: ArrayLike,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        def restarted(path: Any, leaf: jax.Array) -> jax.Array:
            is_count = bool(path) and getattr(path[-1], "name", None) == "count"
            return jnp.where(is_switch, 0, leaf).astype(leaf.dtype) if is_count else leaf

        state = jax.tree.map_with_path(restarted, state)
        return base.update(updates, state, params, is_switch=is_switch, **extra_args)

    return optax.GradientTransformationExtraArgs(base.init, update_fn)
