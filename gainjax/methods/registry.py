"""The registry of training methods: every one is an Optax transformation with a name.

The training step calls all of them alike, ``update(grads, state, params, uncertainty=..., ...)``,
and knows none by name. To add a method, add one entry.
"""

import dataclasses
import difflib
import numbers
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.optim import controls
from gainjax.optim.modulation import GainRule, gain_modulation, modulate

Hyperparameters = Mapping[str, ArrayLike]
T = TypeVar("T")

TRACE = "gain_trace"  # the hyper-parameter that is another run's gain, shape (updates,)


def _same(params: Any, opt_state: Any) -> Any:
    del opt_state
    return params


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A named optimiser and the defaults of its hyper-parameters.

    Args:
        name: Name in commands, tables and figures.
        summary: One line that says what it does.
        source: Where it is described.
        base: Makes the optimiser of the raw weights from the hyper-parameters (numbers or tracers)
            and the mask of the weights that a gain multiplies (None for all).
        hyperparameters: All hyper-parameters with their default values. Benchmarks may override.
        gain: Makes the gain that modulates the base, or None for a method without a gain.
        needs_trace: Whether the gain of another run is a further hyper-parameter, ``gain_trace``.
        eval_params: Makes the parameters to evaluate from the trained ones and the state.

    Example:
        >>> method = get_method("ngm-sgd")
        >>> method.dynamics(method.hyperparameters)
        GainDynamics(decay=0.9, baseline=1.0, sensitivity=0.4, max_gain=None)
    """

    name: str
    summary: str
    source: str
    base: Callable[[Hyperparameters, Any], optax.GradientTransformation]
    hyperparameters: Mapping[str, float]
    gain: Callable[[Hyperparameters], GainDynamics | GainRule] | None = None
    needs_trace: bool = False
    eval_params: Callable[[Any, Any], Any] = _same

    def __post_init__(self) -> None:
        object.__setattr__(self, "hyperparameters", MappingProxyType(dict(self.hyperparameters)))

    def initial_gain(self, hyperparameters: Hyperparameters) -> ArrayLike:
        """Return the gain of the first forward pass; 1 without a gain."""
        return 1.0 if self.gain is None else self.gain(hyperparameters).baseline

    def dynamics(self, hyperparameters: Hyperparameters) -> GainDynamics | None:
        """Return how uncertainty moves the gain of a model, or None without a gain.

        Raises:
            ValueError: If the method's gain follows something else than uncertainty.
        """
        gain = None if self.gain is None else self.gain(hyperparameters)
        if isinstance(gain, GainRule):
            raise ValueError(
                f"the gain of {self.name} does not follow uncertainty, so it cannot be in the "
                "model: use form='optimizer'"
            )
        return gain

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the complete optimiser of the effective weights (form 2).

        Args:
            hyperparameters: Values of all hyper-parameters, numbers or tracers.
            mask: Which parameters the gain multiplies, as in :func:`gainjax.gain_modulation`.
        """
        base = optax.with_extra_args_support(self.base(hyperparameters, mask))
        if self.gain is None:
            return base
        gain = self.gain(hyperparameters)
        if isinstance(gain, GainRule):
            return modulate(base, gain, mask=mask)
        return gain_modulation(
            base, gain.decay, gain.baseline, gain.sensitivity, max_gain=gain.max_gain, mask=mask
        )

    def check(self, hyperparameters: Mapping[str, float]) -> None:
        """Raise ValueError unless the hyper-parameters are known and in range.

        Args:
            hyperparameters: Plain numbers by name.
        """
        for name, value in hyperparameters.items():
            if name not in self.hyperparameters:
                known = ", ".join(self.hyperparameters)
                raise ValueError(f"{self.name} has no hyper-parameter {name!r}: it has {known}")
            wanted, holds = _RANGES[name]
            if not isinstance(value, numbers.Real) or not holds(value):
                raise ValueError(f"{name} of {self.name} must be {wanted}: got {value!r}")


