"""The networks of digits and MNIST with a head that reads angles."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from gainjax import Benchmark
from gainjax.models import MLP, CosineDense, from_linen


class CosineMLP(nn.Module):
    """The network of a benchmark with a cosine head.

    Args:
        features: Units of the hidden layers.
        kernel_scale: Standard deviation of their initial weights, and of the head's.
        outputs: Number of classes.
    """

    features: Sequence[int]
    kernel_scale: float
    outputs: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs, shape (B, outputs), of inputs of shape (B, ...)."""
        scales = [self.kernel_scale] * len(self.features)
        h = nn.relu(MLP(self.features, scales, name="body")(x))
        head = CosineDense(self.outputs, kernel_init=nn.initializers.normal(self.kernel_scale))
        nn.share_scope(self, head)  # its parameters have been at the top, which fixes their values
        return head(h)


def with_cosine_head(benchmark: Benchmark) -> Benchmark:
    """Return a benchmark of digits or MNIST with the same network, except for its head.

    Args:
        benchmark: The benchmark.
    """
    digits = "digits" in benchmark.name
    network = CosineMLP((200, 200), 0.05) if digits else CosineMLP((400, 400), 0.01)
    return benchmark.replace(model=from_linen(network))
