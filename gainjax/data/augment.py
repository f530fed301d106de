"""Random augmentation of training images, on the device and inside the compiled program."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Shaped


def crop_and_flip(
    key: Key[Array, ""], images: Shaped[Array, "n h w c"], padding: int = 4
) -> Shaped[Array, "n h w c"]:
    """Shift images at random, with zeros at the edges, and mirror each with probability 1/2.

    Args:
        key: Key of this batch.
        images: Raw images, shape (B, H, W, C).
        padding: Largest shift in pixels, >= 0, uniform in [-padding, padding] for each axis.

    Returns:
        Images of the same shape and dtype.

    Example:
        >>> images = jnp.ones((2, 8, 8, 3), jnp.uint8)
        >>> crop_and_flip(jax.random.key(0), images).shape
        (2, 8, 8, 3)

    References:
        Random crop with padding 4 and horizontal flip of the CIFAR experiments in
        Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    batch, height, width, _ = images.shape
    crop_key, flip_key = jax.random.split(key)
    shift = jax.random.randint(crop_key, (batch, 2), 0, 2 * padding + 1)
    flip = jax.random.bernoulli(flip_key, 0.5, (batch, 1))
    columns = jnp.arange(width)
    columns = jnp.where(flip, columns[::-1], columns)
    rows = shift[:, :1] + jnp.arange(height)
    columns = columns + shift[:, 1:]
    edge = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, edge)
    return padded[jnp.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
