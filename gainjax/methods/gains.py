"""Gain modulation of several optimizers: the paper's method and its variants."""

from typing import Any

import jax
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.methods.method import UNIT, Method
from gainjax.methods.plain import adam, msgd

_PAPER = "Rodriguez-Garcia et al., arXiv 2507.14056"


def sgd_with_backbone(
    mask: Any, learning_rate: ArrayLike = 0.01, backbone_momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    """Return SGD for the weights that a gain multiplies, with momentum for others, if any."""
    if mask is None or all(jax.tree.leaves(mask)):
        return optax.sgd(learning_rate)
    groups = {
        "modulated": optax.sgd(learning_rate),
        "backbone": optax.sgd(learning_rate, backbone_momentum),
    }
    labels = jax.tree.map(lambda on: "modulated" if on else "backbone", mask)
    return optax.partition(groups, lambda _: labels)  # labels may be a callable module


def dynamics(
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike = 0.4,
    max_gain: ArrayLike | None = None,
) -> GainDynamics:
    """Return the paper's gain dynamics."""
    return GainDynamics(decay, baseline, sensitivity, max_gain)


ENTRIES = (
    Method(
        "ngm-sgd",
        sgd_with_backbone,
        "SGD with a gain that rises with uncertainty: two timescales",
        _PAPER,
        title="NGM-SGD",
        gain=dynamics,
        ranges={"backbone_momentum": UNIT},
    ),
    Method("ngm-msgd", msgd, "momentum SGD with the same gain", _PAPER, gain=dynamics),
    Method("ngm-adam", adam, "Adam with the same gain", _PAPER, gain=dynamics),
)
