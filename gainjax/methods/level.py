"""Level only: how much of the gain's effect is a raised level, and through which mechanism."""

import optax
from jax.typing import ArrayLike

from gainjax.methods.gains import sgd_with_backbone
from gainjax.methods.method import POSITIVE, UNIT, Method
from gainjax.methods.plain import sgd
from gainjax.optim import controls, losses
from gainjax.optim.modulation import GainRule

_CONTROL = "our control"
_BACKBONE = {"backbone_momentum": UNIT}
_LEVEL = {"level": POSITIVE}


def _fixed(level: ArrayLike = 2.0) -> GainRule:
    return controls.fixed_gain(level)


def _ramped(level: ArrayLike = 2.0, decay: ArrayLike = 0.98) -> GainRule:
    return controls.ramped_gain(1.0, level, decay)


def _compensated(
    learning_rate: ArrayLike = 0.01, level: ArrayLike = 2.0
) -> optax.GradientTransformation:
    # A fixed gain makes steps level**2 as large: undoing that leaves its initial weights alone.
    return sgd(learning_rate / level**2)


def _temperature(
    learning_rate: ArrayLike = 0.01, level: ArrayLike = 8.0
) -> optax.GradientTransformation:
    return losses.at_temperature(sgd(learning_rate), level)


ENTRIES = (
    Method(
        "fixed-gain",
        sgd_with_backbone,
        "SGD with a gain held at a constant level",
        _CONTROL,
        gain=_fixed,
        ranges=_BACKBONE | _LEVEL,
    ),
    Method(
        "ramped-gain",
        sgd_with_backbone,
        "SGD with a gain that rises from 1 to a level and stays there",
        _CONTROL,
        gain=_ramped,
        ranges=_BACKBONE | _LEVEL,
    ),
    Method(
        "larger-init",
        _compensated,
        "SGD from larger initial weights",
        _CONTROL,
        gain=_fixed,
        ranges=_LEVEL,
    ),
    Method(
        "temperature",
        _temperature,
        "SGD on outputs scaled by a level: a softmax temperature",
        _CONTROL,
        ranges=_LEVEL,
    ),
)
