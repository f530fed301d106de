"""A linear head that reads angles instead of lengths."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class CosineDense(nn.Module):
    r"""A dense layer of scaled cosines, for the head of a classifier.

    .. math:: z_c = s \, \frac{w_c^\top h}{\lVert w_c \rVert \lVert h \rVert}

    No class has larger outputs because its weights are longer, as those of old classes are when new
    ones arrive. A gain on such a layer cancels out of its outputs.

    Args:
        features: Number of outputs.
        scale: Initial value of the scale :math:`s`, which is trained; > 0.
        kernel_init: Initializer of the weights, shape (inputs, features).

    Example:
        >>> layer = CosineDense(2, kernel_init=nn.initializers.ones_init())
        >>> z, _ = layer.init_with_output(jax.random.key(0), jnp.array([[3.0, 3.0], [0.0, -5.0]]))
        >>> print([[f"{x:.2f}" for x in row] for row in z])  # angles of 0 and 135 degrees
        [['10.00', '10.00'], ['-7.07', '-7.07']]

    References:
        Hou et al. 2019, "Learning a unified classifier incrementally via rebalancing", section 3.2.
    """

    features: int
    scale: float = 10.0
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, h: jax.Array) -> Float[Array, "... outputs"]:
        """Return the outputs, shape (..., features), of features of shape (..., inputs)."""
        if not self.scale > 0:
            raise ValueError(f"scale must be > 0: got {self.scale!r}")
        kernel = self.param("kernel", self.kernel_init, (h.shape[-1], self.features))
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        h, kernel = jnp.asarray(h), jnp.asarray(kernel)
        h = h.astype(jnp.promote_types(h.dtype, kernel.dtype))  # squares overflow in float16
        return scale * (_unit(h, axis=-1) @ _unit(kernel, axis=0))


def _unit(x: jax.Array, axis: int) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis, keepdims=True) + 1e-12)
