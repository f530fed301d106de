"""Metrics of task 1, in the convention of Rodriguez-Garcia et al."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gainjax.metrics.curves import check_curves

Version = Literal["v1", "v2"]


class Recovery(NamedTuple):
    """Time to recover from each switch, see :func:`recovery_updates`."""

    updates: np.ndarray  # int64, (..., K-1)
    recovered: np.ndarray  # bool, (..., K-1); where False, `updates` is the length of the task


class Estimate(NamedTuple):
    """A metric of the seed-averaged curve with its propagated error."""

    value: np.ndarray
    error: np.ndarray


def stability_gap(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, task: int = 1
) -> np.ndarray:
    r"""Return the relative loss of accuracy on a task within each later task.

    .. math:: SG_k = \frac{a(t_{k-1}) - \min_{t_{k-1} < n \le t_k} a(n)}{a(t_{k-1})}

    Below 0 where accuracy only rose. Where there was no accuracy to lose, :math:`a(t_{k-1}) = 0`,
    the gap is 0: a network that has learnt nothing shows no gap, so read it beside the accuracy.

    Args:
        accuracy: Curve of the task, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        task: The task that the curve is of, 1 to K-1; only switches after it count.

    Returns:
        The gaps of the switches, shape (..., K - task), at most 1.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> stability_gap([0.5, 0.8, 0.2, 0.9], eval_updates=[1, 2, 3, 4], task_ends=[2, 4])
        array([0.75])

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, stability gap (there for task 1).
    """
    curves = check_curves(accuracy, eval_updates, task_ends, least_tasks=2)
    if task not in range(1, len(curves.first)):
        raise ValueError(
            f"task must be from 1 to {len(curves.first) - 1}, the last one with a switch after it: "
            f"got {task!r}"
        )
    before = curves.at_ends[..., task - 1 : -1]
    return _ratio(before - curves.minima[..., task:], before)


def average_stability_gap(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, task: int = 1
) -> np.ndarray:
    r"""Return the mean of :func:`stability_gap` over switches, avg-SG.

    Args:
        accuracy: Curve of the task, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        task: The task that the curve is of, 1 to K-1; only switches after it count.

    Returns:
        The mean gap, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> float(average_stability_gap([1.0, 0.25, 0.5, 0.5], [1, 2, 3, 4], [1, 3, 4]))
        0.375

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-SG.
    """
    return stability_gap(accuracy, eval_updates, task_ends, task).mean(axis=-1)


def average_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> np.ndarray:
    r"""Return the accuracy on task 1, averaged over the ends of all tasks, avg-ACC.

    .. math:: \frac{1}{K} \sum_{k=1}^{K} a_1(t_k)

    Args:
        accuracy: Curve of task 1, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).

    Returns:
        The average accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together.

    Example:
        >>> float(average_accuracy([0.5, 0.75, 0.25, 1.0], [1, 2, 3, 4], [2, 4]))
        0.875

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-ACC.
    """
    return check_curves(accuracy, eval_updates, task_ends).at_ends.mean(axis=-1)


def average_min_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> np.ndarray:
    r"""Return the lowest accuracy on task 1 within a task, averaged over tasks, avg-min-ACC.

    .. math:: \frac{1}{K-1} \sum_k \min_{t_{k-1} < n \le t_k} a_1(n)

    over k = 1..K-1 ("v1": includes the untrained start, leaves out the last task) or k = 2..K
    ("v2": exactly the tasks that follow a switch).

    Args:
        accuracy: Curve of task 1, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        version: "v1" as in the paper's first version, "v2" as in the second and third.

    Returns:
        The average minimum, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> curve = dict(accuracy=[0.1, 0.8, 0.2, 0.9], eval_updates=[1, 2, 3, 4], task_ends=[2, 4])
        >>> float(average_min_accuracy(**curve)), float(average_min_accuracy(**curve, version="v2"))
        (0.1, 0.2)

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-min-ACC (v1; v2 and v3).
    """
    minima = check_curves(accuracy, eval_updates, task_ends, least_tasks=2).minima
    return minima[..., _tasks_with_minimum(version)].mean(axis=-1)


def worst_case_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> np.ndarray:
    r"""Return the worst-case accuracy on task 1, WC-ACC in the convention rodriguez-garcia.

    .. math:: \frac{1}{K} a_1(t_K) + \left(1 - \frac{1}{K}\right) \text{avg-min-ACC}

    Args:
        accuracy: Curve of task 1, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        version: Version of :func:`average_min_accuracy`.

    Returns:
        The worst-case accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> float(worst_case_accuracy([0.25, 0.8, 0.2, 0.75], [1, 2, 3, 4], [2, 4]))
        0.5

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, WC-ACC. For De Lange et al. see
        :func:`de_lange_worst_case_accuracy`.
    """
    lowest = average_min_accuracy(accuracy, eval_updates, task_ends, version)
    at_ends = check_curves(accuracy, eval_updates, task_ends).at_ends
    num_tasks = at_ends.shape[-1]
    return at_ends[..., -1] / num_tasks + (1 - 1 / num_tasks) * lowest


def mean_curve_metrics(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> dict[str, Estimate]:
    r"""Return the metrics of the seed-averaged curve of task 1 with their propagated errors.

    This is how the published tables were made. The minimum of a mean curve lies above the mean of
    the minima, so these gaps are smaller than those per seed. The error starts from the standard
    deviation over seeds (divided by the number of seeds, not one less, and not a standard error)
    of the points that enter a metric, and is propagated as if all points were independent; in a
    gap, the loss and its reference are taken as independent too. It describes the spread of seeds,
    and is no confidence interval: for one see :func:`gainjax.statistics.bootstrap_interval`.

    Args:
        accuracy: Curves of task 1, shape (..., seeds, n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        version: Version of :func:`average_min_accuracy`.

    Returns:
        ``avg_acc``, ``min_acc``, ``wc_acc`` and ``avg_sg``, each of shape (...), and ``sg``, one
        gap per switch, shape (..., K-1).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> seeds = [[0.1, 0.8, 0.4, 0.9], [0.1, 1.0, 0.6, 0.9]]
        >>> gap = mean_curve_metrics(seeds, [1, 2, 3, 4], [2, 4])["avg_sg"]
        >>> print(f"{gap.value:.3f} ± {gap.error:.3f}")
        0.444 ± 0.165

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, tables. The formula of the error is inferred:
        it gives every ± of the authors' released curves to the digits printed.
    """
    if np.ndim(accuracy) < 2 or np.shape(accuracy)[-2] == 0:
        raise ValueError(
            f"accuracy must have a seed axis, (..., seeds, n): got shape {np.shape(accuracy)}"
        )
    every_seed = check_curves(accuracy, eval_updates, task_ends, least_tasks=2).accuracy
    mean, spread = every_seed.mean(axis=-2), every_seed.std(axis=-2)
    curves = check_curves(mean, eval_updates, task_ends)
    num_tasks = len(curves.first)

    end_error = spread[..., curves.last]
    min_error = np.take_along_axis(spread, curves.minimum_columns(), axis=-1)
    before, before_error = curves.at_ends[..., :-1], end_error[..., :-1]
    gaps = stability_gap(mean, eval_updates, task_ends)
    loss_error = np.hypot(before_error, min_error[..., 1:])
    gap_error = np.hypot(_ratio(loss_error, before), gaps * _ratio(before_error, before))
    lowest_error = _error_of_mean(min_error[..., _tasks_with_minimum(version)])
    worst_error = np.hypot(end_error[..., -1] / num_tasks, (1 - 1 / num_tasks) * lowest_error)

    where = (mean, eval_updates, task_ends)
    return {
        "avg_acc": Estimate(average_accuracy(*where), _error_of_mean(end_error)),
        "min_acc": Estimate(average_min_accuracy(*where, version), lowest_error),
        "wc_acc": Estimate(worst_case_accuracy(*where, version), worst_error),
        "avg_sg": Estimate(average_stability_gap(*where), _error_of_mean(gap_error)),
        "sg": Estimate(gaps, gap_error),
    }


def recovery_updates(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Recovery:
    r"""Return how many updates after each switch task 1 is back at its accuracy before it.

    Counted to the first evaluation, at or after the (first) lowest one of the task, that reaches
    :math:`a_1(t_{k-1})`: an update or two without loss just after the switch are no recovery.
    0 if accuracy never fell below; the length of the task if it did not come back.

    Args:
        accuracy: Curve of task 1, shape (..., n), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,). They limit the resolution.
        task_ends: Last update of each task, shape (K,).

    Returns:
        Updates to recovery and whether there was one, both of shape (..., K-1).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> recovery_updates([0.8, 0.2, 0.9, 0.9, 0.7], [10, 15, 20, 25, 30], [10, 20, 30])
        Recovery(updates=array([10, 10]), recovered=array([ True, False]))

    Source:
        Ours.
    """
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
        elapsed = curves.updates[task] - curves.updates[first - 1]
        recovered[..., switch] = back.any(axis=-1)
        updates[..., switch] = np.where(
            recovered[..., switch], elapsed[back.argmax(axis=-1)], elapsed[-1]
        )
    updates[curves.minima[..., 1:] >= before] = 0
    return Recovery(updates, recovered)


def _tasks_with_minimum(version: str) -> slice:
    """Return the tasks, from 0, whose minima enter avg-min-ACC."""
    slices = {"v1": slice(None, -1), "v2": slice(1, None)}
    if version not in slices:
        raise ValueError(f"version must be one of {tuple(slices)}: got {version!r}")
    return slices[version]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the denominator is 0."""
    zero = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    return np.divide(numerator, denominator, out=zero, where=denominator != 0)


def _error_of_mean(errors: np.ndarray) -> np.ndarray:
    """Return the error of a mean over the last axis of independent values."""
    return np.sqrt(np.square(errors).sum(axis=-1)) / errors.shape[-1]
