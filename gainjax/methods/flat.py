"""Optimizers that seek flat minima: several gradients per update."""

import optax
from jax.typing import ArrayLike

from gainjax.methods.method import NOT_NEGATIVE, POSITIVE, Method
from gainjax.optim import flatness


def _sam(learning_rate: ArrayLike = 0.01, radius: ArrayLike = 0.05) -> optax.GradientTransformation:
    return flatness.sharpness_aware(optax.sgd(learning_rate), radius)


def _c_flat(
    learning_rate: ArrayLike = 0.01, radius: ArrayLike = 0.05, balance: ArrayLike = 0.2
) -> optax.GradientTransformation:
    return flatness.curvature_flat(optax.sgd(learning_rate), radius, balance)


def _entropy_sgd(
    learning_rate: ArrayLike = 0.01, inner_rate: ArrayLike = 0.01, scope: ArrayLike = 0.03
) -> optax.GradientTransformation:
    return flatness.local_entropy(optax.sgd(learning_rate), inner_rate, scope)


ENTRIES = (
    Method(
        "sam",
        _sam,
        "SGD on the gradient at the worst nearby point (sharpness-aware)",
        "Foret et al., arXiv 2010.01412",
        ranges={"radius": NOT_NEGATIVE},
    ),
    Method(
        "c-flat",
        _c_flat,
        "SAM that also penalizes large gradients nearby",
        "C-Flat, Bian et al., arXiv 2404.00986",
        ranges={"radius": NOT_NEGATIVE, "balance": NOT_NEGATIVE},
    ),
    Method(
        "entropy-sgd",
        _entropy_sgd,
        "SGD toward the mean of a short local search around the weights",
        "Chaudhari et al., arXiv 1611.01838",
        ranges={"inner_rate": POSITIVE, "scope": NOT_NEGATIVE},
    ),
)
