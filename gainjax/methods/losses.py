"""Methods that train on a modified loss: over fewer outputs, or with less of the new task."""

import optax
from jax.typing import ArrayLike

from gainjax.methods.method import POSITIVE, Method
from gainjax.methods.plain import msgd
from gainjax.optim import losses


def _without_unseen(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return losses.without_unseen(msgd(learning_rate, momentum))


def _smoothed(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, length: ArrayLike = 50.0
) -> optax.GradientTransformation:
    return losses.smoothed(msgd(learning_rate, momentum), length)


def _projected(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return losses.projected(msgd(learning_rate, momentum))


ENTRIES = (
    Method(
        "unseen-masked",
        _without_unseen,
        "momentum SGD, outputs of unseen classes excluded from the softmax",
        "SGM, Harun et al., arXiv 2306.01904",
    ),
    Method(
        "loss-smoothing",
        _smoothed,
        "momentum SGD, the new task's share of the loss grows from 0 (an oracle)",
        "arXiv 2607.00634",
        ranges={"length": POSITIVE},
        needs_boundary=True,
    ),
    Method(
        "a-gem",
        _projected,
        "momentum SGD without the part of the gradient that harms earlier tasks (an oracle)",
        "Hess et al., arXiv 2311.04898",
        needs_boundary=True,
    ),
)
