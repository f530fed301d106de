"""All metrics of curves in one call."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gainjax.metrics.curves import check_accuracy, check_curves
from gainjax.metrics.first_task import Version
from gainjax.metrics.registry import Convention, of_convention


def summarize(
    accuracy: ArrayLike,
    eval_updates: ArrayLike,
    task_ends: ArrayLike,
    seen_accuracy: ArrayLike | None = None,
    *,
    seen_updates: ArrayLike | None = None,
    convention: Convention | None = None,
    version: Version = "v1",
    window: int = 10,
) -> dict[str, np.ndarray]:
    """Return all metrics of every row of curves, one array per metric.

    For the seed-averaged curve pass ``accuracy.mean(axis=seeds)``, or for task 1 with errors use
    :func:`mean_curve_metrics`.

    Args:
        accuracy: Curves of task 1, shape (..., n, 1), or of all tasks, (..., n, K).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,), K at least 2.
        seen_accuracy: Accuracy on the tasks seen so far, shape (..., m), or None.
        seen_updates: Updates after which that was measured, shape (m,); ``eval_updates`` if None.
        convention: "rodriguez-garcia" for the metrics of task 1, "de-lange" for those of all
            tasks, None for whatever the curves allow.
        version: Version of :func:`average_min_accuracy`.
        window: Window of :func:`windowed_forgetting` and :func:`windowed_plasticity`.

    Returns:
        Arrays of shape (...), by the names of :data:`gainjax.metrics.METRICS`. For task 1
        ``avg_sg``, ``min_acc``, ``wc_acc``, ``avg_acc``, ``lowest_at`` and ``recovery``
        (updates, mean over switches), ``recovered`` (fraction of switches) and the same for a
        sustained recovery, ``sustained_recovery`` and ``sustained``; for all tasks
        ``de_lange_acc``, ``de_lange_min_acc``, ``de_lange_wc_acc`` (at the end),
        ``windowed_forgetting`` and ``windowed_plasticity``; given ``seen_accuracy``, also
        ``anytime_accuracy`` and ``final_accuracy``.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, there is no switch, or the
            convention is unknown or needs missing curves.

    Example:
        >>> row = summarize([[0.5], [0.75], [0.25], [1.0]], [1, 2, 3, 4], [2, 4])
        >>> print({name: round(float(value), 3) for name, value in row.items()})
        {'avg_sg': 0.667, 'min_acc': 0.5, 'wc_acc': 0.75, 'avg_acc': 0.875, 'lowest_at': 1.0,
         'recovery': 2.0, 'recovered': 1.0, 'sustained_recovery': 2.0, 'sustained': 1.0}

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, and De Lange et al. 2023, arXiv 2205.13452.
    """
    of_convention(convention)  # raises if it is unknown
    every_task = check_accuracy("accuracy", accuracy, 2)
    num_tasks = np.size(task_ends)
    if every_task.shape[-1] not in (1, num_tasks):
        raise ValueError(
            f"accuracy must hold curves of task 1 or of all {num_tasks} tasks on its last axis, "
            f"(..., n, 1) or (..., n, {num_tasks}): got shape {every_task.shape}"
        )
    has_all = every_task.shape[-1] == num_tasks
    if convention == "de-lange" or has_all:
        check_curves(every_task, eval_updates, task_ends, all_tasks=True)
    inputs = {
        "first_accuracy": every_task[..., 0],
        "eval_updates": np.asarray(eval_updates),
        "task_ends": np.asarray(task_ends),
    }
    if has_all:
        inputs["accuracy"] = every_task
    if seen_accuracy is not None:
        seen = check_accuracy("seen_accuracy", seen_accuracy, 1)
        if seen.shape[:-1] != every_task.shape[:-2]:
            raise ValueError(
                "seen_accuracy must have the leading axes of accuracy, "
                f"{every_task.shape[:-2]}: got shape {seen.shape}"
            )
        inputs["seen_accuracy"] = seen
        inputs["seen_updates"] = np.asarray(eval_updates if seen_updates is None else seen_updates)
    return evaluate(inputs, convention, version=version, window=window)


def evaluate(
    inputs: Mapping[str, np.ndarray], convention: Convention | None = None, **options: Any
) -> dict[str, np.ndarray]:
    """Return every registered metric that the inputs allow.

    Args:
        inputs: Arrays by the names of :data:`gainjax.metrics.INPUTS`, including ``first_accuracy``.
        convention: Leave out the metrics of the other convention; None for all.
        **options: Options of metrics, such as ``window``.
    """
    chosen = of_convention(convention)
    found = {name: metric(inputs, **options) for name, metric in chosen.items()}
    return {name: values for name, values in found.items() if values is not None}
