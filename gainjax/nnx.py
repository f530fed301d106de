"""Flax NNX layers that carry their gain: counterparts of the Linen layers in :mod:`gainjax.models`.

The gain is a variable of a separate type, :class:`Gain`. A layer multiplies its input current by
the gain and adds the bias; once the logits are known, the model passes their uncertainty to
:meth:`GainModule.advance`. A forward pass in training thus uses g(t) and leaves g(t + 1) behind.
"""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.models.conv import Padding, convolve
from gainjax.models.layers import per_unit, times_gain

__all__ = ["Gain", "GainConv", "GainLinear", "GainModule"]

Initializer = Callable[..., Any]
_KERNEL_INIT = nnx.initializers.lecun_normal()
_BIAS_INIT = nnx.initializers.zeros_init()


class Gain(nnx.Variable):
    """The gain of a layer, one value per unit. It is not an ``nnx.Param``: nothing trains it.

    Example:
        >>> layer = GainLinear(4, 3, rngs=nnx.Rngs(0))
        >>> nnx.state(layer, Gain)["gain"][...]
        Array([1., 1., 1.], dtype=float32)
    """


class GainModule(nnx.Module):
    """Base class of the modulated layers: it holds the gain, applies it and updates it.

    A custom layer computes the input current of its units, passes it to :meth:`times_gain`, and
    then adds the terms that the gain should not scale.

    Args:
        features: Number of units, each with its own gain (one uncertainty drives all).
        dynamics: How the gain follows uncertainty. Its numbers may be arrays.

    Raises:
        TypeError: If ``dynamics`` is not a :class:`gainjax.GainDynamics`.

    Example:
        >>> class Scale(GainModule):
        ...     def __init__(self, features, dynamics=GainDynamics()):
        ...         super().__init__(features, dynamics)
        ...         self.weight = nnx.Param(jnp.ones(features))
        ...
        ...     def __call__(self, x):
        ...         return self.times_gain(self.weight * x)
        >>> layer = Scale(2, GainDynamics(baseline=3.0))
        >>> layer(jnp.ones((1, 2)))
        Array([[3., 3.]], dtype=float32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, modulated forward pass.
    """

    def __init__(self, features: int, dynamics: GainDynamics = GainDynamics()) -> None:  # noqa: B008
        if not isinstance(dynamics, GainDynamics):
            raise TypeError(f"dynamics must be a gainjax.GainDynamics: got {dynamics!r}")
        numbers_alone = all(isinstance(x, numbers.Real) for x in jax.tree.leaves(dynamics))
        self.dynamics = dynamics if numbers_alone else nnx.data(dynamics)
        self.gain = Gain(jnp.full((features,), dynamics.baseline, jnp.result_type(float)))
        self.deterministic = False  # set by `train()` and `eval()`

    def times_gain(self, current: jax.Array) -> jax.Array:
        """Return the input current of each unit times its gain, in the dtype of the current.

        Args:
            current: Input currents, shape (..., features).
        """
        return times_gain(current, self.gain[...])

    def advance(self, uncertainty: ArrayLike) -> None:
        """Update the gain once; after ``model.eval()``, do nothing.

        Args:
            uncertainty: Uncertainty of this forward pass in nats, shape ().
        """
        if not self.deterministic:
            uncertainty = jax.lax.stop_gradient(uncertainty)
            self.gain[...] = self.dynamics.step(self.gain[...], uncertainty)


class GainLinear(GainModule):
    r"""A linear layer with a multiplicative gain on its units.

    .. math:: z = g \odot (W x) + b

    Args:
        in_features: Number of inputs.
        out_features: Number of units.
        dynamics: How the gain follows uncertainty.
        use_bias: Whether to add a bias, which the gain does not scale.
        kernel_init: Initializer of W, shape (in_features, out_features).
        bias_init: Initializer of b, shape (out_features,).
        rngs: Random number generators for the initial weights.

    Example:
        >>> layer = GainLinear(4, 3, rngs=nnx.Rngs(0))
        >>> layer.advance(2.3)
        >>> layer.gain[...].round(2)
        Array([1.92, 1.92, 1.92], dtype=float32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, modulated forward pass.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dynamics: GainDynamics = GainDynamics(),  # noqa: B008
        use_bias: bool = True,
        kernel_init: Initializer = _KERNEL_INIT,
        bias_init: Initializer = _BIAS_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(out_features, dynamics)
        # Names, shapes and order match `nnx.Linear`, and so do the initial weights.
        shape = (in_features, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = _bias(use_bias, bias_init, out_features, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return g * (W x) + b, shape (..., out_features), for inputs (..., in_features)."""
        return _plus(self.times_gain(x @ self.kernel[...]), self.bias)


class GainConv(GainModule):
    r"""A convolution with a multiplicative gain on its output channels.

    .. math:: z = g \odot (W * x) + b

    A normalization layer directly after it would cancel the gain.

    Args:
        in_features: Number of input channels.
        out_features: Number of output channels.
        kernel_size: Size of the kernel along each axis of the input between batch and channels.
        strides: Step between windows, one for all axes or one per axis.
        padding: ``"SAME"``, ``"VALID"``, zeros on all sides, or a pair of them for each axis.
        dynamics: How the gain follows uncertainty.
        use_bias: Whether to add a bias, which the gain does not scale.
        kernel_init: Initializer of W, shape
            ``(*kernel_size, in_features, out_features)``.
        bias_init: Initializer of b, shape (out_features,).
        rngs: Random number generators for the initial weights.

    Example:
        >>> layer = GainConv(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 6, 6, 3))).shape
        (2, 3, 3, 8)

    References:
        Ours, after the dense layer of Rodriguez-Garcia et al., arXiv 2507.14056.
    """

    def __init__(  # more than nine parameters: those of `nnx.Conv`, so that it can replace one
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: Padding = "SAME",
        dynamics: GainDynamics = GainDynamics(),  # noqa: B008
        use_bias: bool = True,
        kernel_init: Initializer = _KERNEL_INIT,
        bias_init: Initializer = _BIAS_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(out_features, dynamics)
        shape = (*kernel_size, in_features, out_features)
        self.strides = strides if isinstance(strides, int) else tuple(strides)
        self.padding = padding if isinstance(padding, str | int) else tuple(padding)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = _bias(use_bias, bias_init, out_features, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return g * (W * x) + b, shape (..., out_features), for inputs (..., in_features)."""
        current = convolve(x, self.kernel[...], self.strides, self.padding)
        return _plus(self.times_gain(current), self.bias)


def _bias(use_bias: bool, init: Initializer, features: int, rngs: nnx.Rngs) -> nnx.Param | None:
    return nnx.Param(init(rngs.params(), (features,), jnp.float32)) if use_bias else None


def _plus(current: jax.Array, bias: nnx.Param | None) -> jax.Array:
    return current if bias is None else current + per_unit(bias[...], current.ndim)
