"""Controls: methods that isolate alternative explanations of a gain's effect."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.methods.gains import sgd_with_backbone
from gainjax.methods.method import NOT_NEGATIVE, UNIT, Method
from gainjax.methods.plain import adam, msgd
from gainjax.optim import controls
from gainjax.optim.modulation import GainRule

_CONTROL = "our control"
_BACKBONE = {"backbone_momentum": UNIT}


def _entropy_lr(
    learning_rate: ArrayLike = 0.01,
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike = 0.4,
) -> optax.GradientTransformation:
    dynamics = GainDynamics(decay, baseline, sensitivity)
    return controls.entropy_scaled(optax.sgd(learning_rate), dynamics)


def _constant(gain_trace: ArrayLike) -> GainRule:
    return controls.replayed_gain(jnp.mean(jnp.asarray(gain_trace), keepdims=True))


def _replayed(gain_trace: ArrayLike) -> GainRule:
    return controls.replayed_gain(gain_trace)


def _shuffled(gain_trace: ArrayLike) -> GainRule:
    # One order for all seeds and settings; the first value stays, since it scales the weights.
    trace = jnp.asarray(gain_trace)
    key = jax.random.key(0, impl="threefry2x32")
    order = jax.random.permutation(key, len(trace) - 1) + 1
    return controls.replayed_gain(jnp.concatenate([trace[:1], trace[order]]))


def _bump(decay: ArrayLike = 0.9, baseline: ArrayLike = 1.0, height: ArrayLike = 1.0) -> GainRule:
    return controls.bump_at_switches(decay, baseline, height)


def _msgd_reset(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return controls.reset_at_switches(msgd(learning_rate, momentum))


def _adam_reset(
    learning_rate: ArrayLike = 0.01, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999
) -> optax.GradientTransformation:
    return controls.reset_at_switches(adam(learning_rate, b1, b2))


ENTRIES = (
    Method(
        "entropy-lr",
        _entropy_lr,
        "SGD whose learning rate follows the squared gain; weights are not scaled",
        _CONTROL,
    ),
    Method(
        "constant-gain",
        sgd_with_backbone,
        "SGD with the time average of another run's gain",
        _CONTROL,
        gain=_constant,
        ranges=_BACKBONE,
    ),
    Method(
        "replayed-gain",
        sgd_with_backbone,
        "SGD with another run's gain, replayed open loop",
        _CONTROL,
        gain=_replayed,
        ranges=_BACKBONE,
    ),
    Method(
        "shuffled-gain",
        sgd_with_backbone,
        "SGD with another run's gain, shuffled in time",
        _CONTROL,
        gain=_shuffled,
        ranges=_BACKBONE,
    ),
    Method(
        "bump-at-switch",
        sgd_with_backbone,
        "SGD with a gain raised by 1 at each known switch (an oracle)",
        _CONTROL,
        gain=_bump,
        ranges=_BACKBONE | {"height": NOT_NEGATIVE},
        needs_boundary=True,
    ),
    Method(
        "msgd-reset",
        _msgd_reset,
        "momentum SGD, reset at each known switch (an oracle)",
        _CONTROL,
        needs_boundary=True,
    ),
    Method(
        "adam-reset",
        _adam_reset,
        "Adam, reset at each known switch (an oracle)",
        _CONTROL,
        needs_boundary=True,
    ),
)
