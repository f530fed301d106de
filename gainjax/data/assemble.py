"""Assemble the arrays of a stream from the examples of its tasks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gainjax.checks import check_integer
from gainjax.data.stream import Stream, check_finite, check_stream

_EVAL_SEED = 0  # the evaluation subset is part of a benchmark, so the seed of a run does not matter
_CHUNK = 2**22  # pixels counted at a time


class Task(NamedTuple):
    """The examples of one task, already in the types of a stream.

    Args:
        x_train: Raw inputs, shape (N, ...).
        y_train: int32, shape (N,), or float32, shape (N, ...).
        x_test: As the training inputs.
        y_test: As the training targets.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def assemble(
    tasks: Sequence[Task],
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Return the stream of some tasks.

    Args:
        tasks: The examples of each task.
        mean: Mean of raw inputs, broadcast over their last axes; see :func:`normalization`.
        std: As the mean.
        eval_examples: At most this many test examples per task, a fixed random subset, or all.

    Returns:
        The stream, checked.

    Raises:
        ValueError: If the tasks do not match, or the stream would be invalid.

    Example:
        >>> x, y = np.zeros((3, 2), np.float32), np.zeros(3, np.int32)
        >>> assemble([Task(x, y, x, y)]).test_inputs.shape
        (1, 3, 2)
    """
    if eval_examples is not None:
        check_integer("eval_examples", eval_examples, 1)
        tasks = [_evaluated(task, eval_examples) for task in tasks]
    _check_alike(tasks)
    shift, scale = normalization([task.x_train for task in tasks], mean, std)
    task_end = np.cumsum([len(task.x_train) for task in tasks])
    if task_end[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"a stream holds at most 2**31 - 1 training examples: got {task_end[-1]}")
    train_inputs = np.concatenate([task.x_train for task in tasks])
    if train_inputs.dtype == bool:
        train_inputs = train_inputs.view(np.uint8)
    test_inputs, test_targets, test_sizes = _padded_tests(tasks, shift, scale)
    stream = Stream(
        train_inputs=train_inputs,
        train_targets=np.concatenate([task.y_train for task in tasks]),
        task_start=np.concatenate([[0], task_end[:-1]]).astype(np.int32),
        task_end=task_end.astype(np.int32),
        test_inputs=test_inputs,
        test_targets=test_targets,
        test_sizes=test_sizes,
        shift=shift,
        scale=scale,
    )
    check_stream(stream)
    return stream


def _padded_tests(
    tasks: Sequence[Task], shift: np.ndarray | None, scale: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return normalized test inputs and targets, padded to the largest set, and its sizes."""
    first = tasks[0]
    sizes = np.array([len(task.x_test) for task in tasks], np.int32)
    dtype = first.x_train.dtype if shift is None else np.float32
    test_inputs = np.zeros((len(tasks), sizes.max(), *first.x_train.shape[1:]), dtype)
    test_targets = np.zeros((len(tasks), sizes.max(), *first.y_train.shape[1:]), first.y_test.dtype)
    for k, task in enumerate(tasks):
        normalized = test_inputs[k, : sizes[k]]
        if shift is None or scale is None:
            normalized[:] = task.x_test
        else:  # the same arithmetic as on the device: subtract, then multiply, in float32
            options: Any = {"out": normalized, "dtype": np.float32, "casting": "unsafe"}
            np.subtract(task.x_test, shift, **options)
            np.multiply(normalized, scale, **options)
        test_targets[k, : sizes[k]] = task.y_test
    return test_inputs, test_targets, sizes


def normalization(
    inputs: Sequence[np.ndarray], mean: ArrayLike | None = None, std: ArrayLike | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    r"""Return shift and scale of raw inputs, :math:`x = (r - \mu) / \sigma`.

    A given mean and standard deviation are used as they are. Without them, pixels (uint8) are
    standardized: if an input has three or more axes, such as (H, W, C), and the last has at most 4
    entries, these are channels, each with its own mean and deviation; otherwise there is one of
    each. A constant channel keeps its scale. Booleans become 0 and 1; anything else is unchanged.

    Args:
        inputs: Raw training inputs of each task, shape (N, ...).
        mean: Mean in the units of the raw inputs (0 to 255 for pixels), or None.
        std: Standard deviation in the same units, or None.

    Returns:
        Shift and scale, float32; None and None if inputs are used as they are.

    Raises:
        ValueError: If only one is given, they do not fit the inputs or are in other units, or
            the standard deviation is not positive.

    Example:
        >>> normalization([np.array([[0, 10]], np.uint8)])
        (array(5., dtype=float32), array(0.2, dtype=float32))
    """
    first = inputs[0]
    if (mean is None) != (std is None):
        raise ValueError("mean and std must both be given, or neither")
    if mean is not None and std is not None:
        mean, std = (_number(name, x, first) for name, x in (("mean", mean), ("std", std)))
        if not (std > 0).all():
            raise ValueError(f"std must be positive: got {std.min()}")
        sample = first[:: max(1, len(first) // 1000)]
        if first.dtype == np.uint8 and std.max() * 20 < sample.std():
            raise ValueError(
                f"mean and std must be in the units of the raw inputs, 0 to 255: got a std of "
                f"{std.max():g}, and pixels have {sample.std():.3g}. Multiply both by 255"
            )
    elif first.dtype == np.uint8:
        mean, std = _pixel_statistics(inputs)
    elif first.dtype == bool:
        mean, std = np.float32(0), np.float32(1)
    else:
        return None, None
    return np.asarray(mean, np.float32), np.asarray(np.float32(1) / std, np.float32)


def _number(name: str, value: ArrayLike, inputs: np.ndarray) -> np.ndarray:
    """Return a given mean or standard deviation as float32, of a shape that fits the inputs."""
    try:
        array = np.asarray(value).astype(np.float32, casting="same_kind")
        np.broadcast_to(array, inputs.shape[1:])
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be numbers that broadcast over inputs of shape {inputs.shape[1:]}, such "
            f"as one per channel: got {value!r}"
        ) from None
    check_finite(name, array)
    return array


def _pixel_statistics(inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of bytes, per channel; exact up to the final rounding."""
    shape = inputs[0].shape[1:]
    channels = shape[-1] if len(shape) >= 3 and shape[-1] <= 4 else 1
    counts = np.zeros((channels, 256), np.int64)
    for part in inputs:
        pixels = part.reshape(-1, channels)
        for start in range(0, len(pixels), _CHUNK):
            for c in range(channels):
                counts[c] += np.bincount(pixels[start : start + _CHUNK, c], minlength=256)
    value = np.arange(256)
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ value
    std = np.sqrt((share * (value - mean[:, None]) ** 2).sum(1))
    std[(counts > 0).sum(1) == 1] = 1
    if len(shape) >= 3 and shape[-1] <= 4:
        return mean.astype(np.float32), std.astype(np.float32)
    return mean.astype(np.float32)[0], std.astype(np.float32)[0]


def _check_alike(tasks: Sequence[Task]) -> None:
    """Raise unless the inputs and targets of all tasks have one type and shape."""
    first = tasks[0]
    for k, task in enumerate(tasks):
        for name in ("x_train", "x_test", "y_train", "y_test"):
            array = getattr(task, name)
            model = first.x_train if name[0] == "x" else first.y_train
            if array.dtype != model.dtype or array.shape[1:] != model.shape[1:]:
                raise ValueError(
                    f"{name} of task {k + 1} must be {model.dtype} of shape "
                    f"{('N', *model.shape[1:])}, as {name[0]}_train of task 1 is: got "
                    f"{array.dtype} of shape {array.shape}"
                )


def _evaluated(task: Task, size: int) -> Task:
    """Return a task with at most `size` test examples, a random subset in the original order.

    The seed is fixed, so tasks with equally large test sets keep the same examples.
    """
    if size >= len(task.x_test):
        return task
    rng = np.random.default_rng(_EVAL_SEED)
    index = np.sort(rng.choice(len(task.x_test), size, replace=False))
    return task._replace(x_test=task.x_test[index], y_test=task.y_test[index])
