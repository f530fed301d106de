"""Scenarios: arrays in memory, arranged as sequences of tasks.

A stream is built once on the host and is the same for all seeds of a run. All its tasks share one
set of outputs, and nothing in it tells a network which task an example belongs to.

Inputs are treated the same way in all scenarios. Pixels (uint8) are stored unchanged and
standardized on the device, by the statistics of the training inputs; see
:func:`gainjax.data.assemble.normalization`. Floats become float32 and integers int32 (token
sequences, for example); both reach the network unchanged. Booleans reach it as 0 and 1.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gainjax.data.assemble import Task, assemble
from gainjax.data.convert import as_array, as_classes, as_inputs, as_targets, check_classes, is_text
from gainjax.data.dataset import Dataset
from gainjax.data.stream import Stream

Transform = Callable[[np.ndarray], ArrayLike]
_NAMES = ("x_train", "y_train", "x_test", "y_test")


def class_incremental(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    tasks: Iterable[Iterable[Any]],
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Divide classes among tasks: each task brings new ones.

    Labels are kept and number the outputs, so a network needs as many outputs as the highest label
    in any task, plus one. Text labels are numbered in sorted order over all classes of all tasks.
    Examples of classes in no task are left out.

    Args:
        x_train: Training inputs, shape (N, ...), of any real type.
        y_train: Their classes, integers >= 0 or strings, shape (N,) or (N, 1).
        x_test: Test inputs, as the training inputs.
        y_test: Test classes, as the training classes.
        tasks: The classes of each task; tasks may have different numbers of classes.
        mean: Mean of the raw inputs (pixels: 0 to 255), broadcast over their last axes, or None
            for the default of their type.
        std: Standard deviation, as the mean.
        eval_examples: At most this many test examples per task, a fixed random subset, or all.

    Returns:
        The stream.

    Raises:
        TypeError: If inputs or labels are of the wrong kind.
        ValueError: If lengths or shapes do not match, a class is in two tasks or has no training
            examples, a task has no test examples, or a number is not finite.

    Example:
        >>> from gainjax.data import load_source
        >>> digits = load_source("digits")
        >>> stream = class_incremental(*digits[:4], tasks=[[7, 1, 3], [9, 0], [2]])
        >>> np.unique(stream.train_targets[stream.task_start[1] : stream.task_end[1]])
        array([0, 9], dtype=int32)
    """
    arrays = [as_inputs("x_train", x_train), as_classes("y_train", y_train)]
    arrays += [as_inputs("x_test", x_test), as_classes("y_test", y_test)]
    _check_lengths(arrays)
    classes = _classes_of_tasks(tasks, arrays[1])
    if is_text(arrays[1]) != is_text(arrays[3]):
        raise TypeError("y_train and y_test must both be integers, or both strings")
    every = sorted(c for task in classes for c in task)
    parts = [_of_classes(k, task, every, arrays) for k, task in enumerate(classes)]
    return assemble(parts, mean, std, eval_examples)


