"""Convolution, with an algorithm that depends on the platform.

Accelerators run XLA's native convolution. On a CPU it is slow: inside a compiled loop, where all
training happens here, a weight gradient takes up to sixty times as long as outside, and
:func:`jax.vmap` over seeds turns it into a grouped convolution, slow on every back end. So on a CPU
the windows that the kernel sees are gathered as rows of matrices, one for each row of the kernel,
and multiplied by it, which `vmap` turns into batched matrix products. The gathered matrices are
nine times the size of the input; to keep them in the processor's cache, the batch is processed in
blocks of a few images.

Measured by ``perf/resnet_step.py``.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Size of one gathered matrix of a block, in bytes. Half of it is 5% slower, twice of it is no
# faster.
_BLOCK_BYTES = 2 * 2**20

_Pair = tuple[jax.Array, jax.Array]
Padding = str | int | Sequence[tuple[int, int]]


def conv2d(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0
) -> Float[Array, "images height width outputs"]:
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

    References:
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


def convolve(
    x: jax.Array, kernel: jax.Array, strides: int | Sequence[int], padding: Padding
) -> jax.Array:
    """Convolve along any number of axes, as Flax layers do; images use :func:`conv2d`.

    Args:
        x: Inputs, shape (..., *sizes, C).
        kernel: Kernel, shape (*windows, C, outputs), with one to three windows.
        strides: Step between windows, one for all axes or one per axis.
        padding: ``"SAME"``, ``"VALID"``, zeros on all sides, or a pair of them for each axis.

    Returns:
        Shape (..., *sizes', outputs).

    Raises:
        ValueError: If the shapes do not fit each other.

    Example:
        >>> convolve(jnp.ones((8, 12, 3)), jnp.ones((5, 3, 4)), 2, "SAME").shape
        (8, 6, 4)

    References:
        ``flax.linen.Conv``, without dilation and groups.
    """
    axes = kernel.ndim - 2
    if not 1 <= axes <= 3 or x.ndim < axes + 1 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            "x must have shape (..., *sizes, C) and kernel (*windows, C, outputs) with one to three"
            f" windows and the same C: got {x.shape} and {kernel.shape}"
        )
    leading, images = x.shape[: -axes - 1], x.reshape(-1, *x.shape[-axes - 1 :])
    steps = (strides,) * axes if isinstance(strides, int) else tuple(strides)
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(images.shape[1:-1], kernel.shape[:-2], steps, padding)
    else:
        pads = [(padding, padding)] * axes if isinstance(padding, int) else list(padding)
    around = {zeros for pair in pads for zeros in pair}
    if axes == 2 and len(set(steps)) == len(around) == 1:
        y = conv2d(images, kernel, steps[0], *around)
    else:
        sizes = "DHW"[-axes:]
        layout = (f"N{sizes}C", f"{sizes}IO", f"N{sizes}C")
        dtype = jnp.result_type(x, kernel)
        y = lax.conv_general_dilated(
            images.astype(dtype), kernel.astype(dtype), steps, pads, dimension_numbers=layout
        )
    return y.reshape(*leading, *y.shape[1:])


def _output_size(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, padding: int
) -> tuple[int, int]:
    height, width = (
        (size + 2 * padding - window) // stride + 1
        for size, window in zip(x_shape[1:3], kernel_shape[:2], strict=True)
    )
    return height, width


# The choice is made when a program is lowered for a platform. Both differentiation rules make it
# again: differentiating through it would save the intermediates of both algorithms.
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
    window = kernel.shape[:2]
    matrices = _matrices(kernel)
    size = _output_size(x.shape, kernel.shape, stride, padding)
    images = _images_per_block(len(x), size, matrices)

    def block(padded: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded = _fill(padded, x)
        return padded, _product(_gather(padded, window, stride), matrices)

    _, y = lax.scan(block, _zeros(x, images, padding, padding), _split(x, images))
    return _join(y)


def _gathered_gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> _Pair:
    within_kernel = padding < min(kernel.shape[:2])
    if stride == 1 and within_kernel and dy.shape[-1] <= x.shape[-1]:
        return _gradients_from_windows_of_output(x, kernel, dy, padding)
    return _gradients_from_windows_of_input(x, kernel, dy, stride, padding)


def _gradients_from_windows_of_output(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, padding: int
) -> _Pair:
    """The gradient of x is dy convolved with the flipped kernel; one gathering serves both."""
    height, width, inputs, outputs = kernel.shape
    matrices = _matrices(_turn(kernel))
    images = _images_per_block(len(x), x.shape[1:3], matrices)

    def block(carry: _Pair, blocks: _Pair) -> tuple[_Pair, jax.Array]:
        padded, dmatrices = carry
        x, dy = blocks
        padded = _fill(padded, dy)
        windows = _gather(padded, (height, width), 1)
        dmatrices += _products_with(x, windows)
        return (padded, dmatrices), _product(windows, matrices)

    padded = _zeros(dy, images, height - 1 - padding, width - 1 - padding)
    blocks = (_split(x, images), _split(dy, images))
    (_, dmatrices), dx = lax.scan(block, (padded, _zeros_of_products(matrices)), blocks)
    return _join(dx), _turn(_kernel(dmatrices, (height, width, outputs, inputs)))


def _gradients_from_windows_of_input(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: int
) -> _Pair:
    """The general case: the gradient of each window is added back where the window came from."""
    window = kernel.shape[:2]
    matrix = _rows(kernel)
    matrices = _matrices(kernel)
    images = _images_per_block(len(x), dy.shape[1:3], matrices)
    slices = functools.partial(_slices, window=window, stride=stride, padding=padding)

    def block(carry: _Pair, blocks: _Pair) -> tuple[_Pair, jax.Array]:
        padded, dmatrices = carry
        x, dy = blocks
        padded = _fill(padded, x)
        dmatrices += _products_with(dy, _gather(padded, window, stride))
        dslices = jnp.split(dy @ matrix.T, math.prod(window), axis=-1)
        (dx,) = jax.linear_transpose(slices, x)(dslices)
        return (padded, dmatrices), dx

    padded = _zeros(x, images, padding, padding)
    blocks = (_split(x, images), _split(dy, images))
    (_, dmatrices), dx = lax.scan(block, (padded, _zeros_of_products(matrices)), blocks)
    return _join(dx), _kernel(dmatrices, kernel.shape)


# A kernel is handled as one matrix (width * C, outputs) per row.
def _matrices(kernel: jax.Array) -> jax.Array:
    height, *_, outputs = kernel.shape
    return kernel.reshape(height, -1, outputs)


def _kernel(matrices: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Return the kernel, given the transpose of each of its matrices."""
    return matrices.swapaxes(1, 2).reshape(shape)


def _product(windows: Sequence[jax.Array], matrices: jax.Array) -> jax.Array:
    first, *others = (rows @ matrix for rows, matrix in zip(windows, matrices, strict=True))
    return sum(others, start=first)


def _products_with(y: jax.Array, windows: Sequence[jax.Array]) -> jax.Array:
    """Return the sums over windows of y times window, shape (height, channels of y, width * C)."""
    return jnp.stack([_rows(y).T @ _rows(rows) for rows in windows])


def _zeros_of_products(matrices: jax.Array) -> jax.Array:
    return jnp.zeros_like(matrices.swapaxes(1, 2))


def _images_per_block(n: int, size: Sequence[int], matrices: jax.Array) -> int:
    """Return a divisor of the batch size, for windows at `size` positions times the matrices."""
    window = matrices.shape[1] * matrices.dtype.itemsize
    limit = max(1, _BLOCK_BYTES // (math.prod(size) * window))
    return max(i for i in range(1, min(n, limit) + 1) if n % i == 0)


def _gather(x: jax.Array, window: Sequence[int], stride: int) -> list[jax.Array]:
    """Return what each kernel row sees of padded images, shapes (N, H', W', width * C)."""
    n, rows, columns, channels = x.shape
    height, width = window
    # The pixels of a window row are adjacent in memory. XLA turns copying them together into a
    # parallel loop of long copies.
    shape = (n, (rows - height) // stride + 1, (columns - width) // stride + 1, 1)
    image, row, column = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in range(3))
    first_pixel = (image * rows + stride * row) * columns + stride * column
    numbers = lax.GatherDimensionNumbers((3,), collapsed_slice_dims=(), start_index_map=(0,))
    return [
        lax.gather(
            x.reshape(-1),
            (first_pixel + i * columns) * channels,
            numbers,
            (width * channels,),
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )
        for i in range(height)
    ]


def _slices(x: jax.Array, window: Sequence[int], stride: int, padding: int) -> list[jax.Array]:
    """Return what each kernel element sees, shape (N, H', W', C) each."""
    around = (padding, padding, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), around, around, (0, 0, 0)))
    height, width = window
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(height)
        for j in range(width)
    ]


# Images are padded by writing them into zeros that are reused from block to block. XLA would merge
# an ordinary padding into each of the loops of `_gather`, which makes them over ten times slower.
def _zeros(x: jax.Array, images: int, rows: int, columns: int) -> jax.Array:
    _, height, width, channels = x.shape
    return jnp.zeros((images, height + 2 * rows, width + 2 * columns, channels), x.dtype)


def _fill(padded: jax.Array, x: jax.Array) -> jax.Array:
    rows, columns = (
        (outer - inner) // 2 for outer, inner in zip(padded.shape[1:3], x.shape[1:3], strict=True)
    )
    return lax.dynamic_update_slice(padded, x, (0, rows, columns, 0))


def _turn(kernel: jax.Array) -> jax.Array:
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _split(x: jax.Array, images: int) -> jax.Array:
    return x.reshape(-1, images, *x.shape[1:])


def _join(blocks: jax.Array) -> jax.Array:
    return blocks.reshape(-1, *blocks.shape[2:])
