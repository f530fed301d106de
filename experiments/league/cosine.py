"""A head that reads angles: outputs are scaled cosines of features and class weights."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gainjax import Benchmark
from gainjax.models import MLP, from_linen


class CosineMLP(nn.Module):
    r"""The network of a benchmark with a cosine head.

    .. math:: z_c = s \frac{w_c^\top h}{\|w_c\| \|h\|}

    No class has larger outputs because its weights are longer, which is what new outputs are said
    to gain from. The scale :math:`s` is learned, from 10.

    Args:
        features: Units of the hidden layers.
        kernel_scale: Standard deviation of their initial weights, and of the head's.
        outputs: Number of classes.

    References:
        Hou et al. 2019, "Learning a unified classifier incrementally via rebalancing", section 3.2.
    """

    features: Sequence[int]
    kernel_scale: float
    outputs: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs, shape (B, outputs), of inputs of shape (B, ...)."""
        scales = [self.kernel_scale] * len(self.features)
        h = nn.relu(MLP(self.features, scales, name="body")(x))
        init = nn.initializers.normal(self.kernel_scale)
        kernel = self.param("kernel", init, (h.shape[-1], self.outputs))
        scale = self.param("scale", nn.initializers.constant(10.0), ())
        return scale * (_unit(h, axis=1) @ _unit(kernel, axis=0))


def _unit(x: jax.Array, axis: int) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis, keepdims=True) + 1e-12)


def with_cosine_head(benchmark: Benchmark) -> Benchmark:
    """Return a benchmark of digits or MNIST with the same network, but for its head.

    Args:
        benchmark: The benchmark.
    """
    digits = "digits" in benchmark.name
    network = CosineMLP((200, 200), 0.05) if digits else CosineMLP((400, 400), 0.01)
    return benchmark.replace(model=from_linen(network))
