"""Accuracy on all tasks seen so far, where a method that does not learn is unmasked."""

import numpy as np
from numpy.typing import ArrayLike

from gainjax.metrics.curves import check_accuracy


def anytime_accuracy(seen_accuracy: ArrayLike) -> np.ndarray:
    r"""Return the accuracy on all tasks seen so far, averaged over measured updates.

    .. math:: \frac{1}{N} \sum_n a_{\text{seen}}(n)

    Args:
        seen_accuracy: Accuracy on the pooled test sets of the tasks seen so far, shape (..., n),
            finite.

    Returns:
        The mean accuracy, shape (...).

    Raises:
        TypeError: If accuracies are not real numbers.
        ValueError: If there is no update, or an accuracy is not finite.

    Example:
        >>> float(anytime_accuracy([0.25, 0.5, 0.75]))
        0.5

    References:
        Ours, as a guard against methods that keep task 1 by not learning.
    """
    return check_accuracy("seen_accuracy", seen_accuracy, 1).mean(axis=-1)


def final_accuracy(seen_accuracy: ArrayLike) -> np.ndarray:
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
