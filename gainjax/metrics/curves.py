"""Validation of accuracy curves, and the columns of each task."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Int64
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    Numbers = np.ndarray
else:  # without leading axes NumPy returns scalars, whatever its annotations say
    Numbers = np.ndarray | np.generic


class Curves(NamedTuple):
    """Checked curves. Task k, from 0, was evaluated in columns first[k] to last[k] inclusive."""

    accuracy: Float64[np.ndarray, "*runs n"] | Float64[np.ndarray, "*runs n tasks"]
    updates: Int64[np.ndarray, "n"]
    first: Int64[np.ndarray, "tasks"]
    last: Int64[np.ndarray, "tasks"]

    @property
    def at_ends(self) -> Float[np.ndarray, "*runs tasks"]:
        """Accuracy at the end of each task."""
        return self.accuracy[..., self.last]

    @property
    def minima(self) -> Float[np.ndarray, "*runs tasks"]:
        """Lowest accuracy within each task."""
        return np.minimum.reduceat(self.accuracy, self.first, axis=-1)

    def minimum_columns(self) -> Int[np.ndarray, "*runs tasks"]:
        """Column of the first lowest accuracy within each task."""
        tasks = zip(self.first, self.last, strict=True)
        columns = [first + self.accuracy[..., first : last + 1].argmin(-1) for first, last in tasks]
        return np.stack(columns, axis=-1)


def check_curves(
    accuracy: ArrayLike,
    eval_updates: ArrayLike,
    task_ends: ArrayLike,
    *,
    least_tasks: int = 1,
    all_tasks: bool = False,
    names: tuple[str, str] = ("accuracy", "eval_updates"),
    with_start: bool = False,
) -> Curves:
    """Return the curves with the columns of each task, or raise if they do not fit together.

    An evaluation before the first update, at update 0, counts only with `with_start`.
    """
    curves = check_accuracy(names[0], accuracy, 2 if all_tasks else 1)
    updates = check_updates(names[1], eval_updates)
    ends = check_updates("task_ends", task_ends, least=1)
    if len(ends) < least_tasks:
        raise ValueError(f"task_ends must have at least {least_tasks} tasks: got {ends.tolist()}")
    wanted = (len(updates), len(ends)) if all_tasks else (len(updates),)
    if curves.shape[-len(wanted) :] != wanted:
        axes = f"(..., {names[1]}, tasks)" if all_tasks else f"(..., {names[1]})"
        raise ValueError(f"{names[0]} must end in the shape {wanted}, {axes}: got {curves.shape}")
    missing = np.setdiff1d(ends, updates)
    if missing.size:
        raise ValueError(
            f"task_ends must be among {names[1]}: {missing.tolist()} were not evaluated; "
            "evaluate at the end of each task"
        )
    if updates[-1] != ends[-1]:
        raise ValueError(
            f"{names[1]} must end with the last task, at {ends[-1]}: got {updates[-1]}; "
            "task_ends has one entry per task, also for the last one"
        )
    if updates[0] == 0 and not with_start:
        curves, updates = (curves[..., 1:, :] if all_tasks else curves[..., 1:]), updates[1:]
    last = np.searchsorted(updates, ends)
    return Curves(curves, updates, np.concatenate([[0], last[:-1] + 1]), last)


def check_accuracy(name: str, values: ArrayLike, axes: int) -> Float64[np.ndarray, "..."]:
    """Return accuracies as float64, or raise."""
    if np.ma.is_masked(values):
        raise TypeError(f"{name} must not be masked: leave out what was not measured")
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers: got dtype {array.dtype}")
    if array.ndim < axes or 0 in array.shape[-axes:]:
        wanted = "(..., n, tasks)" if axes == 2 else "(..., n)"
        raise ValueError(f"{name} must have shape {wanted}, not empty: got {array.shape}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise ValueError(
            f"{name} must be finite: got {array[wrong][0]} at index "
            f"{tuple(np.argwhere(wrong)[0].tolist())}; leave out what was not measured"
        )
    return array.astype(np.float64)


def check_updates(
    name: str, values: ArrayLike, least: int = 0, *, may_be_empty: bool = False
) -> Int64[np.ndarray, "n"]:
    """Return strictly increasing update numbers as int64, or raise.

    Args:
        name: Name of the argument, for the message.
        values: The numbers.
        least: The smallest allowed number: 0 if networks may be evaluated before the first update.
        may_be_empty: Whether there may be none.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not in order, too small, or not a list.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not (array.size or may_be_empty):
        raise ValueError(f"{name} must be a list of update numbers: got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers: got dtype {array.dtype}")
    array = array.astype(np.int64)
    if (array < least).any() or (np.diff(array) <= 0).any():
        raise ValueError(
            f"{name} must be strictly increasing, from {least} on: got {array.tolist()}"
        )
    return array
