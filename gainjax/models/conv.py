"""Convolution: the one place that chooses its algorithm.

Accelerators run the native convolution. On a CPU, XLA falls back to a naive loop for convolutions
inside a compiled loop (its fast path is only looked for in the entry computation), which is where
all training happens here; and under :func:`jax.vmap` over seeds a native convolution becomes a
grouped one, slow everywhere. So a CPU gathers the patches that the kernel sees and multiplies them
by the kernel: a matrix product, batched under ``vmap``. It does so for a few images at a time,
because the patches of a whole batch (nine times its size) would only travel to memory and back.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# Patches of one block of images, in bytes: they stay in the caches of a core. Measured; flat optimum.
_BLOCK_BYTES = 3 * 2**20


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_blocked, stride=stride, padding=padding),
        default=functools.partial(_native, stride=stride, padding=padding),
    )


def _forward(x, kernel, stride, padding):
    return conv2d(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, dy):
    x, kernel = saved

    def native(x, kernel, dy):
        _, vjp = jax.vjp(functools.partial(_native, stride=stride, padding=padding), x, kernel)
        return vjp(dy)

    return lax.platform_dependent(
        x,
        kernel,
        dy,
        cpu=functools.partial(_blocked_gradients, stride=stride, padding=padding),
        default=native,
    )


conv2d.defvjp(_forward, _backward)


def _native(x, kernel, *, stride, padding):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _patches(x, size, stride, padding):
    """(N, H', W', kh*kw*C)"""
    height, width = size
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    # Otherwise XLA would fuse the padding into each of the slices and repeat it.
    x = lax.optimization_barrier(x)
    last_row, last_column = x.shape[1] - height, x.shape[2] - width
    slices = [
        x[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride]
        for i in range(height)
        for j in range(width)
    ]
    return jnp.concatenate(slices, axis=-1)


def _product(x, kernel, stride, padding):
    patches = _patches(x, kernel.shape[:2], stride, padding)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _product_gradients(x, kernel, dy, stride, padding):
    height, width, inputs, outputs = kernel.shape
    if stride != 1 or inputs < outputs:
        _, vjp = jax.vjp(functools.partial(_product, stride=stride, padding=padding), x, kernel)
        return vjp(dy)
    patches = _patches(dy, (height, width), 1, height - 1 - padding)
    turned = _turn(kernel)
    dx = patches @ turned.reshape(-1, inputs)
    dturned = jnp.einsum("nhwk,nhwi->ki", patches, x).reshape(height, width, outputs, inputs)
    return dx, _turn(dturned)


def _turn(kernel):
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _num_blocks(x, kernel, stride):
    n, height, width, _ = x.shape
    patch = math.prod(kernel.shape[:3]) * x.dtype.itemsize
    size = n * math.ceil(height / stride) * math.ceil(width / stride) * patch
    return min(n, math.ceil(size / _BLOCK_BYTES))


def _split(x, blocks):
    missing = -len(x) % blocks
    if missing:
        x = jnp.pad(x, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return x.reshape(blocks, -1, *x.shape[1:])


def _join(x, length):
    return x.reshape(-1, *x.shape[2:])[:length]


def _blocked(x, kernel, *, stride, padding):
    blocks = _num_blocks(x, kernel, stride)
    y = lax.map(lambda b: _product(b, kernel, stride, padding), _split(x, blocks))
    return _join(y, len(x))


def _blocked_gradients(x, kernel, dy, *, stride, padding):
    blocks = _num_blocks(x, kernel, stride)

    def block(dkernel, xs):
        dx, dk = _product_gradients(xs[0], kernel, xs[1], stride, padding)
        return dkernel + dk, dx

    dkernel, dx = lax.scan(block, jnp.zeros_like(kernel), (_split(x, blocks), _split(dy, blocks)))
    return _join(dx, len(x)), dkernel
