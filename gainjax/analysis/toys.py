r"""Toy models with one weight and one input: how a gain or a fast weight tracks a new target.

Three toy models track a target y* with the output y and the error e = y* - y, logged before the
update: a single slow weight, a fast and a slow weight, and a slow weight times a gain. The gain
follows :meth:`gainjax.GainDynamics.step`, driven by \|w e\| instead of an entropy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from gainjax.gain import GainDynamics

REVERSAL = GainDynamics(decay=0.9, baseline=1.0, sensitivity=0.7)
ONSET = GainDynamics(decay=0.5, baseline=1.0, sensitivity=1.0)


class Trace(NamedTuple):
    """The trajectory of a toy, logged before each update."""

    output: Float[Array, "updates"]
    gain: Float[Array, "updates"]  # 1 without a gain
    weight: Float[Array, "updates"]  # the slow weight
    fast: Float[Array, "updates"]  # the fast weight, or the part (g - g0) w of the effective one


class Noise(NamedTuple):
    """Standard deviations of the independent normal noise on gain and weight at each update."""

    gain: ArrayLike = 0.05
    weight: ArrayLike = 0.025


def reversal_targets() -> Float[np.ndarray, "300"]:
    """Return +1 over 300 updates, but -1 at the ten updates 144 to 153, counted from 0."""
    targets = np.ones(300)
    targets[144:154] = -1
    return targets


def onset_targets() -> Float[np.ndarray, "100"]:
    """Return 0 over 44 updates, then 1 over 56."""
    return np.where(np.arange(100) < 44, 0.0, 1.0)


@jax.jit
def slow_toy(targets: ArrayLike, rate: ArrayLike = 0.1, weight: ArrayLike = 0.0) -> Trace:
    r"""Track a target with one slow weight.

    .. math:: y = w, \qquad w \leftarrow w + \alpha e

    Args:
        targets: Targets y*, shape (T,).
        rate: Learning rate, > 0.
        weight: Initial weight.

    Example:
        >>> print(f"{slow_toy(reversal_targets()).output[145]:.4f}")
        0.8000

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, toy models.
    """
    targets = jnp.asarray(targets, float)

    def update(w: jax.Array, target: jax.Array) -> tuple[jax.Array, Trace]:
        logged = Trace(w, jnp.ones_like(w), w, jnp.zeros_like(w))
        return w + rate * (target - w), logged

    return jax.lax.scan(update, jnp.asarray(weight, targets.dtype), targets)[1]


@jax.jit
def fast_slow_toy(
    targets: ArrayLike,
    rate: ArrayLike = 0.1,
    fast_rate: ArrayLike = 0.2,
    retention: ArrayLike = 0.9,
) -> Trace:
    r"""Track a target with the sum of a fast, decaying weight and a slow, persistent one.

    .. math:: y = f + s, \qquad f \leftarrow \rho f + \beta e, \qquad s \leftarrow s + \alpha e

    Args:
        targets: Targets y*, shape (T,).
        rate: Learning rate of the slow weight, > 0.
        fast_rate: Learning rate of the fast weight, > 0.
        retention: Fraction of the fast weight that remains after an update, in [0, 1).

    Example:
        >>> print(f"{fast_slow_toy(reversal_targets()).output[145]:.4f}")
        0.3959

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, toy models.
    """
    targets = jnp.asarray(targets, float)
    start = jnp.zeros((), targets.dtype)

    def update(carry: tuple[jax.Array, jax.Array], target: jax.Array):  # type: ignore[no-untyped-def]
        f, s = carry
        e = target - (f + s)
        return (retention * f + fast_rate * e, s + rate * e), Trace(f + s, jnp.ones_like(s), s, f)

    return jax.lax.scan(update, (start, start), targets)[1]


@jax.jit
def gain_toy(
    targets: ArrayLike,
    dynamics: GainDynamics = REVERSAL,
    rate: ArrayLike = 0.1,
    weight: ArrayLike = 1.0,
    key: Key[Array, ""] | None = None,
    noise: Noise | None = None,
) -> Trace:
    r"""Track a target with a slow weight times a gain driven by the error.

    .. math::
        y = g w, \qquad w \leftarrow w + \alpha g e + \sigma_w \xi, \qquad
        g \leftarrow \gamma g + (1 - \gamma) g_0 + \eta\, |w e| + \sigma_g \zeta

    with the updated w in the gain, and standard normal :math:`\xi, \zeta` if there is noise.

    Args:
        targets: Targets y*, shape (T,).
        dynamics: How the gain follows \|w e\|; it starts at the baseline.
        rate: Learning rate, > 0.
        weight: Initial weight.
        key: Random key of the noise, or None for no noise.
        noise: Size of the noise, or None for :class:`Noise`'s defaults; unused without a key.

    Example:
        The gain doubles before the weight has changed its sign, so the output first moves in the
        wrong direction:

        >>> trace = gain_toy(reversal_targets())
        >>> for t in (144, 145, 147):
        ...     print(f"{trace.output[t]:.3f} {trace.gain[t]:.3f} {trace.weight[t]:.3f}")
        1.000 1.000 1.000
        1.696 2.120 0.800
        -0.372 2.460 -0.151

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, toy models.
    """
    targets = jnp.asarray(targets, float)
    baseline = jnp.asarray(dynamics.baseline, targets.dtype)
    draws = jnp.zeros((2, len(targets)), targets.dtype)
    if key is not None:
        sizes = jnp.asarray([*(Noise() if noise is None else noise)], targets.dtype)
        draws = sizes[:, None] * jax.random.normal(key, draws.shape, targets.dtype)

    def update(carry: tuple[jax.Array, jax.Array], now: jax.Array):  # type: ignore[no-untyped-def]
        g, w = carry
        target, noise_g, noise_w = now
        e = target - g * w
        new_w = w + rate * g * e + noise_w
        new_g = dynamics.step(g, jnp.abs(new_w * e)) + noise_g
        return (new_g, new_w), Trace(g * w, g, w, (g - baseline) * w)

    start = (baseline, jnp.asarray(weight, targets.dtype))
    return jax.lax.scan(update, start, jnp.stack([targets, *draws], axis=1))[1]


def onset_toy(key: Key[Array, ""] | None = None, noise: Noise | None = None) -> Trace:
    r"""Run the gain toy of the appendix: the target goes from 0 to 1, and the gain bursts.

    This is :func:`gain_toy` with decay .5, sensitivity 1 and learning rate .1 on
    :func:`onset_targets`.

    Args:
        key: Random key of the noise, or None for no noise.
        noise: Size of the noise, or None for .05 on the gain and .025 on the weight.

    Returns:
        Traces of shape (100,).

    Example:
        >>> trace = onset_toy()
        >>> print(f"{trace.gain.max():.4f} at update {trace.gain.argmax()}")
        1.4085 at update 49

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, appendix: 100 updates, target from 0 to 1 at
        update 44, decay .5, drive 1, noise .05 and .025, 50 repeats, a peak of 1.4085 at update 49.
        The rest is inferred from that peak: the learning rate .1, the drive with the updated weight
        and the error before the update, as in :func:`gain_toy`, and updates counted from 0 and
        logged before they are made. Of some hundred variants (gradient with g, g² or neither, six
        drives, error before or after the update, with or without the baseline term, logged before
        or after the update) at nine learning rates, no other has that peak at that update. The
        initial weight is less certain: from 1 the burst has the same four digits, but the gain
        first rises to 2.43 at update 2, which would then be the peak; from 0 all is at rest before
        the target changes. Noise is assumed to be normal, independent, and added once per update.
    """
    return gain_toy(onset_targets(), ONSET, 0.1, 0.0, key, noise)


def noisy_onset_toys(key: Key[Array, ""], repeats: int = 50, noise: Noise | None = None) -> Trace:
    """Run :func:`onset_toy` many times, each with independent noise.

    Args:
        key: Random key, split over the repeats.
        repeats: Number of repeats, at least 1.
        noise: As for :func:`onset_toy`.

    Returns:
        Traces of shape (repeats, 100).

    Raises:
        ValueError: If there are no repeats.

    Example:
        >>> noisy_onset_toys(jax.random.key(0), 3).gain.shape
        (3, 100)
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1: got {repeats!r}")
    return jax.vmap(lambda one: onset_toy(one, noise))(jax.random.split(key, repeats))
