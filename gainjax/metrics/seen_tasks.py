"""Accuracy on all tasks seen so far, which exposes methods that do not learn."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gainjax.metrics.curves import Curves, Numbers, check_accuracy, check_curves


def anytime_accuracy(
    seen_accuracy: ArrayLike,
    seen_updates: ArrayLike | None = None,
    task_ends: ArrayLike | None = None,
) -> Float[Numbers, "*runs"]:
    r"""Return the accuracy on all tasks seen so far, averaged over all updates.

    .. math:: \frac{1}{N} \sum_{n=1}^{N} a_{\text{seen}}(n)

    Between two measured updates of a task, accuracy is assumed to change linearly; before the first
    one of a task it is assumed constant, since values of the previous task are not comparable: more
    tasks are seen now.

    Args:
        seen_accuracy: Accuracy on the pooled test sets of the tasks seen so far, shape (..., n),
            finite.
        seen_updates: Updates after which it was measured, 1-based, shape (n,); None if after every
            one, or at even intervals.
        task_ends: Last update of each task, shape (K,), all included in ``seen_updates``; None for
            one task.

    Returns:
        The mean accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers.
        ValueError: If there is no update, or an accuracy is not finite.

    Example:
        >>> float(anytime_accuracy([0.25, 0.5, 0.75]))
        0.5
        >>> float(anytime_accuracy([0.0, 1.0, 1.0], seen_updates=[1, 2, 8]))
        0.875

    References:
        Ours, as a safeguard against methods that keep task 1 by not learning.
    """
    seen = check_accuracy("seen_accuracy", seen_accuracy, 1)
    if seen_updates is None:
        return seen.mean(axis=-1)
    ends = np.asarray(seen_updates)[-1:] if task_ends is None else task_ends
    curves = check_curves(seen, seen_updates, ends, names=("seen_accuracy", "seen_updates"))
    return curves.accuracy @ _shares(curves)


def final_accuracy(seen_accuracy: ArrayLike) -> Float[Numbers, "*runs"]:
    r"""Return the accuracy on all tasks after the last update.

    Args:
        seen_accuracy: Accuracy on the pooled test sets of the tasks seen so far, shape (..., n),
            finite.

    Returns:
        The last accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers.
        ValueError: If there is no update, or an accuracy is not finite.

    Example:
        >>> float(final_accuracy([0.25, 0.5, 0.75]))
        0.75

    References:
        Ours.
    """
    return check_accuracy("seen_accuracy", seen_accuracy, 1)[..., -1]


def _shares(curves: Curves) -> Float[np.ndarray, "n"]:
    """Return the weight of each measured update in the mean over all updates, shape (n,)."""
    share = np.zeros(len(curves.updates))
    for first, last in zip(curves.first, curves.last, strict=True):
        share[first] += curves.updates[first] - (curves.updates[first - 1] if first else 0)
        distance = np.diff(curves.updates[first : last + 1])
        share[first:last] += (distance - 1) / 2
        share[first + 1 : last + 1] += (distance + 1) / 2
    return share / curves.updates[-1]
