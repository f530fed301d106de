"""The slim residual network of the image benchmarks, with PyTorch's conventions."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gainjax.gain import GainDynamics, predictive_entropy
from gainjax.models.conv import conv2d
from gainjax.models.layers import GainDense, GainModule
from gainjax.models.model import Modulate

STATISTICS = "batch_stats"

# Kaiming-uniform with a = sqrt(5), as PyTorch initializes: uniform within 1 / sqrt(inputs).
_torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nn.Module):
    """A convolution without bias that keeps the image size, up to its stride.

    Args:
        features: Number of output channels.
        window: Height and width of the kernel, odd.
        stride: Step between windows.

    Example:
        >>> x = jnp.ones((2, 32, 32, 3))
        >>> y, variables = Conv(20, stride=2).init_with_output(jax.random.key(0), x)
        >>> print(y.shape, variables["params"]["kernel"].shape)
        (2, 16, 16, 20) (3, 3, 3, 20)

    References:
        Initial weights: the default of PyTorch's ``Conv2d``.
    """

    features: int
    window: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolution, shape (N, H', W', features), of images (N, H, W, C)."""
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", _torch_uniform, shape, jnp.float32)
        return conv2d(x, kernel, self.stride, self.window // 2)


class BatchNorm(nn.Module):
    r"""Batch normalization over images and pixels, with PyTorch's conventions.

    .. math:: z = \gamma \frac{x - \mu}{\sqrt{v + 10^{-5}}} + \beta

    In training, :math:`\mu` and :math:`v` are mean and variance of the batch, and each running
    average moves a tenth of the way toward them; toward the *unbiased* variance, where Flax uses
    the biased one. In evaluation they are the running averages. A forward pass with an immutable
    collection ``"batch_stats"`` leaves those unchanged.

    Example:
        >>> x = jnp.arange(4.0).reshape(4, 1, 1, 1)
        >>> norm = BatchNorm()
        >>> variables = norm.init(jax.random.key(0), x)
        >>> y, state = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        >>> print(y.std().round(3), state["batch_stats"]["mean"], state["batch_stats"]["var"])
        1.0 [0.15] [1.0666667]

    References:
        Ioffe & Szegedy, arXiv 1502.03167; ``torch.nn.BatchNorm2d``.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return the normalized images, in the shape (N, H, W, C) of ``x``."""
        return _batch_norm(self, x, train)


class GainBatchNorm(GainModule):
    r"""Batch normalization with a multiplicative gain on its channels.

    .. math:: z = g \odot \gamma\, \hat x + \beta

    with :math:`\hat x` the normalized input. The gain is applied *after* the normalization, which
    is where a unit's input current ends up. Before it, on the convolution, it would do nothing:
    normalization divides by the same factor, in the forward pass and in the gradient of the raw
    kernel alike, and only the running averages would lag behind a changing gain, to the detriment
    of evaluation. The parameter that the gain multiplies is thus ``scale``, with effective value
    :math:`g \gamma`.

    Args:
        features: Number of channels.
        dynamics: How the gain follows uncertainty.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
        >>> norm = GainBatchNorm(3, GainDynamics(baseline=2.0))
        >>> y, _ = norm.init_with_output(jax.random.key(0), x, train=True)
        >>> print(y.std().round(3))
        2.0

    References:
        The modulated forward pass of Rodriguez-Garcia et al., arXiv 2507.14056. Its place in a
        network with batch normalization is our choice.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return the normalized images, in the shape (N, H, W, features) of ``x``."""
        return _batch_norm(self, x, train, self.gain.value)


def _batch_norm(
    module: nn.Module, x: jax.Array, train: bool, gain: jax.Array | None = None
) -> jax.Array:
    channels = x.shape[-1:]
    scale = module.param("scale", nn.initializers.ones_init(), channels, jnp.float32)
    bias = module.param("bias", nn.initializers.zeros_init(), channels, jnp.float32)
    running_mean = module.variable(STATISTICS, "mean", jnp.zeros, channels, jnp.float32)
    running_var = module.variable(STATISTICS, "var", jnp.ones, channels, jnp.float32)
    if train:
        count = x.size // x.shape[-1]
        if count < 2:
            raise ValueError(
                "x must have at least two values per channel to normalize by their variance:"
                f" got shape {x.shape}; train on more images, or evaluate with train=False"
            )
        mean = x.mean((0, 1, 2))
        var = jnp.maximum(0, jnp.square(x).mean((0, 1, 2)) - jnp.square(mean))
        if module.is_mutable_collection(STATISTICS) and not module.is_initializing():
            unbiased = var * (count / (count - 1))
            running_mean.value += 0.1 * (mean - running_mean.value)
            running_var.value += 0.1 * (unbiased - running_var.value)
    else:
        mean, var = running_mean.value, running_var.value
    slope = scale * jax.lax.rsqrt(var + 1e-5)
    if gain is not None:
        slope *= gain.astype(slope.dtype)
    per_channel = (1, 1, 1, -1)
    # One product and one sum: `x - mean` would be kept for the backward pass, in addition to x.
    return x * slope.reshape(per_channel) + (bias - mean * slope).reshape(per_channel)


class SlimResNet18(nn.Module):
    """ResNet-18 for small images, with a third of the usual channels.

    A 3x3 stem without pooling, four stages of two basic blocks with 1, 2, 4 and 8 times ``width``
    channels, each stage but the first halving the image, global average pooling, and a head without
    bias. Where a block changes size, its shortcut is a normalized 1x1 convolution.

    Args:
        num_classes: Number of outputs.
        width: Channels of the first stage; 20 in the paper.
        dynamics: How the gain follows uncertainty, or None for a plain network. Parameters and
            their initial values do not depend on it.
        modulate: Where the gain is: ``"head"``, as in the paper, or ``"all"``, which also puts one
            after each batch normalization (see :class:`gainjax.models.resnet.GainBatchNorm`).

    Raises:
        ValueError: If ``modulate`` has any other value.

    Example:
        >>> model = SlimResNet18(dynamics=GainDynamics(sensitivity=0.2))
        >>> shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> sorted(shapes), sum(x.size for x in jax.tree.leaves(shapes["params"]))
        (['batch_stats', 'gain', 'params'], 1094740)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, CIFAR experiments; the network is that of
        Lopez-Paz & Ranzato, arXiv 1706.08840, after He et al., arXiv 1512.03385.
    """

    num_classes: int = 10
    width: int = 20
    dynamics: GainDynamics | None = None
    modulate: Modulate = "head"

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Return the logits of images, shape (N, H, W, C).

        Args:
            x: Normalized images.
            train: Whether to normalize by the statistics of this batch and to update the averages.
        """
        if self.modulate not in ("head", "all"):
            raise ValueError(f"modulate must be 'head' or 'all': got {self.modulate!r}")
        modulated: list[GainModule] = []

        def unit(x: jax.Array, features: int, window: int, stride: int, name: str) -> jax.Array:
            x = Conv(features, window, stride, name=f"{name}_conv")(x)
            if self.dynamics is None or self.modulate == "head":
                return BatchNorm(name=f"{name}_norm")(x, train)
            norm = GainBatchNorm(features, self.dynamics, name=f"{name}_norm")
            modulated.append(norm)
            return norm(x, train)

        x = nn.relu(unit(x, self.width, 3, 1, "stem"))
        for stage in range(4):
            features = self.width * 2**stage
            for block in range(2):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(unit(x, features, 3, stride, f"{name}_first"))
                y = unit(y, features, 3, 1, f"{name}_second")
                if x.shape != y.shape:
                    x = unit(x, features, 1, stride, f"{name}_shortcut")
                x = nn.relu(x + y)
        x = x.mean((1, 2))

        make: Any = (
            nn.Dense if self.dynamics is None else partial(GainDense, dynamics=self.dynamics)
        )
        init = nn.initializers.normal(0.05)
        head = make(features=self.num_classes, use_bias=False, kernel_init=init, name="head")
        logits = head(x)
        if self.dynamics is not None:
            uncertainty = predictive_entropy(logits)
            for layer in (*modulated, head):
                layer.advance(uncertainty)
        return logits
