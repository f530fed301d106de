"""Metrics of all tasks, in the convention of De Lange et al."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gainjax.metrics.curves import Curves, Numbers, check_curves


def de_lange_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Float[Numbers, "*runs"]:
    r"""Return the accuracy at the end, averaged over tasks, ACC.

    .. math:: \frac{1}{K} \sum_{i=1}^{K} a_i(t_K)

    Args:
        accuracy: Curves of all tasks, shape (..., n, K).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).

    Returns:
        The average accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together.

    Example:
        >>> float(de_lange_accuracy([[0.9, 0.1], [0.5, 0.75]], [1, 2], [1, 2]))
        0.625

    References:
        De Lange et al. 2023, arXiv 2205.13452, ACC.
    """
    curves = check_curves(accuracy, eval_updates, task_ends, all_tasks=True)
    return curves.accuracy[..., -1, :].mean(-1)


def de_lange_min_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Float[Numbers, "*runs"]:
    r"""Return the lowest accuracy on each earlier task since it ended, averaged, min-ACC.

    .. math:: \frac{1}{K-1} \sum_{i=1}^{K-1} \min_{t_i < n \le t_K} a_i(n)

    Args:
        accuracy: Curves of all tasks, shape (..., n, K).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).

    Returns:
        The average minimum at the end of the stream, shape (...). For the end of an earlier task k,
        pass curves, updates and ends up to it, ``accuracy[..., :n, :k]``.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is only one task.

    Example:
        >>> float(de_lange_min_accuracy([[0.9, 0.1], [0.5, 0.6], [0.7, 0.8]], [1, 2, 3], [1, 3]))
        0.5

    References:
        De Lange et al. 2023, arXiv 2205.13452, min-ACC.
    """
    curves = check_curves(accuracy, eval_updates, task_ends, least_tasks=2, all_tasks=True)
    return _sum_of_minima(curves)[..., -1] / (len(curves.first) - 1)


def de_lange_worst_case_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> Float[Numbers, "*runs"]:
    r"""Return the worst-case accuracy after each update, WC-ACC(n) in the convention de-lange.

    .. math:: \frac{1}{k} a_k(n) + \left(1 - \frac{1}{k}\right) \text{min-ACC}(n)

    with k the task trained at update n and min-ACC(n) that of the k-1 tasks before it, with minima
    taken up to n. The last value is that at the end of the stream.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K).
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).

    Returns:
        The worst-case accuracy, shape (..., n).

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together.

    Example:
        >>> curves = [[0.75, 0.1], [0.5, 0.5], [0.75, 1.0]]
        >>> de_lange_worst_case_accuracy(curves, [1, 2, 3], [1, 3])
        array([0.75, 0.5 , 0.75])

    References:
        De Lange et al. 2023, arXiv 2205.13452, WC-ACC.
    """
    curves = check_curves(accuracy, eval_updates, task_ends, all_tasks=True)
    columns = np.arange(len(curves.updates))
    task = np.searchsorted(curves.last, columns)
    return (curves.accuracy[..., columns, task] + _sum_of_minima(curves)) / (task + 1)


def windowed_forgetting(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int
) -> Float[Numbers, "*runs"]:
    r"""Return the largest drop within a window of evaluations, averaged over tasks, WF.

    .. math:: \frac{1}{K} \sum_i \max_{n - w < m \le n} \bigl(a_i(m) - a_i(n)\bigr)

    A task counts from its first update on: before that, there is nothing to forget.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K).
        eval_updates: Evaluated updates, shape (n,); 0 for an evaluation before the first update,
            which De Lange et al. include and which no other metric counts.
        task_ends: Last update of each task, shape (K,).
        window: Number w of consecutive evaluations that a drop may span, at least 2.

    Returns:
        The windowed forgetting at the end of the stream, shape (...), at least 0. For the end of an
        earlier task k, pass curves, updates and ends up to it, ``accuracy[..., :n, :k]``.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or the window is too short.

    Example:
        >>> curve = np.array([0.75, 0.5, 0.25, 1.0])[:, None]
        >>> [float(windowed_forgetting(curve, [1, 2, 3, 4], [4], window=w)) for w in (2, 3)]
        [0.25, 0.5]

    References:
        De Lange et al. 2023, arXiv 2205.13452, windowed forgetting.
    """
    return _largest_drop(accuracy, eval_updates, task_ends, window, sign=1)


def windowed_plasticity(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int
) -> Float[Numbers, "*runs"]:
    r"""Return the largest rise within a window of evaluations, averaged over tasks, WP.

    .. math:: \frac{1}{K} \sum_i \max_{n - w < m \le n} \bigl(a_i(n) - a_i(m)\bigr)

    A task counts from its first update on, as in :func:`windowed_forgetting`. :func:`gainjax.run`
    and :func:`gainjax.sweep` record no evaluation before update 1, so that a rise at the first
    update is not in their value; :func:`gainjax.from_curves` takes one.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K).
        eval_updates: Evaluated updates, shape (n,); 0 for an evaluation before the first update,
            which De Lange et al. include and which no other metric counts.
        task_ends: Last update of each task, shape (K,).
        window: Number w of consecutive evaluations that a rise may span, at least 2.

    Returns:
        The windowed plasticity at the end of the stream, shape (...), at least 0.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or the window is too short.

    Example:
        >>> round(float(windowed_plasticity([[0.5], [0.3], [0.9]], [1, 2, 3], [3], window=3)), 9)
        0.6

    References:
        De Lange et al. 2023, arXiv 2205.13452, windowed plasticity. A widespread implementation
        starts every rise at the highest accuracy so far and gives 0.4 in the example.
    """
    return _largest_drop(accuracy, eval_updates, task_ends, window, sign=-1)


def _sum_of_minima(curves: Curves) -> Float[np.ndarray, "*runs n"]:
    """Return, per column, the sum of the minima so far of all tasks that have ended: (..., n)."""
    total = np.zeros(curves.accuracy.shape[:-1])
    for task, first in enumerate(curves.last[:-1] + 1):
        total[..., first:] += np.minimum.accumulate(curves.accuracy[..., first:, task], axis=-1)
    return total


def _largest_drop(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int, *, sign: int
) -> Float[Numbers, "*runs"]:
    """Return the mean over tasks of the largest drop (sign 1) or rise (-1) in a window: (...)."""
    curves = check_curves(accuracy, eval_updates, task_ends, all_tasks=True, with_start=True)
    if not isinstance(window, int | np.integer) or window < 2:
        raise ValueError(f"window must be a whole number of evaluations, >= 2: got {window!r}")
    drops = []
    for task, first in enumerate(curves.first):
        curve = sign * curves.accuracy[..., first:, task]
        drops.append((_trailing_maximum(curve, window) - curve).max(axis=-1))
    return np.mean(drops, axis=0)


def _trailing_maximum(
    curve: Float[np.ndarray, "*runs n"], window: int
) -> Float[np.ndarray, "*runs n"]:
    """Return the highest of the last `window` values, by doubling the span: O(n log window)."""
    highest, span = curve.copy(), 1
    window = min(window, curve.shape[-1])
    while span < window:
        step = min(span, window - span)
        highest[..., step:] = np.maximum(highest[..., step:], highest[..., :-step])
        span += step
    return highest
