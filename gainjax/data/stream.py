"""A stream of tasks: the arrays that a compiled run takes, and their validation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Array = np.ndarray | jax.Array
MOST_CLASSES = 1_000_000  # more outputs are surely a mistake, and would only exhaust memory
_CHUNK = 2**24  # numbers checked at a time


class Stream(NamedTuple):
    """A sequence of K tasks. All fields are arrays; a compiled program takes it as an argument.

    Joint training at task k samples uniformly from the first ``task_end[k]`` training examples.
    The network's input is ``(raw - shift) * scale``: see :func:`normalize`.

    Args:
        train_inputs: Raw inputs sorted by task, shape (N, ...): uint8, an integer type of at most
            32 bits, or float32.
        train_targets: Classes, int32, shape (N,); for other goals float32, shape (N, ...).
        task_start: First training example of each task, int32, shape (K,).
        task_end: One past the last training example of each task, int32, shape (K,).
        test_inputs: As the network takes them, already normalized; padded with zeros to the
            largest test set, shape (K, M, ...).
        test_targets: As the training targets, padded with zeros, shape (K, M) or (K, M, ...).
        test_sizes: Number of test examples of each task, int32, shape (K,).
        shift: float32, broadcast over the last axes of the inputs; None if inputs are used as they
            are.
        scale: As the shift.
    """

    train_inputs: Array
    train_targets: Array
    task_start: Array
    task_end: Array
    test_inputs: Array
    test_targets: Array
    test_sizes: Array
    shift: Array | None = None
    scale: Array | None = None


def normalize(stream: Stream, inputs: ArrayLike) -> jax.Array:
    r"""Return raw inputs as the network takes them; traceable, for use on the device.

    .. math:: x = \frac{r - \mu}{\sigma} = (r - \text{shift}) \cdot \text{scale}

    Args:
        stream: The stream that the inputs belong to.
        inputs: Raw inputs, shape (B, ...).

    Returns:
        Inputs of the same shape: float32, or as they are if the stream has no shift and scale.

    Example:
        >>> from gainjax.data import load_source, split
        >>> stream = split(load_source("digits"))
        >>> x = normalize(stream, stream.train_inputs)
        >>> print(x.dtype, abs(float(x.mean())) < 1e-3, abs(float(x.std()) - 1) < 1e-3)
        float32 True True
    """
    inputs = jnp.asarray(inputs)
    if stream.shift is None or stream.scale is None:
        return inputs
    shift, scale = (
        jax.lax.expand_dims(x, range(inputs.ndim - x.ndim))  # no implicit rank promotion
        for x in (jnp.asarray(stream.shift), jnp.asarray(stream.scale))
    )
    return (inputs.astype(jnp.float32) - shift) * scale


def classes_seen(stream: Stream) -> list[int]:
    """Return the number of classes in the training data up to each task.

    Args:
        stream: Tasks with classes as targets.

    Example:
        >>> from gainjax import get_benchmark
        >>> classes_seen(get_benchmark("rotated-digits").load())
        [10, 10, 10]
    """
    targets = np.asarray(stream.train_targets)
    return [len(np.unique(targets[:end])) for end in np.asarray(stream.task_end)]


def check_stream(stream: Stream) -> None:
    """Raise unless a stream of tasks is valid.

    The scenarios of this package always return valid streams; this is for custom ones.

    Args:
        stream: The tasks.

    Raises:
        TypeError: If it is not a stream, or a field is not an array.
        ValueError: If shapes or types do not match, a task has no training or test examples, a
            label is out of range, or a number is not finite. The message names field and remedy.

    Example:
        >>> from gainjax.data import load_source, split
        >>> stream = split(load_source("digits"))
        >>> check_stream(stream)
        >>> check_stream(stream._replace(train_targets=stream.train_targets - 1))
        Traceback (most recent call last):
        ValueError: train_targets must be classes numbered from 0: got -1
    """
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stream must be a gainjax.data.Stream: got {type(stream).__name__}. Make one with "
            "gainjax.data.class_incremental or gainjax.data.domain_incremental"
        )
    for name, field in stream._asdict().items():
        if field is None and name in ("shift", "scale"):
            continue
        if not isinstance(field, (np.ndarray, jax.Array)):
            raise TypeError(f"{name} must be an array: got {type(field).__name__}")
    stream = jax.tree.map(np.asarray, stream)
    for name, least in (("train_inputs", 1), ("train_targets", 1), ("test_inputs", 2)):
        field = getattr(stream, name)
        if field.ndim < least or not field.size:
            raise ValueError(f"{name} must hold examples: got an array of shape {field.shape}")
    _check_tasks(stream)
    _check_inputs(stream)
    _check_shift(stream)
    _check_targets(stream)
    for name in ("train_inputs", "test_inputs", "train_targets", "test_targets", "shift", "scale"):
        check_finite(name, getattr(stream, name))


def _check_tasks(stream: Stream) -> None:
    """Raise unless the tasks follow one another and each has training and test examples."""
    start, end, sizes = stream.task_start, stream.task_end, stream.test_sizes
    for name in ("task_start", "task_end", "test_sizes"):
        field = getattr(stream, name)
        if field.ndim != 1 or field.dtype != np.int32 or len(field) != len(start) or not len(field):
            raise ValueError(
                f"{name} must be int32 of shape (K,), one number for each task: got {field.dtype} "
                f"of shape {field.shape}"
            )
    if start[0] != 0 or (start[1:] != end[:-1]).any() or end[-1] != len(stream.train_inputs):
        raise ValueError(
            f"task_start and task_end must divide all {len(stream.train_inputs)} training inputs, "
            f"sorted by task, without a hole: got {start.tolist()} and {end.tolist()}"
        )
    if (empty := np.flatnonzero(end <= start)).size:
        raise ValueError(f"task {empty[0] + 1} has no training examples: leave it out")
    most = stream.test_inputs.shape[1]
    if (bad := np.flatnonzero((sizes < 1) | (sizes > most))).size:
        raise ValueError(
            f"test_sizes must be from 1 to {most}, the second axis of test_inputs: got "
            f"{sizes[bad[0]]} for task {bad[0] + 1}; every task needs test examples"
        )


def _check_inputs(stream: Stream) -> None:
    """Raise unless training and test inputs have one shape, and types that a network can take."""
    train, test = stream.train_inputs, stream.test_inputs
    small_integer = np.issubdtype(train.dtype, np.integer) and train.dtype.itemsize <= 4
    if train.dtype != np.float32 and (not small_integer or train.dtype == np.uint32):
        raise ValueError(
            f"train_inputs must be float32 or integers of at most 32 bits: got {train.dtype}. Use "
            ".astype(numpy.float32)"
        )
    if test.shape[0] != len(stream.task_end) or test.shape[2:] != train.shape[1:]:
        raise ValueError(
            f"test_inputs must have shape {(len(stream.task_end), 'M', *train.shape[1:])}, tasks "
            f"and inputs like the training inputs of shape {train.shape}: got {test.shape}"
        )
    dtype = train.dtype if stream.shift is None else np.dtype(np.float32)
    if test.dtype != dtype:
        raise ValueError(
            f"test_inputs must be {dtype}, as the network takes them: got {test.dtype}"
        )


def _check_shift(stream: Stream) -> None:
    """Raise unless shift and scale are both present and fit the inputs, or both absent."""
    if (stream.shift is None) != (stream.scale is None):
        raise ValueError("shift and scale must both be arrays, or both None")
    shape = stream.train_inputs.shape[1:]
    for name in ("shift", "scale"):
        field: Any = getattr(stream, name)
        if field is None:
            continue
        fits = field.ndim <= len(shape) and all(
            a in (1, b) for a, b in zip(field.shape[::-1], shape[::-1], strict=False)
        )
        if field.dtype != np.float32 or not fits:
            raise ValueError(
                f"{name} must be float32 and broadcast over the last axes of inputs of shape "
                f"{shape}: got {field.dtype} of shape {field.shape}"
            )
        if name == "scale" and not field.all():
            raise ValueError("scale must not be 0: all inputs would become the same")


def _check_targets(stream: Stream) -> None:
    """Raise unless targets match the inputs, and test labels occur in training."""
    train, test = stream.train_targets, stream.test_targets
    classes = train.ndim == 1 and train.dtype == np.int32
    if len(train) != len(stream.train_inputs) or not (classes or train.dtype == np.float32):
        raise ValueError(
            f"train_targets must be classes, int32 of shape ({len(stream.train_inputs)},), or "
            f"float32 of shape ({len(stream.train_inputs)}, ...): got {train.dtype} of shape "
            f"{train.shape}"
        )
    wanted = (*stream.test_inputs.shape[:2], *train.shape[1:])
    if test.shape != wanted or test.dtype != train.dtype:
        raise ValueError(
            f"test_targets must be {train.dtype} of shape {wanted}: got {test.dtype} of shape "
            f"{test.shape}"
        )
    if not classes:
        return
    for name, labels in (("train_targets", train), ("test_targets", test)):
        if labels.min() < 0 or labels.max() >= MOST_CLASSES:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise ValueError(f"{name} must be classes numbered from 0: got {wrong}")
    trained = np.bincount(train, minlength=int(test.max()) + 1) > 0
    for k, (labels, size) in enumerate(zip(test, stream.test_sizes, strict=True)):
        unknown = labels[:size][~trained[labels[:size]]]
        if unknown.size:
            raise ValueError(
                f"test_targets of task {k + 1} contain class {unknown[0]}, which has no training "
                "example in any task: leave these test examples out"
            )


def check_finite(name: str, values: np.ndarray | None) -> None:
    """Raise if any number is infinite or NaN.

    Args:
        name: Name of the array, for the message.
        values: The array, of any shape and real type; or None.

    Raises:
        ValueError: If one is not finite; the message says how many and where the first is.

    Example:
        >>> check_finite("x_train", np.array([1.0, np.nan]))
        Traceback (most recent call last):
        ValueError: x_train must be finite: got nan at index (1,)...
    """
    if values is None or not np.issubdtype(values.dtype, np.inexact):
        return
    rows = max(1, _CHUNK // max(1, values[:1].size)) if values.ndim else 1
    for start in range(0, len(values) if values.ndim else 1, rows):
        part = values[start : start + rows] if values.ndim else values
        finite = np.isfinite(part)
        if not finite.all():
            where = np.argwhere(~finite)[0]
            found = part[tuple(where)]
            if len(where):
                where[0] += start
            raise ValueError(
                f"{name} must be finite: got {found} at index {tuple(where.tolist())}. Remove such "
                "examples, or fill the gaps"
            )
