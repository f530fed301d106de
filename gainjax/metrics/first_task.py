"""Metrics of task 1, in the convention of Rodriguez-Garcia et al."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gainjax.metrics.curves import Numbers, check_curves

Version = Literal["v1", "v2"]


def stability_gap(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, task: int = 1
) -> Float[np.ndarray, "*runs switches"]:
    r"""Return the relative loss of accuracy on a task within each later task.

    .. math:: SG_k = \frac{a(t_{k-1}) - \min_{t_{k-1} < n \le t_k} a(n)}{a(t_{k-1})}

    Negative where accuracy only rose. If there was no accuracy to lose, :math:`a(t_{k-1}) = 0`, the
    gap is 0: a network that has learned nothing shows no gap, so report it together with the
    accuracy. A score below 0 has no fraction to lose: NaN.

    Args:
        accuracy: Curve of the task, shape (..., n).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        task: The task of the curve, 1 to K-1; only switches after it count.

    Returns:
        The gaps of the switches, shape (..., K - task), at most 1 unless a score fell below 0.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> stability_gap([0.5, 0.8, 0.2, 0.9], eval_updates=[1, 2, 3, 4], task_ends=[2, 4])
        array([0.75])

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, stability gap (there for task 1).
    """
    curves = check_curves(accuracy, eval_updates, task_ends, least_tasks=2)
    if not isinstance(task, int | np.integer) or task not in range(1, len(curves.first)):
        raise ValueError(
            f"task must be from 1 to {len(curves.first) - 1}, the last one with a switch after it: "
            f"got {task!r}"
        )
    before = curves.at_ends[..., task - 1 : -1]
    return ratio(before - curves.minima[..., task:], before)


def average_stability_gap(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, task: int = 1
) -> Float[Numbers, "*runs"]:
    r"""Return the mean of :func:`stability_gap` over switches, avg-SG.

    Args:
        accuracy: Curve of the task, shape (..., n).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).
        task: The task of the curve, 1 to K-1; only switches after it count.

    Returns:
        The mean gap, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is no switch.

    Example:
        >>> float(average_stability_gap([1.0, 0.25, 0.5, 0.5], [1, 2, 3, 4], [1, 3, 4]))
        0.375

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-SG.
    """
    return stability_gap(accuracy, eval_updates, task_ends, task).mean(axis=-1)


def average_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Float[Numbers, "*runs"]:
    r"""Return the accuracy on task 1, averaged over the ends of all tasks, avg-ACC.

    .. math:: \frac{1}{K} \sum_{k=1}^{K} a_1(t_k)

    Args:
        accuracy: Curve of task 1, shape (..., n).
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

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-ACC.
    """
    return check_curves(accuracy, eval_updates, task_ends).at_ends.mean(axis=-1)


def average_min_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> Float[Numbers, "*runs"]:
    r"""Return the lowest accuracy on task 1 within a task, averaged over tasks, avg-min-ACC.

    .. math:: \frac{1}{K-1} \sum_k \min_{t_{k-1} < n \le t_k} a_1(n)

    over k = 1..K-1 ("v1": includes the untrained start, leaves out the last task) or k = 2..K
    ("v2": exactly the tasks that follow a switch).

    Args:
        accuracy: Curve of task 1, shape (..., n).
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

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, avg-min-ACC (v1; v2 and v3).
    """
    minima = check_curves(accuracy, eval_updates, task_ends, least_tasks=2).minima
    return minima[..., tasks_with_minimum(version)].mean(axis=-1)


def worst_case_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, version: Version = "v1"
) -> Float[Numbers, "*runs"]:
    r"""Return the worst-case accuracy on task 1, WC-ACC in the convention rodriguez-garcia.

    .. math:: \frac{1}{K} a_1(t_K) + \left(1 - \frac{1}{K}\right) \text{avg-min-ACC}

    Args:
        accuracy: Curve of task 1, shape (..., n).
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

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, WC-ACC. For De Lange et al. see
        :func:`de_lange_worst_case_accuracy`.
    """
    lowest = average_min_accuracy(accuracy, eval_updates, task_ends, version)
    at_ends = check_curves(accuracy, eval_updates, task_ends).at_ends
    num_tasks = at_ends.shape[-1]
    return at_ends[..., -1] / num_tasks + (1 - 1 / num_tasks) * lowest


def tasks_with_minimum(version: str) -> slice:
    """Return the tasks, from 0, whose minima contribute to avg-min-ACC.

    Args:
        version: Version of :func:`average_min_accuracy`.

    Raises:
        ValueError: If there is no such version.
    """
    slices = {"v1": slice(None, -1), "v2": slice(1, None)}
    if version not in slices:
        raise ValueError(f"version must be one of {tuple(slices)}: got {version!r}")
    return slices[version]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the denominator is 0, and NaN where it is negative.

    Args:
        numerator: The loss.
        denominator: The reference.
    """
    zero = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    quotient = np.divide(numerator, denominator, out=zero, where=denominator > 0)
    return np.where(denominator < 0, np.nan, quotient)
