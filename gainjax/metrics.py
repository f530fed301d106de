r"""The stability gap in numbers: published metrics as pure functions of accuracy curves.

Nothing but NumPy is needed, so the curves may come from any framework. A curve holds the accuracy
on one task after each evaluated update, ``accuracy[..., n]``; curves of all tasks are
``accuracy[..., n, i]``. Leading axes (methods, settings, seeds) are kept, and every row is measured
on its own. The unit, fractions or per cent, is the unit of the result.

``eval_updates`` holds the 1-based numbers of the evaluated updates and ``task_ends`` the updates
:math:`t_1 < \dots < t_K` with which the tasks end. Each end must have been evaluated, the last one
last, so that evaluation every few updates only makes "all updates of task k" a sparser set.

Two conventions are in use. Rodriguez-Garcia et al. look at task 1 and at the minimum within each
task. De Lange et al. look at all tasks and at the minimum since a task ended; their metrics are the
``de_lange_*`` and the ``windowed_*`` functions.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

Version = Literal["v1", "v2"]
Convention = Literal["rodriguez-garcia", "de-lange"]


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
    curves = _check(accuracy, eval_updates, task_ends, least_tasks=2)
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
    return _check(accuracy, eval_updates, task_ends).at_ends.mean(axis=-1)


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
    minima = _check(accuracy, eval_updates, task_ends, least_tasks=2).minima
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
    at_ends = _check(accuracy, eval_updates, task_ends).at_ends
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
    every_seed = _check(accuracy, eval_updates, task_ends, least_tasks=2).accuracy
    mean, spread = every_seed.mean(axis=-2), every_seed.std(axis=-2)
    curves = _check(mean, eval_updates, task_ends)
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
    curves = _check(accuracy, eval_updates, task_ends, least_tasks=2)
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


def de_lange_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> np.ndarray:
    r"""Return the accuracy at the end, averaged over tasks, ACC.

    .. math:: \frac{1}{K} \sum_{i=1}^{K} a_i(t_K)

    Args:
        accuracy: Curves of all tasks, shape (..., n, K), not negative.
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

    Source:
        De Lange et al. 2023, arXiv 2205.13452, ACC.
    """
    return _check(accuracy, eval_updates, task_ends, all_tasks=True).accuracy[..., -1, :].mean(-1)


def de_lange_min_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> np.ndarray:
    r"""Return the lowest accuracy on each earlier task since it ended, averaged, min-ACC.

    .. math:: \frac{1}{K-1} \sum_{i=1}^{K-1} \min_{t_i < n \le t_K} a_i(n)

    Args:
        accuracy: Curves of all tasks, shape (..., n, K), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
        task_ends: Last update of each task, shape (K,).

    Returns:
        The average minimum at the end of the stream, shape (...). For the end of an earlier task k,
        pass curves, updates and ends up to it, ``accuracy[..., :n, :k]``.

    Raises:
        TypeError: If accuracies are not real numbers or updates not integers.
        ValueError: If shapes, order or values do not fit together, or there is one task only.

    Example:
        >>> float(de_lange_min_accuracy([[0.9, 0.1], [0.5, 0.6], [0.7, 0.8]], [1, 2, 3], [1, 3]))
        0.5

    Source:
        De Lange et al. 2023, arXiv 2205.13452, min-ACC.
    """
    curves = _check(accuracy, eval_updates, task_ends, least_tasks=2, all_tasks=True)
    return _sum_of_minima(curves)[..., -1] / (len(curves.first) - 1)


def de_lange_worst_case_accuracy(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike
) -> np.ndarray:
    r"""Return the worst-case accuracy after each update, WC-ACC(n) in the convention de-lange.

    .. math:: \frac{1}{k} a_k(n) + \left(1 - \frac{1}{k}\right) \text{min-ACC}(n)

    with k the task trained at update n and min-ACC(n) that of the k-1 tasks before it, its minima
    taken up to n. The value at the end of the stream is the last one.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K), not negative.
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

    Source:
        De Lange et al. 2023, arXiv 2205.13452, WC-ACC.
    """
    curves = _check(accuracy, eval_updates, task_ends, all_tasks=True)
    columns = np.arange(len(curves.updates))
    task = np.searchsorted(curves.last, columns)
    return (curves.accuracy[..., columns, task] + _sum_of_minima(curves)) / (task + 1)


def windowed_forgetting(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int
) -> np.ndarray:
    r"""Return the largest drop within a window of evaluations, averaged over tasks, WF.

    .. math:: \frac{1}{K} \sum_i \max_{n - w < m \le n} \bigl(a_i(m) - a_i(n)\bigr)

    A task counts from its first update on: before it there is nothing to forget.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
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

    Source:
        De Lange et al. 2023, arXiv 2205.13452, windowed forgetting.
    """
    return _largest_drop(accuracy, eval_updates, task_ends, window, sign=1)


def windowed_plasticity(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int
) -> np.ndarray:
    r"""Return the largest rise within a window of evaluations, averaged over tasks, WP.

    .. math:: \frac{1}{K} \sum_i \max_{n - w < m \le n} \bigl(a_i(n) - a_i(m)\bigr)

    A task counts from its first update on, as in :func:`windowed_forgetting`.

    Args:
        accuracy: Curves of all tasks, shape (..., n, K), not negative.
        eval_updates: Evaluated updates, 1-based, shape (n,).
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

    Source:
        De Lange et al. 2023, arXiv 2205.13452, windowed plasticity. A widespread implementation
        starts every rise at the highest accuracy so far and gives 0.4 in the example.
    """
    return _largest_drop(accuracy, eval_updates, task_ends, window, sign=-1)


def anytime_accuracy(seen_accuracy: ArrayLike) -> np.ndarray:
    r"""Return the accuracy on all tasks seen so far, averaged over measured updates.

    .. math:: \frac{1}{N} \sum_n a_{\text{seen}}(n)

    Args:
        seen_accuracy: Accuracy on the pooled test sets of the tasks seen so far, shape (..., n),
            not negative.

    Returns:
        The mean accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers.
        ValueError: If there is no update, or an accuracy is negative or not finite.

    Example:
        >>> float(anytime_accuracy([0.25, 0.5, 0.75]))
        0.5

    Source:
        Ours, as a guard against methods that keep task 1 by not learning.
    """
    return _check_accuracy("seen_accuracy", seen_accuracy, 1).mean(axis=-1)


def final_accuracy(seen_accuracy: ArrayLike) -> np.ndarray:
    r"""Return the accuracy on all tasks after the last update.

    Args:
        seen_accuracy: Accuracy on the pooled test sets of the tasks seen so far, shape (..., n),
            not negative.

    Returns:
        The last accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers.
        ValueError: If there is no update, or an accuracy is negative or not finite.

    Example:
        >>> float(final_accuracy([0.25, 0.5, 0.75]))
        0.75

    Source:
        Ours.
    """
    return _check_accuracy("seen_accuracy", seen_accuracy, 1)[..., -1]


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
    every_task = _check_accuracy("accuracy", accuracy, 2)
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
        seen = _check_accuracy("seen_accuracy", seen_accuracy, 1)
        if seen.shape[:-1] != every_task.shape[:-2]:
            raise ValueError(
                "seen_accuracy must have the leading axes of accuracy, "
                f"{every_task.shape[:-2]}: got shape {seen.shape}"
            )
        metrics |= {"anytime_accuracy": anytime_accuracy(seen), "final_accuracy": seen[..., -1]}
    return metrics


class _Curves(NamedTuple):
    """Checked curves. Task k, from 0, was evaluated in columns first[k] to last[k] inclusive."""

    accuracy: np.ndarray  # float64, (..., n) or (..., n, K)
    updates: np.ndarray  # int64, (n,)
    first: np.ndarray  # int64, (K,)
    last: np.ndarray  # int64, (K,)

    @property
    def at_ends(self) -> np.ndarray:
        """Accuracy at the end of each task, (..., K)."""
        return self.accuracy[..., self.last]

    @property
    def minima(self) -> np.ndarray:
        """Lowest accuracy within each task, (..., K)."""
        return np.minimum.reduceat(self.accuracy, self.first, axis=-1)

    def minimum_columns(self) -> np.ndarray:
        """Column of the first lowest accuracy within each task, (..., K)."""
        tasks = zip(self.first, self.last, strict=True)
        columns = [first + self.accuracy[..., first : last + 1].argmin(-1) for first, last in tasks]
        return np.stack(columns, axis=-1)


def _check(
    accuracy: ArrayLike,
    eval_updates: ArrayLike,
    task_ends: ArrayLike,
    *,
    least_tasks: int = 1,
    all_tasks: bool = False,
) -> _Curves:
    """Return the curves with the columns of each task, or raise if they do not fit together."""
    curves = _check_accuracy("accuracy", accuracy, 2 if all_tasks else 1)
    updates = _check_updates("eval_updates", eval_updates)
    ends = _check_updates("task_ends", task_ends)
    if len(ends) < least_tasks:
        raise ValueError(f"task_ends must have at least {least_tasks} tasks: got {ends.tolist()}")
    wanted = (len(updates), len(ends)) if all_tasks else (len(updates),)
    if curves.shape[-len(wanted) :] != wanted:
        axes = "(..., eval_updates, tasks)" if all_tasks else "(..., eval_updates)"
        raise ValueError(f"accuracy must end in the shape {wanted}, {axes}: got {curves.shape}")
    missing = np.setdiff1d(ends, updates)
    if missing.size:
        raise ValueError(
            f"task_ends must be among eval_updates: {missing.tolist()} were not evaluated; "
            "evaluate at the end of each task"
        )
    if updates[-1] != ends[-1]:
        raise ValueError(
            f"eval_updates must end with the last task, at {ends[-1]}: got {updates[-1]}; "
            "task_ends has one entry per task, also for the last one"
        )
    last = np.searchsorted(updates, ends)
    return _Curves(curves, updates, np.concatenate([[0], last[:-1] + 1]), last)


def _check_accuracy(name: str, values: ArrayLike, axes: int) -> np.ndarray:
    """Return accuracies as float64, or raise."""
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers: got dtype {array.dtype}")
    if array.ndim < axes or 0 in array.shape[-axes:]:
        wanted = "(..., n, tasks)" if axes == 2 else "(..., n)"
        raise ValueError(f"{name} must have shape {wanted}, not empty: got {array.shape}")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        raise ValueError(
            f"{name} must be finite and not negative: got {array[wrong][0]} at index "
            f"{tuple(np.argwhere(wrong)[0].tolist())}; leave out what was not measured"
        )
    return array.astype(np.float64)


def _check_updates(name: str, values: ArrayLike) -> np.ndarray:
    """Return increasing update numbers as int64, or raise."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a list of update numbers: got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers: got dtype {array.dtype}")
    array = array.astype(np.int64)
    if array[0] < 1 or (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must be strictly increasing, from 1 on: got {array.tolist()}")
    return array


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


def _sum_of_minima(curves: _Curves) -> np.ndarray:
    """Return, per column, the minima so far of all tasks that have ended, summed: (..., n)."""
    total = np.zeros(curves.accuracy.shape[:-1])
    for task, first in enumerate(curves.last[:-1] + 1):
        total[..., first:] += np.minimum.accumulate(curves.accuracy[..., first:, task], axis=-1)
    return total


def _largest_drop(
    accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike, window: int, *, sign: int
) -> np.ndarray:
    """Return the mean over tasks of the largest drop (sign 1) or rise (-1) in a window: (...)."""
    curves = _check(accuracy, eval_updates, task_ends, all_tasks=True)
    if not isinstance(window, int | np.integer) or window < 2:
        raise ValueError(f"window must be a whole number of evaluations, from 2 on: got {window!r}")
    drops = []
    for task, first in enumerate(curves.first):
        curve = sign * curves.accuracy[..., first:, task]
        drops.append((_trailing_maximum(curve, window) - curve).max(axis=-1))
    return np.mean(drops, axis=0)


def _trailing_maximum(curve: np.ndarray, window: int) -> np.ndarray:
    """Return the highest of the last `window` values, by doubling the span: O(n log window)."""
    highest, span = curve.copy(), 1
    window = min(window, curve.shape[-1])
    while span < window:
        step = min(span, window - span)
        highest[..., step:] = np.maximum(highest[..., step:], highest[..., :-step])
        span += step
    return highest
