"""The multilayer perceptron of the MNIST benchmarks."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from gainjax.gain import GainDynamics, predictive_entropy, sigmoid_entropy
from gainjax.models.layers import GainDense
from gainjax.models.model import Modulate


class MLP(nn.Module):
    """ReLU network with a gain on all layers or on its head, or without a gain.

    Args:
        features: Units of each layer; the last is the number of outputs.
        kernel_scales: Standard deviation of the normal initial weights of each layer.
        use_bias: Whether the layers have a (never modulated) bias.
        dynamics: How the gain follows uncertainty, or None for plain dense layers. Both forms have
            the same initial weights.
        modulate: Where the gain is: in ``"all"`` layers, as in the paper, or in the ``"head"``.

    Raises:
        ValueError: If ``modulate`` has any other value.

    Example:
        >>> import jax.numpy as jnp
        >>> model = MLP((400, 400, 10), (0.01, 0.01, 0.05), dynamics=GainDynamics(sensitivity=0.4))
        >>> x = jnp.ones((8, 28, 28, 1))
        >>> variables = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(variables, x, train=True, mutable=["gain"])
        >>> print(logits.shape, state["gain"]["layer_2"]["gain"].max().round(2))
        (8, 10) 1.92

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, MNIST experiments: 784-400-400-10, no biases.
    """

    features: Sequence[int]
    kernel_scales: Sequence[float]
    use_bias: bool = False
    dynamics: GainDynamics | None = None
    modulate: Modulate = "all"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> Float[Array, "batch outputs"]:
        """Return the logits, shape (N, outputs), of a batch of inputs, shape (N, ...).

        Args:
            x: Inputs; all axes but the first are flattened.
            train: Accepted for a uniform interface, but unused.
        """
        del train
        if self.modulate not in ("head", "all"):
            raise ValueError(f"modulate must be 'head' or 'all': got {self.modulate!r}")
        x = x.reshape(len(x), -1)
        modulated: list[GainDense] = []
        last = len(self.features) - 1
        for i, (features, scale) in enumerate(zip(self.features, self.kernel_scales, strict=True)):
            options: Any = {
                "features": features,
                "use_bias": self.use_bias,
                "kernel_init": nn.initializers.normal(scale),
                "name": f"layer_{i}",
            }
            x = x if i == 0 else nn.relu(x)
            if self.dynamics is None or (self.modulate == "head" and i < last):
                x = nn.Dense(**options)(x)
            else:
                modulated.append(GainDense(dynamics=self.dynamics, **options))
                x = modulated[-1](x)
        if modulated:
            uncertainty = predictive_entropy(x) if self.features[-1] > 1 else sigmoid_entropy(x)
            for layer in modulated:
                layer.advance(uncertainty)
        return x
