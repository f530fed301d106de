"""Flax layers that carry their gain as a variable: the mechanism inside the model.

The gain lives in the mutable collection ``"gain"``, one value per unit. A layer multiplies its
input current by the gain and adds the bias; after the logits are known, the model hands their
uncertainty to :meth:`GainDense.advance`. So one training-mode forward pass uses g(t) and returns
g(t + 1), and a forward pass with an immutable collection leaves the gain alone.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics

Initializer = Callable[..., Any]
COLLECTION = "gain"
Modulate = Literal["head", "all"]  # which layers of a model have a gain


class GainModule(nn.Module):
    """Base of the modulated layers: it owns the gain and moves it.

    Args:
        features: Number of units, each with a gain of its own (all share one drive).
        dynamics: How the gain follows uncertainty. Its numbers may be traced.
    """

    features: int
    dynamics: GainDynamics = GainDynamics()

    def setup(self) -> None:
        """Create the gain at its baseline."""

        def at_baseline() -> jax.Array:
            dtype = jnp.result_type(float)
            return jnp.full((self.features,), self.dynamics.baseline, dtype)

        self.gain = self.variable(COLLECTION, "gain", at_baseline)

    def advance(self, uncertainty: ArrayLike) -> None:
        """Move the gain by one update if its collection is mutable; otherwise do nothing.

        Args:
            uncertainty: Uncertainty of this forward pass in nats, shape ().
        """
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            self.gain.value = self.dynamics.step(
                self.gain.value, jax.lax.stop_gradient(uncertainty)
            )


class GainDense(GainModule):
    r"""A dense layer whose units share a multiplicative gain.

    .. math:: z = g \odot (W x) + b

    Args:
        features: Number of units.
        dynamics: How the gain follows uncertainty.
        use_bias: Whether to add a bias, which the gain does not touch.
        kernel_init: Initialiser of W, shape (inputs, features).
        bias_init: Initialiser of b, shape (features,).

    Example:
        >>> layer = GainDense(3)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> variables["gain"]["gain"]
        Array([1., 1., 1.], dtype=float32)
        >>> _, state = layer.apply(variables, 2.3, method="advance", mutable=["gain"])
        >>> state["gain"]["gain"].round(2)
        Array([1.92, 1.92, 1.92], dtype=float32)

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, modulated forward pass.
    """

    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return g * (W x) + b, shape (..., features), for inputs of shape (..., inputs)."""
        # Names, shapes and dtypes are those of `nn.Dense`, so are the initial weights.
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        current = x @ kernel
        per_unit = (1,) * (current.ndim - 1) + (self.features,)
        current = current * self.gain.value.astype(current.dtype).reshape(per_unit)
        if not self.use_bias:
            return current
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return current + bias.reshape(per_unit)


def modulated_mask(params: Any, gains: Any) -> Any:
    """Mark the parameters that a gain multiplies, for :func:`gainjax.gain_modulation`.

    Args:
        params: Parameters of a model, nested dicts.
        gains: The model's ``"gain"`` collection (arrays or their shapes), nested dicts.

    Returns:
        Booleans with the structure of ``params``: True in each layer with a gain, but for its bias.

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
