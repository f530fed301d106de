"""All metrics of curves at once."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gainjax.metrics.all_tasks import (
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    windowed_forgetting,
    windowed_plasticity,
)
from gainjax.metrics.curves import check_accuracy
from gainjax.metrics.first_task import (
    Version,
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    recovery_updates,
    worst_case_accuracy,
)
from gainjax.metrics.seen_tasks import (
    anytime_accuracy,
)

Convention = Literal["rodriguez-garcia", "de-lange"]


def summarize(
    accuracy: ArrayLike,
    eval_updates: ArrayLike,
    task_ends: ArrayLike,
    seen_accuracy: ArrayLike | None = None,
    *,
    convention: Convention | None = None,
    version: Version = "v1",
    window: int = 10,
) -> dict[str, np.ndarray]:
    """Return all metrics of every row of curves, one array per metric.

    For the seed-averaged curve pass ``accuracy.mean(axis=seeds)``, or for task 1 with errors use
    :func:`mean_curve_metrics`.

    Args:
        accuracy: Curves of task 1, shape (..., n, 1), or of all tasks, (..., n, K), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,), K at least 2.
        seen_accuracy: Accuracy on the tasks seen so far, shape (..., m) with any m, or None.
        convention: "rodriguez-garcia" for the metrics of task 1, "de-lange" for those of all
            tasks, None for whatever the curves allow.
        version: Version of :func:`average_min_accuracy`.
        window: Window of :func:`windowed_forgetting` and :func:`windowed_plasticity`.

    Returns:
        Arrays of shape (...). For task 1 ``avg_sg``, ``min_acc``, ``wc_acc``, ``avg_acc``,
        ``recovery`` (updates, mean over switches) and ``recovered`` (fraction of switches); for all
        tasks ``de_lange_acc``, ``de_lange_min_acc``, ``de_lange_wc_acc`` (at the end),
        ``windowed_forgetting`` and ``windowed_plasticity``; given ``seen_accuracy``, also
        ``anytime_accuracy`` and ``final_accuracy``.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, there is no switch, or the
            convention is unknown or needs curves that are not there.

    Example:
        >>> row = summarize([[0.5], [0.75], [0.25], [1.0]], [1, 2, 3, 4], [2, 4])
        >>> print({name: round(float(value), 3) for name, value in row.items()})
        {'avg_sg': 0.667, 'min_acc': 0.5, 'wc_acc': 0.75, 'avg_acc': 0.875, 'recovery': 2.0,
         'recovered': 1.0}

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, and De Lange et al. 2023, arXiv 2205.13452.
    """
    if convention is not None and convention not in get_args(Convention):
        raise ValueError(
            f"convention must be one of {get_args(Convention)} or None: got {convention!r}"
        )
    every_task = check_accuracy("accuracy", accuracy, 2)
    num_tasks = np.size(task_ends)
    if every_task.shape[-1] not in (1, num_tasks):
        raise ValueError(
            f"accuracy must hold curves of task 1 or of all {num_tasks} tasks on its last axis, "
            f"(..., n, 1) or (..., n, {num_tasks}): got shape {every_task.shape}"
        )
    metrics: dict[str, np.ndarray] = {}
    if convention != "de-lange":
        where = (every_task[..., 0], eval_updates, task_ends)
        recovery = recovery_updates(*where)
        metrics |= {
            "avg_sg": average_stability_gap(*where),
            "min_acc": average_min_accuracy(*where, version),
            "wc_acc": worst_case_accuracy(*where, version),
            "avg_acc": average_accuracy(*where),
            "recovery": recovery.updates.mean(axis=-1),
            "recovered": recovery.recovered.mean(axis=-1),
        }
    if convention == "de-lange" or (convention is None and every_task.shape[-1] == num_tasks):
        where = (every_task, eval_updates, task_ends)
        metrics |= {
            "de_lange_acc": de_lange_accuracy(*where),
            "de_lange_min_acc": de_lange_min_accuracy(*where),
            "de_lange_wc_acc": de_lange_worst_case_accuracy(*where)[..., -1],
            "windowed_forgetting": windowed_forgetting(*where, window),
            "windowed_plasticity": windowed_plasticity(*where, window),
        }
    if seen_accuracy is not None:
        seen = check_accuracy("seen_accuracy", seen_accuracy, 1)
        if seen.shape[:-1] != every_task.shape[:-2]:
            raise ValueError(
                "seen_accuracy must have the leading axes of accuracy, "
                f"{every_task.shape[:-2]}: got shape {seen.shape}"
            )
        metrics |= {"anytime_accuracy": anytime_accuracy(seen), "final_accuracy": seen[..., -1]}
    return metrics