def domain_incremental(
    tasks: Iterable[Sequence[ArrayLike]],
    *,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Use a different data set in every task, with the same meaning of the outputs.

    Integers, booleans and strings of shape (N,) are classes and are kept; strings are numbered in
    sorted order over all tasks. All other targets, such as floats of shape (N,) or (N, k) for
    regression, or zeros and ones of shape (N, k) for multiple labels, become float32.

    Args:
        tasks: Arrays ``(x_train, y_train, x_test, y_test)`` for each task, or a
            :class:`gainjax.data.Dataset` each. Inputs of all tasks have the same shape and type.
        mean: As for :func:`class_incremental`; by default from the pixels of all tasks.
        std: As the mean.
        eval_examples: At most this many test examples per task, a fixed random subset (the same
            for test sets of equal length), or all.

    Returns:
        The stream.

    Raises:
        TypeError: If inputs or targets are of the wrong kind.
        ValueError: If lengths, shapes or types do not match, a label is negative, or a number is
            not finite.

    Example:
        >>> x = np.linspace(0, 1, 40)[:, None]
        >>> rising, falling = (x, x[:, 0], x, x[:, 0]), (x, -x[:, 0], x, -x[:, 0])
        >>> domain_incremental([rising, falling]).test_targets.shape
        (2, 40)
    """
    given = [_four(k, task) for k, task in enumerate(_listed("tasks", tasks))]
    inputs, targets, names = [], [], []
    for k, task in enumerate(given):
        own = [f"{name} of task {k + 1}" for name in _NAMES]
        inputs += [as_inputs(own[i], task[i]) for i in (0, 2)]
        targets += [task[i] for i in (1, 3)]
        names += [own[i] for i in (1, 3)]
    labels = as_targets(names, targets)
    parts = []
    for k in range(len(given)):
        x, y = inputs[2 * k : 2 * k + 2], labels[2 * k : 2 * k + 2]
        arrays = [x[0], y[0], x[1], y[1]]
        _check_lengths(arrays, f" of task {k + 1}")
        parts.append(Task(*arrays))
    return assemble(parts, mean, std, eval_examples)


def transformed(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    transforms: Iterable[Transform | None],
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Use all examples in every task, with the inputs changed by the task's own transformation.

    Args:
        x_train: Training inputs, shape (N, ...), of any real type.
        y_train: Their targets, as for :func:`domain_incremental`.
        x_test: Test inputs, as the training inputs.
        y_test: Test targets, as the training targets.
        transforms: One function per task, or None to leave the inputs unchanged. A function takes
            raw inputs (N, ...), which it must not modify in place, and returns N raw inputs. It is
            applied once each to the training and the test inputs. Shape and type must be the same
            for all tasks.
        mean: As for :func:`class_incremental`; by default from the pixels of all tasks.
        std: As the mean.
        eval_examples: At most this many test examples per task, a fixed random subset (the same in
            every task), or all.

    Returns:
        The stream.

    Raises:
        TypeError: If inputs, targets or a transformation are of the wrong kind.
        ValueError: As :func:`domain_incremental`, or if a transformation changes the number of
            inputs.

    Example:
        >>> from gainjax.data import load_source
        >>> digits = load_source("digits")
        >>> stream = transformed(
        ...     *digits[:4], transforms=[None, lambda x: x[:, ::-1], lambda x: 16 - x]
        ... )
        >>> stream.task_end - stream.task_start
        array([1442, 1442, 1442], dtype=int32)
    """
    sides = [as_array("x_train", x_train).view(), as_array("x_test", x_test).view()]
    for side in sides:
        side.flags.writeable = False
    tasks = []
    for k, transform in enumerate(_listed("transforms", transforms)):
        if transform is not None and not callable(transform):
            raise TypeError(
                f"transforms must be functions of raw inputs, or None: got {transform!r} for task "
                f"{k + 1}"
            )
        changed = [side if transform is None else _changed(k, transform, side) for side in sides]
        tasks.append((changed[0], y_train, changed[1], y_test))
    return domain_incremental(tasks, mean=mean, std=std, eval_examples=eval_examples)


def _changed(k: int, transform: Transform, inputs: np.ndarray) -> np.ndarray:
    """Return raw inputs after the transformation of task k."""
    result = as_array(f"the result of the transformation of task {k + 1}", transform(inputs))
    if len(result) != len(inputs):
        raise ValueError(
            f"the transformation of task {k + 1} must return as many inputs as it gets, "
            f"{len(inputs)}: got {len(result)}"
        )
    return result


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    """Return one entry per task as a list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list with an entry for each task: got {values!r}")
    entries = list(values)
    if not entries:
        raise ValueError(f"{name} must have an entry for at least one task: got none")
    return entries


def _classes_of_tasks(tasks: Iterable[Iterable[Any]], labels: np.ndarray) -> list[list[Any]]:
    """Return the classes of each task, checked for overlap and against the training labels."""
    known = set(np.unique(labels).tolist())
    result: list[list[Any]] = []
    home: dict[Any, int] = {}
    for k, task in enumerate(_listed("tasks", tasks)):
        if isinstance(task, str) or not isinstance(task, Iterable):
            raise TypeError(
                f"tasks must list the classes of each task, such as [[0, 1], [2]]: got {task!r} as "
                f"task {k + 1}"
            )
        classes = [c.item() if isinstance(c, np.generic) else c for c in task]
        if not classes:
            raise ValueError(f"task {k + 1} lists no classes: leave it out")
        for c in classes:
            if isinstance(c, bool) or not isinstance(c, str if is_text(labels) else int):
                kind = "a string" if is_text(labels) else "an integer"
                which = "; class_names of a data set maps names to classes" * isinstance(c, str)
                raise TypeError(f"a class in tasks must be {kind}, as in y_train: got {c!r}{which}")
            if c in home:
                where = f"tasks {home[c]} and {k + 1}" if home[c] != k + 1 else f"task {k + 1}"
                raise ValueError(f"class {c!r} is listed twice, in {where}: list it once")
            if c not in known:
                raise ValueError(
                    f"class {c!r} of task {k + 1} has no training example: y_train holds "
                    f"{_few(sorted(known))}"
                )
            home[c] = k + 1
        if not is_text(labels):
            check_classes(f"task {k + 1}", np.array(classes))
        result.append(classes)
    return result


def _of_classes(k: int, classes: list[Any], every: list[Any], arrays: Sequence[np.ndarray]) -> Task:
    """Return the task of some classes; texts are numbered by their index in `every`."""
    result = []
    for x, y in (arrays[:2], arrays[2:]):
        index = np.flatnonzero(np.isin(y, classes))
        if not index.size:  # for training examples, this is already checked
            raise ValueError(f"task {k + 1} has no test example: y_test holds none of {classes}")
        labels = np.searchsorted(every, y[index]) if is_text(y) else y[index]
        result += [x[index], labels.astype(np.int32)]
    return Task(*result)


def _few(values: Sequence[Any]) -> str:
    """Return the first values as text, for messages."""
    shown = ", ".join(repr(value) for value in values[:10])
    return shown if len(values) <= 10 else f"{shown}, ... ({len(values)} classes)"


def _four(k: int, task: Any) -> Sequence[ArrayLike]:
    """Return the four arrays of a task."""
    if isinstance(task, Dataset):
        return task[:4]
    if not isinstance(task, (tuple, list)) or len(task) != 4:
        raise TypeError(
            "tasks must list (x_train, y_train, x_test, y_test) for each task: got "
            f"{type(task).__name__}{f' of {len(task)}' if hasattr(task, '__len__') else ''} as "
            f"task {k + 1}"
        )
    return task


def _check_lengths(arrays: Sequence[np.ndarray], where: str = "") -> None:
    """Raise unless there are as many targets as inputs."""
    for x, y in ((0, 1), (2, 3)):
        if len(arrays[x]) != len(arrays[y]):
            raise ValueError(
                f"{_NAMES[x]}{where} and {_NAMES[y]}{where} must have equal length: got "
                f"{len(arrays[x])} inputs and {len(arrays[y])} targets"
            )
