"""The mechanism: how a gain follows uncertainty, and how uncertainty is measured.

Everything in the package that moves a gain (the Optax wrapper, the Flax layers, the toy models, the
analysis) calls :meth:`GainDynamics.step`. There is no second copy of the equation.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class GainDynamics:
    r"""A multiplicative gain that rises with uncertainty and decays to its baseline.

    .. math:: g_{t+1} = \gamma\, g_t + (1 - \gamma)\, g_0 + \eta\, H_t

    with :math:`\gamma` = ``decay``, :math:`g_0` = ``baseline``, :math:`\eta` = ``sensitivity`` and
    :math:`H_t` the uncertainty, in nats. The object is a pytree: its numbers may be traced, so one
    program covers a whole grid of settings under :func:`jax.vmap`. Traced numbers are not checked.

    Args:
        decay: Decay of the phasic part toward the baseline per update, in [0, 1).
        baseline: Tonic gain, greater than 0.
        sensitivity: Size of the phasic burst per nat of uncertainty, at least 0.
        max_gain: Upper bound on the gain, greater than or equal to the baseline, or None.

    Raises:
        ValueError: If a number that is not traced is out of its range or not finite.
        TypeError: If an argument is neither a number nor an array.

    Example:
        >>> dynamics = GainDynamics(decay=0.9, baseline=1.0, sensitivity=0.4)
        >>> gain = jnp.float32(1.0)
        >>> for uncertainty in (2.3, 0.5, 0.0):
        ...     gain = dynamics.step(gain, uncertainty)
        ...     print(f"{gain:.4f}")
        1.9200
        2.0280
        1.9252

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, gain dynamics of the noradrenergic model.
        ``max_gain`` and the handling of a non-finite uncertainty are ours.
    """

    decay: ArrayLike = 0.9
    baseline: ArrayLike = 1.0
    sensitivity: ArrayLike = 0.4
    max_gain: ArrayLike | None = None

    def __post_init__(self) -> None:
        _check_number("decay", self.decay, lambda x: 0 <= x < 1, "in [0, 1)")
        _check_number("baseline", self.baseline, lambda x: 0 < x < math.inf, "finite and > 0")
        _check_number("sensitivity", self.sensitivity, lambda x: 0 <= x < math.inf, "finite, >= 0")
        if self.max_gain is not None:
            _check_number("max_gain", self.max_gain, lambda x: x > 0, "> 0, or None for no bound")
            bounds = (self.max_gain, self.baseline)
            if all(map(_is_concrete, bounds)) and np.less(*map(np.asarray, bounds)).any():
                raise ValueError(
                    f"max_gain must be at least the baseline, {self.baseline}: got {self.max_gain}"
                )

    @classmethod
    def for_layers(
        cls,
        layers: int,
        decay: ArrayLike = 0.9,
        baseline: ArrayLike = 1.0,
        *,
        max_gain: ArrayLike | None = None,
    ) -> "GainDynamics":
        r"""Return dynamics that are safe to add to an existing training recipe.

        One nat of sustained uncertainty raises the gain until all modulated layers together double
        the output of the network; the gain is capped there:

        .. math:: g_{max} = g_0\, 2^{1/L}, \qquad \eta = (1 - \gamma)\,(g_{max} - g_0)

        The gradients of stacked layers, and with them the change in the output per SGD step, thus
        grow at most by a factor of :math:`2^2`, whatever the depth and the number of classes.

        Args:
            layers: Number L of modulated layers, at least 1 (0 counts as 1). Count each layer of a
                stack (such as a scan over layers), even if their weights are in one array.
            decay: Decay per update, in [0, 1).
            baseline: Tonic gain, > 0.
            max_gain: Upper bound on the gain instead of the one above; it sets the sensitivity.

        Raises:
            ValueError: As for the class.

        Example:
            >>> dynamics = GainDynamics.for_layers(4)
            >>> print(f"{dynamics.max_gain:.3f} {dynamics.sensitivity:.4f}")
            1.189 0.0189

        References:
            Ours; ``docs/adoption.md`` describes the evaluation.
        """
        cls(decay, baseline, 0.0, max_gain)  # for its checks
        low: Any = baseline
        kept: Any = decay
        top: Any = low * 2 ** (1 / max(layers, 1)) if max_gain is None else max_gain
        return cls(decay, baseline, (1 - kept) * (top - low), top)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[jax.tree_util.GetAttrKey, Any]], None]:
        """Return the numbers as named leaves."""
        names = [field.name for field in dataclasses.fields(self)]
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names], None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Iterable[Any]) -> "GainDynamics":
        """Return the object with any leaves, unchecked: tree maps may put in non-numbers."""
        del aux
        dynamics = object.__new__(cls)
        for field, leaf in zip(dataclasses.fields(cls), leaves, strict=True):
            object.__setattr__(dynamics, field.name, leaf)
        return dynamics

    def step(self, gain: ArrayLike, uncertainty: ArrayLike) -> Float[Array, "*shape"]:
        r"""Return the gain of the next update.

        .. math:: g \leftarrow \gamma g + (1 - \gamma) g_0 + \eta H

        A non-finite uncertainty carries no information, so it leaves the gain unchanged; a negative
        one counts as 0.

        Args:
            gain: Current gain, > 0, any shape. Its dtype is the dtype of the result.
            uncertainty: Uncertainty in nats, >= 0, shape () or that of the gain.

        Returns:
            The next gain, with the shape and dtype of ``gain``.

        Raises:
            ValueError: If the uncertainty is a finite plain number below 0.
            TypeError: If it is complex or None.

        Example:
            >>> float(GainDynamics(decay=0.5, sensitivity=1.0).step(jnp.float32(3.0), 0.25))
            2.25
        """
        if isinstance(uncertainty, numbers.Real) and -math.inf < uncertainty < 0:
            raise ValueError(f"uncertainty must be >= 0: got {uncertainty!r}")
        if uncertainty is None:
            raise TypeError("uncertainty must be a number or an array: got None")
        gain = jnp.asarray(gain, jnp.result_type(gain, float))  # never an integer
        if jnp.iscomplexobj(uncertainty):
            raise TypeError(f"uncertainty must be real: got {uncertainty!r}")
        uncertainty = jnp.asarray(uncertainty, gain.dtype)
        decay = jnp.asarray(self.decay, gain.dtype)
        baseline = jnp.asarray(self.baseline, gain.dtype)
        sensitivity = jnp.asarray(self.sensitivity, gain.dtype)
        drive = sensitivity * jnp.maximum(uncertainty, 0)
        new_gain = decay * gain + (1 - decay) * baseline + drive
        if self.max_gain is not None:
            new_gain = jnp.minimum(new_gain, jnp.asarray(self.max_gain, gain.dtype))
        return jnp.where(jnp.isfinite(uncertainty), new_gain, gain)

    def fixed_point(self, uncertainty: ArrayLike) -> Float[Array, "*shape"]:
        r"""Return the gain at which the dynamics settle under constant uncertainty.

        .. math:: g^* = g_0 + \frac{\eta H}{1 - \gamma}

        Args:
            uncertainty: Constant uncertainty in nats, >= 0, any shape.

        Returns:
            The fixed point, at most ``max_gain``, with the shape of ``uncertainty``.

        Example:
            >>> float(GainDynamics(decay=0.5, sensitivity=1.0).fixed_point(0.25))
            1.5
        """
        excess = jnp.asarray(self.sensitivity) * uncertainty / (1 - jnp.asarray(self.decay))
        gain = jnp.asarray(self.baseline) + excess
        return gain if self.max_gain is None else jnp.minimum(gain, self.max_gain)


def _check_number(name: str, value: Any, holds: Callable[[Any], bool], wanted: str) -> None:
    """Raise if `value` is not a number or an array, or is out of range; tracers pass."""
    if not (isinstance(value, numbers.Real) or hasattr(value, "dtype")):
        raise TypeError(f"{name} must be a number or an array, {wanted}: got {value!r}")
    if not _is_concrete(value):
        return
    array = np.asarray(value)
    if array.dtype.kind in "cSU":
        raise TypeError(f"{name} must be a number or an array, {wanted}: got {value!r}")
    if not all(map(holds, [value] if isinstance(value, numbers.Real) else array.ravel().tolist())):
        raise ValueError(f"{name} must be {wanted}: got {value!r}")


def _is_concrete(value: Any) -> bool:
    """Tell whether the values of a number or an array are known, and here."""
    if isinstance(value, jax.Array):
        return not isinstance(value, jax.core.Tracer) and value.is_fully_addressable
    return isinstance(value, numbers.Real | np.ndarray | np.generic)


def at_least_float32(*dtypes: DTypeLike) -> jnp.dtype:
    """Return the common dtype of float32 and others, also where JAX promotes strictly."""
    with jax.numpy_dtype_promotion("standard"):
        common = functools.reduce(jnp.promote_types, dtypes, jnp.dtype(jnp.float32))
    return jax.dtypes.canonicalize_dtype(common)  # of NumPy's float64 without x64: float32


def predictive_entropy(
    logits: ArrayLike, *, normalize: bool = False, where: ArrayLike | None = None
) -> Float[Array, ""]:
    r"""Return the mean entropy of the softmax of a batch of logits, in nats.

    .. math:: H = -\frac{1}{N} \sum_n \sum_c p_{nc} \ln p_{nc}, \quad p_n = \mathrm{softmax}(z_n)

    Args:
        logits: Logits, shape (..., C) with any leading batch shape, C >= 2. ``-inf`` masks a class.
        normalize: Divide by ln C, so that uniform predictions give 1 for any number of classes.
        where: Boolean mask of the rows that count, broadcastable to the batch shape (...): False
            for padded rows, whatever their logits. None: all rows. If no row counts, the mean is
            NaN, which the gain ignores.

    Returns:
        The mean entropy, shape (), between 0 and ln C (1 if normalized), at least float32.

    Raises:
        ValueError: If there is no class axis, fewer than two classes, or ``where`` does not fit.

    Example:
        >>> print(predictive_entropy(jnp.zeros((32, 10))), predictive_entropy(jnp.eye(3) * 1e4))
        2.302585 0.0

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: the uncertainty that drives the gain.
        Normalization by ln C is ours.
    """
    logits = jnp.asarray(logits)
    if logits.ndim == 0:
        raise ValueError("logits must have a class axis, shape (..., C): got a scalar")
    if logits.shape[-1] < 2:
        raise ValueError(
            f"logits must have at least 2 classes, shape (..., C): got {logits.shape}. For one "
            "sigmoid output, use gainjax.sigmoid_entropy"
        )
    logits = logits.astype(at_least_float32(logits.dtype))
    where = _rows(where, logits.shape[:-1])
    if where is not None:
        logits = jnp.where(where[..., None], logits, 0)  # before a NaN can reach the gradient
    log_p = jax.nn.log_softmax(logits, axis=-1)
    # 0 ln 0 = 0: a logarithm of 0 makes the term and its gradient 0; with -inf they would be NaN.
    log_p = jnp.where(jnp.isneginf(log_p), 0.0, log_p)
    entropy = jnp.mean(jnp.sum(-jnp.exp(log_p) * log_p, axis=-1), where=where)
    return entropy / math.log(logits.shape[-1]) if normalize else entropy


def sigmoid_entropy(logits: ArrayLike, *, where: ArrayLike | None = None) -> Float[Array, ""]:
    r"""Return the mean entropy of independent binary predictions (one label or many), in nats.

    .. math::
        H = -\frac{1}{N} \sum_n \left[p_n \ln p_n + (1 - p_n) \ln(1 - p_n)\right],
        \quad p_n = \frac{1}{1 + e^{-z_n}}

    Args:
        logits: Logits, any shape. The entropy is averaged over all of them, so that many labels
            drive the gain no more than one. NaN or infinity that counts makes the result NaN: the
            network has diverged. As in a softmax, -inf excludes a label.
        where: Boolean mask of the logits that count, broadcastable to that shape. None: all.

    Returns:
        The mean entropy, shape (), between 0 and ln 2, at least float32.

    Raises:
        ValueError: If ``where`` does not fit.

    Example:
        >>> print(sigmoid_entropy(jnp.zeros((32, 1))).round(4), sigmoid_entropy(jnp.array([1e4])))
        0.6931 0.0

    References:
        Ours: :func:`predictive_entropy` of the logits (0, z) of two classes.
    """
    logits = jnp.asarray(logits)
    logits = logits.astype(at_least_float32(logits.dtype))
    where = _rows(where, logits.shape)
    if where is not None:
        logits = jnp.where(where, logits, 0)
    return predictive_entropy(jnp.stack([jnp.zeros_like(logits), logits], axis=-1), where=where)


def _rows(where: ArrayLike | None, shape: tuple[int, ...]) -> Bool[Array, "*batch"] | None:
    """Return the mask of rows that count, in the shape of the batch."""
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise ValueError(f"where must hold booleans, True for rows that count: got {where.dtype}")
    try:
        return jnp.broadcast_to(where, shape)
    except ValueError as error:
        raise ValueError(
            f"where must broadcast to the shape of the batch, {shape}: got {where.shape}"
        ) from error
