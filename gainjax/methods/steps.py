"""Optimizers whose steps differ from the gradient in size or direction."""

from typing import Any

import optax
from jax.typing import ArrayLike

from gainjax.methods.gains import dynamics
from gainjax.methods.method import NOT_NEGATIVE, POSITIVE, Method
from gainjax.methods.plain import adam, msgd, sgd
from gainjax.optim import controls, warmup
from gainjax.optim.layerwise import layerwise_proximal


def _normalized(
    learning_rate: ArrayLike = 0.03, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return optax.chain(optax.normalize_by_update_norm(), msgd(learning_rate, momentum))


def _lion(
    learning_rate: ArrayLike = 0.0003, b1: ArrayLike = 0.9, b2: ArrayLike = 0.99
) -> optax.GradientTransformation:
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=0.0)


def _signum(
    learning_rate: ArrayLike = 0.0003, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return optax.signum(learning_rate, beta=momentum)


def _polyak(
    max_learning_rate: ArrayLike = 0.1, scaling: ArrayLike = 1.0
) -> optax.GradientTransformation:
    return optax.polyak_sgd(max_learning_rate, scaling, eps=1e-8)


def _momo(
    learning_rate: ArrayLike = 0.1, momentum: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return optax.contrib.momo(learning_rate, momentum)


def _schedule_free(
    learning_rate: ArrayLike = 0.1, b1: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return optax.contrib.schedule_free(sgd(learning_rate), learning_rate, b1=b1)


def _schedule_free_average(params: Any, opt_state: Any) -> Any:
    return optax.contrib.schedule_free_eval_params(opt_state, params)


def _centralized(learning_rate: ArrayLike = 0.01) -> optax.GradientTransformation:
    return optax.chain(optax.centralize(), sgd(learning_rate))


def _muon(
    learning_rate: ArrayLike = 0.003, momentum: ArrayLike = 0.95
) -> optax.GradientTransformation:
    return optax.contrib.muon(learning_rate, beta=momentum)


def _layerwise(
    mask: Any, learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, strength: ArrayLike = 1.0
) -> optax.GradientTransformation:
    return layerwise_proximal(msgd(learning_rate, momentum), strength, mask=mask)


def _adam_warmup(
    learning_rate: ArrayLike = 0.01,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    length: ArrayLike = 50.0,
) -> optax.GradientTransformation:
    return warmup.warmup_at_start(adam(learning_rate, b1, b2), length)


def _adam_time_reset(
    learning_rate: ArrayLike = 0.01, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999
) -> optax.GradientTransformation:
    return controls.time_reset_at_switches(adam(learning_rate, b1, b2))


def _warmup_at_switch(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, length: ArrayLike = 50.0
) -> optax.GradientTransformation:
    return warmup.warmup_at_switches(msgd(learning_rate, momentum), length)


def _warmup_at_surprise(
    learning_rate: ArrayLike = 0.01,
    momentum: ArrayLike = 0.9,
    length: ArrayLike = 50.0,
    factor: ArrayLike = 2.0,
) -> optax.GradientTransformation:
    return warmup.warmup_at_surprise(msgd(learning_rate, momentum), length, factor)


_LENGTH = {"length": POSITIVE}
ENTRIES = (
    Method(
        "normalized-sgd",
        _normalized,
        "momentum SGD on gradients normalized to norm 1",
        "Cutkosky & Mehta, arXiv 2002.03305",
    ),
    Method("lion", _lion, "the sign of an averaged gradient", "Chen et al., arXiv 2302.06675"),
    Method("signum", _signum, "the sign of the momentum", "Bernstein et al., arXiv 1802.04434"),
    Method(
        "polyak",
        _polyak,
        "SGD with the step that would bring a linear loss to 0",
        "Loizou et al., arXiv 2002.10542",
        ranges={"max_learning_rate": POSITIVE, "scaling": NOT_NEGATIVE},
    ),
    Method(
        "momo",
        _momo,
        "momentum SGD with step sizes from a model of the loss",
        "Schaipp et al., arXiv 2305.07583",
    ),
    Method(
        "schedule-free",
        _schedule_free,
        "SGD without a schedule, evaluated at the running mean of its weights",
        "Defazio et al., arXiv 2405.15682",
        eval_params=_schedule_free_average,
    ),
    Method(
        "centralized-sgd",
        _centralized,
        "SGD on centralized gradients: without their mean over inputs",
        "Yong et al., arXiv 2004.01461",
    ),
    Method(
        "ngm-centralized-sgd",
        _centralized,
        "NGM-SGD on centralized gradients",
        "our combination",
        gain=dynamics,
    ),
    Method(
        "layerwise-proximal",
        _layerwise,
        "momentum SGD that preserves layers' outputs on earlier tasks (an oracle)",
        "LPR, Yoo et al., arXiv 2402.09542",
        ranges={"strength": NOT_NEGATIVE},
        needs_boundary=True,
    ),
    Method("muon", _muon, "momentum orthogonalized layer by layer", "Jordan et al. 2024"),
    Method(
        "adam-warmup",
        _adam_warmup,
        "Adam with a learning-rate warm-up",
        "Ma & Yarats, arXiv 1910.04209",
        ranges=_LENGTH,
    ),
    Method(
        "adam-time-reset",
        _adam_time_reset,
        "Adam with its step count reset at each known switch (an oracle)",
        "Ellis et al., arXiv 2412.17113",
        needs_boundary=True,
    ),
    Method(
        "warmup-at-switch",
        _warmup_at_switch,
        "momentum SGD with a new warm-up at each known switch (an oracle)",
        "our control",
        ranges=_LENGTH,
        needs_boundary=True,
    ),
    Method(
        "warmup-at-surprise",
        _warmup_at_surprise,
        "momentum SGD with a new warm-up whenever the loss jumps",
        "our control",
        ranges=_LENGTH | {"factor": POSITIVE},
    ),
)
