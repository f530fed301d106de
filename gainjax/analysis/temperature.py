r"""The effects of a shared gain: the temperature of the softmax and the size of the step.

With L modulated bias-free ReLU layers the logits are :math:`z = g^L f_w(x)`. Their order, hence
accuracy, does not depend on g. The gradient with respect to the raw weights splits into

.. math:: \nabla_w L = \underbrace{g^L}_{scale}\; J_f^T
    \bigl(\mathrm{softmax}(f_w / T) - y\bigr), \qquad T = g^{-L}

a factor, and the error of a softmax at the temperature T. With respect to the effective weights
:math:`\theta = g w` it is g times the gradient there, so a step of SGD at the rate :math:`\alpha`
on w equals one at the rate :math:`\alpha g_t g_{t+1}` on :math:`\theta`, or :math:`\alpha g^2` at a
constant gain.
"""

import jax
import jax.numpy as jnp
import optax
import xarray as xr
from jax.typing import ArrayLike

from gainjax.analysis.timescales import fast_share


def softmax_temperature(gain: ArrayLike, layers: int, baseline: ArrayLike = 1.0) -> jax.Array:
    r"""Return the temperature of the softmax, relative to that at the baseline.

    .. math:: T = (g_0 / g)^L

    Args:
        gain: Gains, > 0, any shape.
        layers: Number L of stacked modulated layers, at least 0.
        baseline: Gain at which the temperature is 1, > 0.

    Raises:
        ValueError: If ``layers`` is negative.

    Example:
        >>> float(softmax_temperature(2.0, layers=3))
        0.125

    References:
        Guo et al. 2017, arXiv 1706.04599, call 1/T a scaling of logits.
    """
    return 1 / logit_scale(gain, layers, baseline)


def logit_scale(gain: ArrayLike, layers: int, baseline: ArrayLike = 1.0) -> jax.Array:
    r"""Return the factor by which a gain multiplies the logits, relative to the baseline.

    .. math:: (g / g_0)^L

    This is also the factor of the raw weights' gradient at a given error of the softmax.

    Args:
        gain: Gains, > 0, any shape.
        layers: Number L of stacked modulated layers, at least 0.
        baseline: Gain at which the factor is 1, > 0.

    Raises:
        ValueError: If ``layers`` is negative.

    Example:
        >>> float(logit_scale(2.0, layers=3))
        8.0
    """
    if layers < 0:
        raise ValueError(f"layers must be at least 0: got {layers!r}")
    return (jnp.asarray(gain, float) / jnp.asarray(baseline, float)) ** layers


def effective_step(gain: ArrayLike, learning_rate: ArrayLike) -> jax.Array:
    r"""Return the rate at which SGD under a gain moves the effective weights along their gradient.

    .. math:: \alpha\, g_t\, g_{t+1}

    or :math:`\alpha g^2` at a constant gain. The rest of an update rescales all effective weights
    by :math:`g_{t+1} / g_t`, which neither forgets nor learns anything.

    Args:
        gain: Gain of the forward pass of each update, shape (..., N), N >= 2.
        learning_rate: Rate of SGD on the raw weights.

    Returns:
        Rates, shape (..., N - 1): that of the last update would need the gain after it.

    Example:
        >>> print(effective_step(jnp.array([1.0, 2.0, 2.0]), 0.5))
        [1. 2.]

    References:
        Ours; follows from the update of :func:`gainjax.gain_modulation` with SGD.
    """
    gain = jnp.asarray(gain, float)
    return jnp.asarray(learning_rate, float) * gain[..., :-1] * gain[..., 1:]


def loss_at(
    logits: ArrayLike, labels: ArrayLike, gain: ArrayLike, layers: int, new_gain: ArrayLike
) -> jax.Array:
    r"""Return the loss that the same raw weights would have at another gain.

    .. math:: L(g') = \mathrm{CE}\bigl((g'/g)^L z,\; y\bigr)

    Args:
        logits: Logits z, measured at the gain ``gain``, shape (B, C).
        labels: Classes, integers, shape (B,).
        gain: Gain at which they were measured, > 0, shape ().
        layers: Number L of stacked modulated bias-free layers.
        new_gain: The other gain, > 0, shape ().

    Returns:
        The mean cross-entropy, nats, shape ().

    Example:
        >>> print(f"{loss_at(jnp.array([[2.0, 0.0]]), jnp.array([0]), 2.0, 1, new_gain=1.0):.4f}")
        0.3133
    """
    scaled = jnp.asarray(logits, float) * logit_scale(new_gain, layers, gain)
    return optax.losses.softmax_cross_entropy_with_integer_labels(
        scaled, jnp.asarray(labels)
    ).mean()


def boost_effect(
    logits: ArrayLike, labels: ArrayLike, gain: ArrayLike, layers: int, baseline: ArrayLike = 1.0
) -> jax.Array:
    r"""Return by how much the raised gain itself changes the loss; negative if it lowers it.

    .. math:: \Delta = L(g) - L(g_0)

    for the same raw weights. The claim that a burst lowers the test loss at a switch concerns its
    sign, which depends on confidence: a boost sharpens the softmax, so it lowers the loss of an
    underconfident network, and raises that of an overconfident one.

    Args:
        logits: Logits, measured at the gain ``gain``, shape (B, C).
        labels: Classes, integers, shape (B,).
        gain: That gain, > 0, shape ().
        layers: Number of stacked modulated bias-free layers.
        baseline: Gain to compare with, > 0.

    Returns:
        The difference of the mean cross-entropies, nats, shape ().

    Example:
        A boost helps where the answer is right, and hurts where it is wrong:

        >>> logits = jnp.array([[2.0, 0.0]])
        >>> for label in (0, 1):
        ...     print(f"{boost_effect(logits, jnp.array([label]), gain=2.0, layers=1):+.4f}")
        -0.1863
        +0.8137

    References:
        The claim: Rodriguez-Garcia et al., arXiv 2507.14056v2.
    """
    here = loss_at(logits, labels, gain, layers, gain)
    return here - loss_at(logits, labels, gain, layers, baseline)


def temperature_trace(curves: xr.Dataset, layers: int) -> xr.DataArray:
    r"""Return the temperature of the softmax at each update of a run, from its recorded gain.

    .. math:: T_t = (g_0 / g_t)^L

    Args:
        curves: Curves with a gain, as for :func:`gainjax.analysis.gain_traces`.
        layers: Number L of stacked modulated bias-free layers: 3 for the MLPs of the built-in
            benchmarks, 1 if only the head is modulated.

    Returns:
        Temperatures over (setting, seed, update); NaN for seeds that diverged.

    Raises:
        ValueError: If ``layers`` is negative, or as :func:`gainjax.analysis.gain_traces`.
    """
    if layers < 0:
        raise ValueError(f"layers must be at least 0: got {layers!r}")
    from_shares = 1 - fast_share(curves)  # g0 / g
    return (from_shares**layers).rename("temperature")
