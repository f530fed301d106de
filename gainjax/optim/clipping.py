"""Gradient clipping relative to recent gradient norms, which Optax does not provide."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

_TINY = 1e-12


class RunningNorms(NamedTuple):
    """State of :func:`clip_by_running_norm`."""

    norms: jax.Array  # one per leaf: shape=(leaves,), float32; 0 before the first update


def clip_by_running_norm(
    factor: ArrayLike, smoothing: ArrayLike = 0.98
) -> optax.GradientTransformation:
    r"""Clip the gradient of each parameter to a multiple of its running norm.

    .. math::
        \hat g_t = g_t \min\Bigl(1, \frac{\lambda m_{t-1}}{\|g_t\|}\Bigr), \qquad
        m_t = \beta m_{t-1} + (1 - \beta) \|\hat g_t\|

    Args:
        factor: Allowed multiple :math:`\lambda`, > 0.
        smoothing: Decay :math:`\beta` of the running norm, in [0, 1).

    Returns:
        A transformation. The first gradient is not clipped: its norm initializes the running norm.

    Example:
        >>> clip = clip_by_running_norm(factor=1.5, smoothing=0.9)
        >>> _, state = clip.update(jnp.array([2.0]), clip.init(jnp.zeros(1)))
        >>> print(clip.update(jnp.array([8.0]), state)[0])
        [3.]

    References:
        AdaGC, arXiv 2502.11034, which adds a global clip during the first updates.
    """

    def init_fn(params: optax.Params) -> RunningNorms:
        return RunningNorms(jnp.zeros(len(jax.tree.leaves(params)), jnp.float32))

    def update_fn(
        updates: optax.Updates, state: RunningNorms, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RunningNorms]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        norms = jnp.stack([optax.tree.norm(leaf).astype(jnp.float32) for leaf in leaves])
        usual = jnp.where(state.norms > 0, state.norms, norms)
        limits = factor * usual
        clipped = [
            _shortened(leaf, norm, limit)
            for leaf, norm, limit in zip(leaves, norms, limits, strict=True)
        ]
        new = smoothing * usual + (1 - smoothing) * jnp.minimum(norms, limits)
        return jax.tree.unflatten(structure, clipped), RunningNorms(jnp.asarray(new, jnp.float32))

    return optax.GradientTransformation(init_fn, update_fn)


class NormMoments(NamedTuple):
    """State of :func:`clip_by_z_score`."""

    step: jax.Array  # shape=(), int32
    mean: jax.Array  # shape=(), float32
    variance: jax.Array  # shape=(), float32


def clip_by_z_score(
    threshold: ArrayLike, smoothing: ArrayLike = 0.97, warmup: int = 25
) -> optax.GradientTransformation:
    r"""Shorten a gradient whose global norm is an outlier among recent ones.

    .. math::
        z_t = \frac{\|g_t\| - \mu_{t-1}}{\sigma_{t-1}}, \qquad
        \|\hat g_t\| = \mu_{t-1} + \frac{\bar z^2}{z_t} \sigma_{t-1} \quad\text{if } z_t > \bar z

    with the running mean and variance of the norms after clipping.

    Args:
        threshold: Allowed score :math:`\bar z`, > 0.
        smoothing: Decay of the running moments, in [0, 1).
        warmup: Number of unclipped updates; their plain moments initialize the running ones.

    Returns:
        A transformation.

    Example:
        >>> clip = clip_by_z_score(threshold=1.0, warmup=2)
        >>> state = clip.init(jnp.zeros(1))
        >>> for size in (1.0, 3.0):
        ...     _, state = clip.update(jnp.array([size]), state)
        >>> print(clip.update(jnp.array([4.0]), state)[0])  # z = 2: to 2 + 1 / 2
        [2.5]

    References:
        ZClip, arXiv 2504.02507, reciprocal clipping.
    """

    def init_fn(params: optax.Params) -> NormMoments:
        del params
        return NormMoments(  # separate buffers: one used twice could not be donated
            jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
        )

    def update_fn(
        updates: optax.Updates, state: NormMoments, params: optax.Params | None = None
    ) -> tuple[optax.Updates, NormMoments]:
        del params
        norm = optax.tree.norm(updates).astype(jnp.float32)
        deviation = jnp.sqrt(state.variance)
        score = (norm - state.mean) / jnp.maximum(deviation, _TINY)
        warm = state.step >= warmup
        allowed = state.mean + threshold**2 / jnp.maximum(score, _TINY) * deviation
        limit = jnp.where(warm & (score > threshold), allowed, jnp.inf)
        clipped = jax.tree.map(lambda g: _shortened(g, norm, limit), updates)
        kept = jnp.minimum(norm, limit)
        # Plain moments at first, by Welford's update; exponential ones afterward.
        rate = jnp.where(warm, 1 - smoothing, 1 / (state.step.astype(state.mean.dtype) + 1.0))
        away = kept - state.mean
        mean = state.mean + rate * away
        variance = (1 - rate) * (state.variance + rate * away**2)
        moments = (x.astype(jnp.float32) for x in (mean, variance))
        return clipped, NormMoments(optax.safe_increment(state.step), *moments)

    return optax.GradientTransformation(init_fn, update_fn)


def _shortened(gradient: jax.Array, norm: jax.Array, limit: ArrayLike) -> jax.Array:
    """Return a gradient of the given norm, shortened to the limit if it is longer."""
    ratio = jnp.where(norm > limit, limit / jnp.maximum(norm, _TINY), 1.0)
    return gradient * ratio.astype(jnp.result_type(gradient))
