"""Convolution, and the one place where its algorithm is chosen.

Accelerators run XLA's native convolution. On a CPU that one is a trap: inside a compiled loop,
where all training happens here, a weight gradient takes up to sixty times as long as outside; and
under :func:`jax.vmap` over seeds it becomes a grouped convolution, slow on every back end. So on a
CPU the windows that the kernel sees are gathered as rows of a matrix and multiplied by the kernel,
which `vmap` turns into a batched matrix product. The gathered matrix is nine times the input; to
keep it in the processor's cache, the batch is worked off in blocks of a few images.

Measured by ``perf/resnet_step.py``.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

# Size of the gathered matrix of one block, in bytes. Half of it is as fast, twice is slower.
_BLOCK_BYTES = 3 * 2**20

_Pair = tuple[jax.Array, jax.Array]


def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    r"""Convolve images with a kernel, as in PyTorch: symmetric zero padding, no kernel flip.

    .. math:: y_{n,h,w,o} = \sum_{i,j,c} x_{n,\,sh+i-p,\,sw+j-p,\,c}\; k_{i,j,c,o}

    with stride :math:`s` and padding :math:`p`. Derivatives of any order, reverse mode first.

    Args:
        x: Images, shape (N, H, W, C).
        kernel: Kernel, shape (kernel height, kernel width, C, outputs).
        stride: Step between windows in both directions, at least 1.
        padding: Zeros added on all four sides, at least 0.

    Returns:
        Shape (N, H', W', outputs) with H' = (H + 2 padding - kernel height) // stride + 1, and W'
        likewise.

    Raises:
        ValueError: If the shapes do not fit each other, or stride or padding are out of range.

    Example:
        >>> conv2d(jnp.ones((8, 32, 32, 3)), jnp.ones((3, 3, 3, 20)), stride=2, padding=1).shape
        (8, 16, 16, 20)

    Source:
        Ours. Layouts are the usual ones of Flax (NHWC and HWIO).
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            "x must have shape (N, H, W, C) and kernel (height, width, C, outputs) with the same C:"
            f" got {x.shape} and {kernel.shape}"
        )
    if stride < 1 or padding < 0:
        raise ValueError(
            f"stride must be at least 1 and padding at least 0: got {stride} and {padding}"
        )
    if min(len(x), *_output_size(x.shape, kernel.shape, stride, padding)) < 1:
        raise ValueError(
            f"x must hold at least one image, not smaller than the kernel when padded by {padding}:"
            f" got {x.shape} for a kernel of {kernel.shape[:2]}"
        )
    dtype = jnp.result_type(x, kernel)
    return _conv2d(x.astype(dtype), kernel.astype(dtype), stride, padding)


def _output_size(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, padding: int
) -> tuple[int, int]:
    height, width = (
        (size + 2 * padding - window) // stride + 1
        for size, window in zip(x_shape[1:3], kernel_shape[:2], strict=True)
    )
    return height, width


# The choice is made when a program is lowered for a platform. Both rules of differentiation make it
# themselves: differentiating through it would save the intermediates of both algorithms.
def _chosen(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_gathered, stride=stride, padding=padding),
        default=functools.partial(_native, stride=stride, padding=padding),
    )


def _chosen_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, _Pair]:
    return _chosen(x, kernel, stride, padding), (x, kernel)


def _chosen_gradients(stride: int, padding: int, saved: _Pair, dy: jax.Array) -> _Pair:
    return lax.platform_dependent(
        *saved,
        dy,
        cpu=functools.partial(_gathered_gradients, stride=stride, padding=padding),
        default=functools.partial(_native_gradients, stride=stride, padding=padding),
    )


_conv2d = jax.custom_vjp(_chosen, nondiff_argnums=(2, 3))
_conv2d.defvjp(_chosen_forward, _chosen_gradients)


