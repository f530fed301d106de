"""Optimizers without a gain: the baselines."""

import optax
from jax.typing import ArrayLike

from gainjax.methods.method import UNIT, Method


def sgd(learning_rate: ArrayLike = 0.01) -> optax.GradientTransformation:
    """Return plain SGD."""
    return optax.sgd(learning_rate)


def msgd(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    """Return SGD with heavy-ball momentum."""
    return optax.sgd(learning_rate, momentum)


def adam(
    learning_rate: ArrayLike = 0.01, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999
) -> optax.GradientTransformation:
    """Return Adam."""
    return optax.adam(learning_rate, b1=b1, b2=b2)


def _nesterov(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return optax.sgd(learning_rate, momentum, nesterov=True)


def _rmsprop(
    learning_rate: ArrayLike = 0.01, smoothing: ArrayLike = 0.99
) -> optax.GradientTransformation:
    return optax.rmsprop(learning_rate, decay=smoothing)


def _adagrad(learning_rate: ArrayLike = 0.01) -> optax.GradientTransformation:
    return optax.adagrad(learning_rate, initial_accumulator_value=0.0)


def _adamw(
    learning_rate: ArrayLike = 0.01,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    weight_decay: ArrayLike = 0.01,
) -> optax.GradientTransformation:
    return optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)


ENTRIES = (
    Method("sgd", sgd, "plain stochastic gradient descent", "Robbins & Monro 1951", title="SGD"),
    Method("msgd", msgd, "SGD with heavy-ball momentum", "Polyak 1964", title="MSGD"),
    Method(
        "nesterov",
        _nesterov,
        "SGD with Nesterov momentum",
        "Sutskever et al. 2013",
        title="Nesterov",
    ),
    Method(
        "rmsprop",
        _rmsprop,
        "gradients divided by their running root mean square",
        "Tieleman & Hinton 2012",
        title="RMSprop",
        ranges={"smoothing": UNIT},
    ),
    Method(
        "adagrad",
        _adagrad,
        "gradients divided by the root of their accumulated squares",
        "Duchi et al. 2011",
        title="AdaGrad",
    ),
    Method("adam", adam, "adaptive moments", "Kingma & Ba, arXiv 1412.6980", title="Adam"),
    Method(
        "adamw",
        _adamw,
        "Adam with decoupled weight decay",
        "Loshchilov & Hutter, arXiv 1711.05101",
        title="AdamW",
    ),
)
