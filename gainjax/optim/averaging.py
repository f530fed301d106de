"""Averages of the weights, for evaluation in their place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.optim.extra_args import with_extra_args
from gainjax.optim.nested import the_state


def _themselves(params: optax.Params, state: optax.OptState) -> optax.Params:
    del state
    return params


class AveragedState(NamedTuple):
    """State of :func:`averaged_weights`."""

    average: optax.Params  # like the parameters
    base_state: optax.OptState


def averaged_weights(
    base: optax.GradientTransformation,
    decay: ArrayLike,
    of: Callable[[optax.Params, optax.OptState], optax.Params] = _themselves,
) -> optax.GradientTransformationExtraArgs:
    r"""Keep an exponential moving average of the weights, for evaluation in their place.

    .. math:: \bar\theta_{t+1} = \delta \bar\theta_t + (1 - \delta) \theta_{t+1}

    Args:
        base: The optimizer. Its updates are unchanged.
        decay: Decay of the average per update, in [0, 1).
        of: The quantity to average, a function of the parameters and the state of ``base``: the
            parameters themselves, or for example :func:`gainjax.slow_params`.

    Returns:
        A transformation that needs the parameters; :func:`get_average` reads the average.

    Raises:
        ValueError: If ``update`` is called without parameters.

    Example:
        >>> optimizer = averaged_weights(optax.sgd(1.0), decay=0.5)
        >>> params = jnp.ones(1)
        >>> _, state = optimizer.update(jnp.ones(1), optimizer.init(params), params)
        >>> get_average(params, state)
        Array([0.5], dtype=float32)

    References:
        Polyak & Juditsky 1992; with a short horizon in continual learning: Soutif-Cormerais et al.
        2023, arXiv 2306.16817. (Unlike :func:`optax.ema`, it averages weights, not updates, and
        starts from the initial weights.)
    """
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> AveragedState:
        state = base.init(params)
        return AveragedState(jax.tree.map(_copied, of(params, state)), state)

    def update_fn(
        updates: optax.Updates,
        state: AveragedState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, AveragedState]:
        if params is None:
            raise ValueError("averaged_weights needs the parameters: call update(..., params)")
        updates, base_state = base.update(updates, state.base_state, params, **extra_args)
        new_params = of(optax.apply_updates(params, updates), base_state)
        average = optax.incremental_update(new_params, state.average, 1 - decay)
        return updates, AveragedState(average, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _copied(leaf: Any) -> Any:
    """Return a copy: one buffer cannot be donated both as parameter and as state."""
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.copy(leaf)


def get_average(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    """Return the averaged weights, in the form that ``Method.eval_params`` takes.

    Args:
        params: The trained weights, which are not used.
        opt_state: State of an optimizer that contains one :func:`averaged_weights`, at any depth.

    Returns:
        The average, in the structure of the parameters.

    Raises:
        ValueError: If the state holds no average, or more than one.

    Example:
        >>> optimizer = averaged_weights(optax.sgd(1.0), decay=0.9)
        >>> get_average(None, optimizer.init(jnp.ones(2)))
        Array([1., 1.], dtype=float32)
    """
    del params
    return the_state(opt_state, AveragedState, "averaged_weights").average