def _native(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _native_gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> _Pair:
    _, vjp = jax.vjp(functools.partial(_native, stride=stride, padding=padding), x, kernel)
    return vjp(dy)


def _gathered(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    *window, _, outputs = kernel.shape
    matrix = kernel.reshape(-1, outputs)
    size = _output_size(x.shape, kernel.shape, stride, padding)
    scratch = _scratch(len(x), size, len(matrix), x.dtype)

    def block(scratch: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        scratch = _gather(scratch, _windows(x, window, stride))
        return scratch, scratch @ matrix

    _, y = lax.scan(block, scratch, _split(_pad(x, padding, padding), len(scratch)))
    return _join(y)


def _gathered_gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> _Pair:
    if stride == 1 and dy.shape[-1] <= x.shape[-1]:
        return _gradients_from_windows_of_output(x, kernel, dy, padding)
    return _gradients_from_windows_of_input(x, kernel, dy, stride, padding)


def _gradients_from_windows_of_output(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, padding: int
) -> _Pair:
    """The gradient of x is dy convolved with the turned kernel; one gathering serves both."""
    height, width, inputs, outputs = kernel.shape
    matrix = _turn(kernel).reshape(-1, inputs)
    scratch = _scratch(len(x), x.shape[1:3], len(matrix), x.dtype)

    def block(carry: _Pair, blocks: _Pair) -> tuple[_Pair, jax.Array]:
        scratch, dmatrix = carry
        x, dy = blocks
        scratch = _gather(scratch, _windows(dy, (height, width), 1))
        dmatrix += _rows(x).T @ _rows(scratch)
        return (scratch, dmatrix), scratch @ matrix

    dy = _pad(dy, height - 1 - padding, width - 1 - padding)
    blocks = (_split(x, len(scratch)), _split(dy, len(scratch)))
    (_, dmatrix), dx = lax.scan(block, (scratch, jnp.zeros_like(matrix.T)), blocks)
    return _join(dx), _turn(dmatrix.T.reshape(height, width, outputs, inputs))


def _gradients_from_windows_of_input(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: int
) -> _Pair:
    """The general case: the gradient of each window is added up where the window came from."""
    *window, _, outputs = kernel.shape
    matrix = kernel.reshape(-1, outputs)
    scratch = _scratch(len(x), dy.shape[1:3], len(matrix), x.dtype)
    windows = functools.partial(_windows, window=window, stride=stride)

    def block(carry: _Pair, blocks: _Pair) -> tuple[_Pair, jax.Array]:
        scratch, dmatrix = carry
        x, dy = blocks
        scratch = _gather(scratch, windows(x))
        dmatrix += _rows(dy).T @ _rows(scratch)
        dwindows = jnp.split(dy @ matrix.T, math.prod(window), axis=-1)
        (dx,) = jax.linear_transpose(windows, x)(dwindows)
        return (scratch, dmatrix), _pad(dx, -padding, -padding)

    x = _pad(x, padding, padding)
    blocks = (_split(x, len(scratch)), _split(dy, len(scratch)))
    (_, dmatrix), dx = lax.scan(block, (scratch, jnp.zeros_like(matrix.T)), blocks)
    return _join(dx), dmatrix.T.reshape(kernel.shape)


def _scratch(n: int, size: Sequence[int], columns: int, dtype: jnp.dtype) -> jax.Array:
    """Return room for the windows of one block of images, shape (images, *size, columns)."""
    limit = max(1, _BLOCK_BYTES // (math.prod(size) * columns * dtype.itemsize))
    images = max(i for i in range(1, min(n, limit) + 1) if n % i == 0)
    return jnp.zeros((images, *size, columns), dtype)


def _windows(x: jax.Array, window: Sequence[int], stride: int) -> list[jax.Array]:
    """Return what each element of the kernel sees, shape (N, H', W', C) each, for padded x."""
    height, width = window
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(height)
        for j in range(width)
    ]


def _gather(scratch: jax.Array, windows: list[jax.Array]) -> jax.Array:
    # Writing in place takes one pass; a concatenation would first copy each of its operands.
    for i, window in enumerate(windows):
        start = (0, 0, 0, i * window.shape[-1])
        scratch = lax.dynamic_update_slice(scratch, window, start)
    return scratch


def _pad(x: jax.Array, rows: int, columns: int) -> jax.Array:
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, ((0, 0, 0), (rows, rows, 0), (columns, columns, 0), (0, 0, 0)))


def _turn(kernel: jax.Array) -> jax.Array:
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _split(x: jax.Array, images: int) -> jax.Array:
    return x.reshape(-1, images, *x.shape[1:])


def _join(blocks: jax.Array) -> jax.Array:
    return blocks.reshape(-1, *blocks.shape[2:])