_INFINITY = float("inf")
_UNIT = ("in [0, 1)", lambda x: 0 <= x < 1)
_POSITIVE = ("finite and > 0", lambda x: 0 < x < _INFINITY)
_NOT_NEGATIVE = ("finite and >= 0", lambda x: 0 <= x < _INFINITY)
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "learning_rate": _NOT_NEGATIVE,
    "momentum": _UNIT,
    "backbone_momentum": _UNIT,
    "b1": _UNIT,
    "b2": _UNIT,
    "smoothing": _UNIT,
    "weight_decay": _NOT_NEGATIVE,
    "average_decay": _UNIT,
    "radius": _NOT_NEGATIVE,
    "decay": _UNIT,
    "baseline": _POSITIVE,
    "sensitivity": _NOT_NEGATIVE,
    "height": _NOT_NEGATIVE,
}

_RATE = {"learning_rate": 0.01}
_MOMENTUM = {**_RATE, "momentum": 0.9}
_ADAM = {**_RATE, "b1": 0.9, "b2": 0.999}
_GAIN = {"decay": 0.9, "baseline": 1.0, "sensitivity": 0.4}
# Parameters that no gain multiplies, such as a ResNet's backbone under a modulated head.
_BACKBONE = {"backbone_momentum": 0.9}
_PAPER = "Rodriguez-Garcia et al., arXiv 2507.14056"
_CONTROL = "control of ours"


def _sgd(hp: Hyperparameters, mask: Any) -> optax.GradientTransformation:
    return optax.sgd(hp["learning_rate"])


def _msgd(hp: Hyperparameters, mask: Any) -> optax.GradientTransformation:
    return optax.sgd(hp["learning_rate"], hp["momentum"])


def _adam(hp: Hyperparameters, mask: Any) -> optax.GradientTransformation:
    return optax.adam(hp["learning_rate"], b1=hp["b1"], b2=hp["b2"])


def _sgd_with_backbone(hp: Hyperparameters, mask: Any) -> optax.GradientTransformation:
    """SGD for modulated weights, momentum for the others, if there are others."""
    if mask is None or all(jax.tree.leaves(mask)):
        return optax.sgd(hp["learning_rate"])
    groups = {
        "modulated": optax.sgd(hp["learning_rate"]),
        "backbone": optax.sgd(hp["learning_rate"], hp["backbone_momentum"]),
    }
    return optax.partition(groups, jax.tree.map(lambda on: "modulated" if on else "backbone", mask))


def _mean(trace: ArrayLike) -> jax.Array:
    return jnp.mean(jnp.asarray(trace), keepdims=True)


def _shuffled(trace: ArrayLike) -> jax.Array:
    # One order for all seeds and settings; the first value stays, since it scales the weights.
    trace = jnp.asarray(trace)
    order = jax.random.permutation(jax.random.key(0), len(trace) - 1) + 1
    return jnp.concatenate([trace[:1], trace[order]])


def _dynamics(hp: Hyperparameters) -> GainDynamics:
    return GainDynamics(hp["decay"], hp["baseline"], hp["sensitivity"])


