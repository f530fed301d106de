"""How long task 1 takes to recover from a switch."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike

from gainjax.metrics.curves import check_curves

SUSTAINED = 10  # evaluations for which a recovery must last to count as sustained


class Recovery(NamedTuple):
    """Time to recover from each switch, see :func:`recovery_updates`."""

    updates: Int[np.ndarray, "*runs switches"]
    # Where False, `updates` is the length of the task.
    recovered: Bool[np.ndarray, "*runs switches"]


def recovery_updates(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, sustained: int = 1
) -> Recovery:
    r"""Return how many updates after each switch task 1 regains its accuracy before the switch.

    Counted to the first evaluation, at or after the (first) lowest one of the task, that reaches
    :math:`a_1(t_{k-1})`: an update or two without loss just after the switch are not a recovery.
    0 if accuracy never fell; the length of the task if it did not recover.

    A first recovery may not last: [.75 | 1, .25, 1, .5, .5, .25] recovers at the third evaluation
    and ends at .25. With ``sustained``, accuracy must stay recovered for that many consecutive
    evaluations, or for all that remain of the task; the first of them counts.

    Args:
        accuracy: Curve of task 1, shape (..., n).
        eval_updates: Evaluated updates, 1-based, shape (n,). They limit the resolution.
        task_ends: Last update of each task, shape (K,).
        sustained: Number of evaluations for which accuracy must stay recovered, at least 1.

    Returns:
        Updates to recovery and whether there was one, both of shape (..., K-1).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, there is no switch, or
            ``sustained`` is below 1.

    Example:
        >>> recovery_updates([0.8, 0.2, 0.9, 0.9, 0.7], [10, 15, 20, 25, 30], [10, 20, 30])
        Recovery(updates=array([10, 10]), recovered=array([ True, False]))
        >>> passing = [0.75, 1.0, 0.25, 1.0, 0.5, 0.5, 0.25], range(1, 8), [1, 7]
        >>> recovery_updates(*passing).updates, recovery_updates(*passing, sustained=2).recovered
        (array([3]), array([False]))

    References:
        Ours.
    """
    if not isinstance(sustained, int | np.integer) or sustained < 1:
        raise ValueError(f"sustained must be a whole number of evaluations: got {sustained!r}")
    curves = check_curves(accuracy, eval_updates, task_ends, least_tasks=2)
    before = curves.at_ends[..., :-1]
    bottom = curves.minimum_columns()[..., 1:]
    columns = np.arange(curves.accuracy.shape[-1])
    updates = np.empty(before.shape, np.int64)
    recovered = np.empty(before.shape, bool)
    for switch, (first, last) in enumerate(zip(curves.first[1:], curves.last[1:], strict=True)):
        task = slice(first, last + 1)
        back = curves.accuracy[..., task] >= before[..., switch, None]
        back &= columns[task] >= bottom[..., switch, None]
        back = _lasting(back, sustained)
        elapsed = curves.updates[task] - curves.updates[first - 1]
        recovered[..., switch] = back.any(axis=-1)
        updates[..., switch] = np.where(
            recovered[..., switch], elapsed[back.argmax(axis=-1)], elapsed[-1]
        )
    updates[curves.minima[..., 1:] >= before] = 0
    return Recovery(updates, recovered)


def updates_to_minimum(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Int[np.ndarray, "*runs switches"]:
    r"""Return how many updates after each switch the accuracy on task 1 is lowest.

    .. math:: \arg\min_{t_{k-1} < n \le t_k} a_1(n) - t_{k-1}

    Args:
        accuracy: Curve of task 1, shape (..., n).
        eval_updates: Evaluated updates, 1-based, shape (n,). They limit the resolution.
        task_ends: Last update of each task, shape (K,).

    Returns:
        Updates to the first of the lowest accuracies, shape (..., K-1), int64.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> updates_to_minimum([0.8, 0.4, 0.2, 0.9], [10, 12, 15, 20], [10, 20])
        array([5])

    References:
        Ours.
    """
    curves = check_curves(accuracy, eval_updates, task_ends, least_tasks=2)
    columns = curves.minimum_columns()[..., 1:]
    return curves.updates[columns] - curves.updates[curves.last[:-1]]


def _lasting(back: Bool[np.ndarray, "*runs n"], count: int) -> Bool[np.ndarray, "*runs n"]:
    """Return where values stay true for `count` columns or to the end: (..., n)."""
    length = back.shape[-1]
    columns = np.arange(length)
    # The next column without recovery; the end of the task does not interrupt a recovery.
    gone = np.where(back, length + count, columns)
    upcoming = np.minimum.accumulate(gone[..., ::-1], axis=-1)[..., ::-1]
    return upcoming - columns >= count
