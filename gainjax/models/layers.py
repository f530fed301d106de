"""Flax layers that carry their gain as a variable: the mechanism inside the model.

The gain lives in the mutable collection ``"gain"``, one value per unit. A layer multiplies its
input current by the gain and adds the bias; once the logits are known, the model passes their
uncertainty to :meth:`GainModule.advance`. A training-mode forward pass thus uses g(t) and returns
g(t + 1), and a forward pass with an immutable collection leaves the gain unchanged.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.models.conv import Padding, convolve
from gainjax.models.model import Modulate as Modulate

Initializer = Callable[..., Any]
COLLECTION = "gain"


class GainModule(nn.Module):
    r"""Base class of the modulated layers: it holds the gain, applies it and updates it.

    A custom layer computes the input current of its units, passes it to :meth:`times_gain`, and
    then adds the terms that the gain should not scale. Call its bias ``bias``: all other parameters
    of the layer count as multiplied (:func:`modulated_mask`). The model that contains the layer
    advances the gain once it knows its uncertainty.

    Args:
        features: Number of units, each with its own gain (one uncertainty drives all).
        dynamics: How the gain follows uncertainty. Its numbers may be traced.

    Raises:
        TypeError: If ``dynamics`` is not a :class:`gainjax.GainDynamics`.

    Example:
        >>> from gainjax import predictive_entropy
        >>> class Bilinear(GainModule):
        ...     @nn.compact
        ...     def __call__(self, x, y):
        ...         shape = (x.shape[-1], y.shape[-1], self.features)
        ...         kernel = self.param("kernel", nn.initializers.normal(0.1), shape)
        ...         bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        ...         return self.times_gain(jnp.einsum("ni,nj,ijk->nk", x, y, kernel)) + bias
        >>> class Network(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         layer = Bilinear(3)
        ...         logits = layer(x, x)
        ...         layer.advance(predictive_entropy(logits))
        ...         return logits
        >>> x = jnp.zeros((2, 4))
        >>> variables = Network().init(jax.random.key(0), x)
        >>> logits, state = Network().apply(variables, x, mutable=["gain"])
        >>> print(f"{state['gain']['Bilinear_0']['gain'][0]:.2f}")  # 1 + 0.4 ln 3
        1.44

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, modulated forward pass.
    """

    features: int
    dynamics: GainDynamics = GainDynamics()

    def setup(self) -> None:
        """Create the gain at its baseline."""
        if not isinstance(self.dynamics, GainDynamics):
            raise TypeError(f"dynamics must be a gainjax.GainDynamics: got {self.dynamics!r}")

        def at_baseline() -> jax.Array:
            dtype = jnp.result_type(float)
            return jnp.full((self.features,), self.dynamics.baseline, dtype)

        self.gain = self.variable(COLLECTION, "gain", at_baseline)

    def times_gain(self, current: jax.Array) -> jax.Array:
        """Return the input current of each unit times its gain, in the dtype of the current.

        Args:
            current: Input currents, shape (..., features).
        """
        return times_gain(current, self.gain.value)

    def advance(self, uncertainty: ArrayLike) -> None:
        """Update the gain once if its collection is mutable; otherwise do nothing.

        Args:
            uncertainty: Uncertainty of this forward pass in nats, shape ().
        """
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            self.gain.value = self.dynamics.step(
                self.gain.value, jax.lax.stop_gradient(uncertainty)
            )


class GainDense(GainModule):
    r"""A dense layer with a multiplicative gain on its units.

    .. math:: z = g \odot (W x) + b

    Args:
        features: Number of units.
        dynamics: How the gain follows uncertainty.
        use_bias: Whether to add a bias, which the gain does not scale.
        kernel_init: Initializer of W, shape (inputs, features).
        bias_init: Initializer of b, shape (features,).

    Example:
        >>> layer = GainDense(3)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> variables["gain"]["gain"]
        Array([1., 1., 1.], dtype=float32)
        >>> _, state = layer.apply(variables, 2.3, method="advance", mutable=["gain"])
        >>> state["gain"]["gain"].round(2)
        Array([1.92, 1.92, 1.92], dtype=float32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, modulated forward pass.
    """

    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return g * (W x) + b, shape (..., features), for inputs of shape (..., inputs)."""
        # Names, shapes and dtypes match `nn.Dense`, and so do the initial weights.
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        current = self.times_gain(x @ kernel)
        if not self.use_bias:
            return current
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return current + per_unit(bias, current.ndim)


class GainConv(GainModule):
    r"""A convolution with a multiplicative gain on its output channels.

    .. math:: z = g \odot (W * x) + b

    A normalization layer directly after it would cancel the gain: apply the gain after the
    normalization, as :class:`gainjax.models.resnet.GainBatchNorm` does.

    Args:
        features: Number of output channels.
        dynamics: How the gain follows uncertainty.
        kernel_size: Size of the kernel along each axis of the input between batch and channels.
        strides: Step between windows, one for all axes or one per axis.
        padding: ``"SAME"``, ``"VALID"``, zeros on all sides, or a pair of them for each axis.
        use_bias: Whether to add a bias, which the gain does not scale.
        kernel_init: Initializer of W, shape ``(*kernel_size, channels, features)``.
        bias_init: Initializer of b, shape (features,).

    Example:
        >>> layer = GainConv(8, kernel_size=(3, 3), strides=2)
        >>> outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6, 6, 3)))
        >>> print(outputs.shape, variables["gain"]["gain"].shape)
        (2, 3, 3, 8) (8,)

    References:
        Ours, after the dense layer of Rodriguez-Garcia et al., arXiv 2507.14056.
    """

    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return g * (W * x) + b, shape (..., features), for inputs of shape (..., channels)."""
        # Names, shapes and dtypes match `nn.Conv`, and so do the initial weights.
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        current = self.times_gain(convolve(x, kernel, self.strides, self.padding))
        if not self.use_bias:
            return current
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return current + per_unit(bias, current.ndim)


def times_gain(current: jax.Array, gain: jax.Array) -> jax.Array:
    """Multiply input currents, shape (..., features), by a gain of shape (features,)."""
    return current * per_unit(gain.astype(current.dtype), current.ndim)


def per_unit(values: jax.Array, ndim: int) -> jax.Array:
    """Return per-unit values, shape (features,), broadcastable over leading axes."""
    return values.reshape((1,) * (ndim - 1) + values.shape)


def modulated_mask(params: Any, gains: Any) -> Any:
    """Mark the parameters that a gain multiplies, for :func:`gainjax.gain_modulation`.

    Args:
        params: Parameters of a model, nested dicts.
        gains: The model's ``"gain"`` collection (arrays or their shapes), nested dicts.

    Returns:
        Booleans with the structure of ``params``: True in each layer with a gain, except its bias.

    Example:
        >>> params = {"hidden": {"kernel": 0.0, "bias": 0.0}, "head": {"kernel": 0.0}}
        >>> modulated_mask(params, {"hidden": {"gain": 1.0}})
        {'head': {'kernel': False}, 'hidden': {'bias': False, 'kernel': True}}
    """
    layers = {path[:-1] for path, _ in jax.tree_util.tree_flatten_with_path(gains)[0]}
    bias = jax.tree_util.DictKey("bias")
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[:-1] in layers and path[-1] != bias, params
    )