_ENTRIES = (
    Method(
        "ngm-sgd",
        "SGD with a gain that rises with uncertainty: two timescales",
        _PAPER,
        _sgd_with_backbone,
        {**_RATE, **_GAIN, **_BACKBONE},
        _dynamics,
    ),
    Method(
        "ngm-msgd",
        "the same gain over SGD with momentum",
        _PAPER,
        _msgd,
        {**_MOMENTUM, **_GAIN},
        _dynamics,
    ),
    Method("ngm-adam", "the same gain over Adam", _PAPER, _adam, {**_ADAM, **_GAIN}, _dynamics),
    Method("sgd", "plain stochastic gradient descent", "Robbins & Monro 1951", _sgd, _RATE),
    Method("msgd", "SGD with heavy-ball momentum", "Polyak 1964", _msgd, _MOMENTUM),
    Method(
        "nesterov",
        "SGD with Nesterov momentum",
        "Sutskever et al. 2013",
        lambda hp, mask: optax.sgd(hp["learning_rate"], hp["momentum"], nesterov=True),
        _MOMENTUM,
    ),
    Method(
        "rmsprop",
        "gradients over their running root mean square",
        "Tieleman & Hinton 2012",
        lambda hp, mask: optax.rmsprop(hp["learning_rate"], decay=hp["smoothing"]),
        {**_RATE, "smoothing": 0.99},
    ),
    Method(
        "adagrad",
        "gradients over their accumulated root sum of squares",
        "Duchi et al. 2011",
        lambda hp, mask: optax.adagrad(hp["learning_rate"], initial_accumulator_value=0.0),
        _RATE,
    ),
    Method("adam", "adaptive moments", "Kingma & Ba, arXiv 1412.6980", _adam, _ADAM),
    Method(
        "adamw",
        "Adam with decoupled weight decay",
        "Loshchilov & Hutter, arXiv 1711.05101",
        lambda hp, mask: optax.adamw(
            hp["learning_rate"], b1=hp["b1"], b2=hp["b2"], weight_decay=hp["weight_decay"]
        ),
        {**_ADAM, "weight_decay": 0.01},
    ),
    Method(
        "entropy-lr",
        "SGD whose learning rate follows the squared gain signal; no weight is scaled",
        _CONTROL,
        lambda hp, mask: controls.entropy_scaled(optax.sgd(hp["learning_rate"]), _dynamics(hp)),
        {**_RATE, **_GAIN},
    ),
    Method(
        "constant-gain",
        "SGD under the time average of another run's gain",
        _CONTROL,
        _sgd_with_backbone,
        {**_RATE, **_BACKBONE},
        lambda hp: controls.replayed_gain(_mean(hp[TRACE])),
        needs_trace=True,
    ),
    Method(
        "replayed-gain",
        "SGD under the gain of another run, replayed open loop",
        _CONTROL,
        _sgd_with_backbone,
        {**_RATE, **_BACKBONE},
        lambda hp: controls.replayed_gain(hp[TRACE]),
        needs_trace=True,
    ),
    Method(
        "shuffled-gain",
        "SGD under the gain of another run, shuffled in time",
        _CONTROL,
        _sgd_with_backbone,
        {**_RATE, **_BACKBONE},
        lambda hp: controls.replayed_gain(_shuffled(hp[TRACE])),
        needs_trace=True,
    ),
    Method(
        "bump-at-switch",
        "SGD under a gain that rises by 1 at each known switch (an oracle)",
        _CONTROL,
        _sgd_with_backbone,
        {**_RATE, "decay": 0.9, "baseline": 1.0, "height": 1.0, **_BACKBONE},
        lambda hp: controls.bump_at_switches(hp["decay"], hp["baseline"], hp["height"]),
    ),
    Method(
        "msgd-reset",
        "momentum SGD that forgets its momentum at each known switch (an oracle)",
        _CONTROL,
        lambda hp, mask: controls.reset_at_switches(_msgd(hp, mask)),
        _MOMENTUM,
    ),
    Method(
        "adam-reset",
        "Adam that forgets its moments at each known switch (an oracle)",
        _CONTROL,
        lambda hp, mask: controls.reset_at_switches(_adam(hp, mask)),
        _ADAM,
    ),
    Method(
        "sgd-ema",
        "SGD, evaluated at an exponential moving average of the weights",
        "Polyak & Juditsky 1992",
        lambda hp, mask: controls.averaged_weights(_sgd(hp, mask), hp["average_decay"]),
        {**_RATE, "average_decay": 0.95},
        eval_params=controls.get_average,
    ),
    Method(
        "sam",
        "SGD on the gradient at the worst nearby point (sharpness-aware)",
        "Foret et al., arXiv 2010.01412",
        lambda hp, mask: controls.sharpness_aware(_sgd(hp, mask), hp["radius"]),
        {**_RATE, "radius": 0.05},
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ENTRIES})


def get_method(name: str) -> Method:
    """Return a registered method.

    Args:
        name: Name of the method, as ``gainjax list`` shows it.

    Returns:
        The registry's entry.

    Raises:
        ValueError: If there is no such method; names the nearest one.

    Example:
        >>> get_method("adam").summary
        'adaptive moments'
    """
    return lookup(METHODS, "method", name)


def lookup(registry: Mapping[str, T], kind: str, name: str) -> T:
    """Return an entry of a registry, or raise ValueError with the nearest name."""
    if name in registry:
        return registry[name]
    nearest = difflib.get_close_matches(name, registry, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(f"unknown {kind} {name!r}: {hint}There are {', '.join(registry)}")
