"""Metrics of the seed-averaged curve with their propagated errors, as published."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gainjax.metrics.curves import check_curves
from gainjax.metrics.first_task import (
    Version,
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    ratio,
    stability_gap,
    tasks_with_minimum,
    worst_case_accuracy,
)


class Estimate(NamedTuple):
    """A metric of the seed-averaged curve with its propagated error."""

    value: np.ndarray
    error: np.ndarray


def mean_curve_metrics(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> dict[str, Estimate]:
    r"""Return the metrics of the seed-averaged curve of task 1 with their propagated errors.

    This is how the published tables were made. The minimum of a mean curve lies above the mean of
    the minima, so these gaps are smaller than those per seed. The error starts from the standard
    deviation over seeds (dividing by the number of seeds, not one less, and not a standard error)
    of the points that enter a metric, and is propagated as if all points were independent; for a
    gap, the loss and its reference are treated as independent, too. It describes the spread of
    seeds, and is not a confidence interval: for that see :func:`gainjax.statistics.mean_interval`.

    Args:
        accuracy: Curves of task 1, shape (..., seeds, n).
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

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, tables. The error is that of their table script:
        first-order propagation of the seeds' standard deviations (with a divisor of n), as if
        independent. It reproduces every ± of their released curves to the printed digits.
    """
    if np.ndim(accuracy) < 2 or np.shape(accuracy)[-2] == 0:
        raise ValueError(
            f"accuracy must have a seed axis, (..., seeds, n): got shape {np.shape(accuracy)}"
        )
    every_seed = check_curves(accuracy, eval_updates, task_ends, least_tasks=2)
    mean, spread = every_seed.accuracy.mean(axis=-2), every_seed.accuracy.std(axis=-2)
    where = (mean, every_seed.updates, task_ends)  # without an evaluation at update 0
    curves = check_curves(*where)
    num_tasks = len(curves.first)

    end_error = spread[..., curves.last]
    min_error = np.take_along_axis(spread, curves.minimum_columns(), axis=-1)
    before, before_error = curves.at_ends[..., :-1], end_error[..., :-1]
    gaps = stability_gap(*where)
    loss_error = np.hypot(before_error, min_error[..., 1:])
    gap_error = np.hypot(ratio(loss_error, before), gaps * ratio(before_error, before))
    lowest_error = _error_of_mean(min_error[..., tasks_with_minimum(version)])
    worst_error = np.hypot(end_error[..., -1] / num_tasks, (1 - 1 / num_tasks) * lowest_error)

    return {
        "avg_acc": Estimate(average_accuracy(*where), _error_of_mean(end_error)),
        "min_acc": Estimate(average_min_accuracy(*where, version), lowest_error),
        "wc_acc": Estimate(worst_case_accuracy(*where, version), worst_error),
        "avg_sg": Estimate(average_stability_gap(*where), _error_of_mean(gap_error)),
        "sg": Estimate(gaps, gap_error),
    }


def _error_of_mean(errors: np.ndarray) -> np.ndarray:
    """Return the error of a mean over the last axis of independent values."""
    return np.sqrt(np.square(errors).sum(axis=-1)) / errors.shape[-1]
