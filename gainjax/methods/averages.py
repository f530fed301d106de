"""Averaging for evaluation: evaluate any method at a moving average of its weights."""

import dataclasses
from functools import partial
from typing import Any, Literal, get_args

import optax
from jax.typing import ArrayLike

from gainjax.methods.gains import ENTRIES as GAINS
from gainjax.methods.level import ENTRIES as LEVELS
from gainjax.methods.method import UNIT, Method
from gainjax.methods.plain import ENTRIES as PLAIN
from gainjax.optim.averaging import averaged_weights, get_average
from gainjax.optim.states import slow_params

Averaged = Literal["effective", "slow"]
DECAY = 0.8


def _effective(
    optimizer: optax.GradientTransformation, average_decay: ArrayLike = DECAY
) -> optax.GradientTransformation:
    return averaged_weights(optimizer, average_decay)


def _slow(
    optimizer: optax.GradientTransformation, average_decay: ArrayLike = DECAY
) -> optax.GradientTransformation:
    return averaged_weights(optimizer, average_decay, of=slow_params)


def averaged(method: Method, average_decay: float = DECAY, of: Averaged = "effective") -> Method:
    r"""Return a method with the same training, evaluated at a moving average of its weights.

    .. math:: \bar\theta_{t+1} = \delta \bar\theta_t + (1 - \delta) \theta_{t+1}

    The averaged network has its own batch statistics, collected on the training batches: one more
    forward pass per update, for networks with batch statistics.

    Args:
        method: The method.
        average_decay: Default of the hyperparameter of that name, :math:`\delta` in [0, 1): the
            average reaches back about 1 / (1 - decay) updates.
        of: "effective" to average the weights as they are used, or, for a method with a gain,
            "slow" to average their values once the gain has decayed: the raw weights times the
            baseline, so that this is also the average of the raw weights.

    Returns:
        A method with "-ema" or "-slow-ema" appended to the name.

    Raises:
        TypeError: If ``method`` is not a :class:`gainjax.Method`.
        ValueError: If the method is already evaluated at other weights than those it trains, or
            ``of`` is "slow" and it has no gain.

    Example:
        >>> from gainjax import get_method
        >>> averaged(get_method("adam"), average_decay=0.9).hyperparameters["average_decay"]
        0.9

    References:
        Temporal ensembles in online continual learning: Soutif-Cormerais et al., arXiv 2306.16817;
        Polyak & Juditsky 1992. The finding that they close most of the stability gap is ours.
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"method must be a gainjax.Method, as get_method returns it: got {method!r}"
        )
    if not method.evaluates_trained or method.wrap is not None:
        raise ValueError(f"method must be evaluated at its own weights: {method.name} is not")
    if of not in get_args(Averaged):
        raise ValueError(f"of must be one of {get_args(Averaged)}: got {of!r}")
    if of == "slow" and method.gain is None:
        raise ValueError(f"of='slow' removes a gain, and {method.name} has none")
    wrap: Any = _slow if of == "slow" else _effective
    suffix, what = ("-slow-ema", "slow weights") if of == "slow" else ("-ema", "weights")
    return dataclasses.replace(
        method,
        name=method.name + suffix,
        summary=f"{method.title or method.name}, evaluated at a moving average of its {what}",
        source="Soutif-Cormerais et al., arXiv 2306.16817",
        title=None,
        wrap=wrap if average_decay == DECAY else partial(wrap, average_decay=average_decay),
        eval_params=get_average,
        ranges={**method.ranges, "average_decay": UNIT},
    )


_BASES = {method.name: method for method in (*PLAIN, *GAINS, *LEVELS)}
ENTRIES = (
    averaged(_BASES["sgd"]),
    averaged(_BASES["msgd"]),
    averaged(_BASES["adam"]),
    averaged(_BASES["adagrad"]),
    averaged(_BASES["ngm-sgd"]),
    averaged(_BASES["ngm-sgd"], of="slow"),
    averaged(_BASES["fixed-gain"]),
)
