"""The registry of training methods: every one is an Optax transformation with a name.

The training step calls all of them alike, ``update(grads, state, params, uncertainty=..., ...)``, and
knows none by name. To add a method, add one entry.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.transform import gain_modulation

Hyperparameters = Mapping[str, ArrayLike]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A named optimiser and the defaults of its hyper-parameters.

    Args:
        name: Name in commands, tables and figures.
        summary: One line that says what it does.
        source: Where it is described.
        base: Makes the optimiser of the raw weights from the hyper-parameters (numbers or tracers).
        hyperparameters: All hyper-parameters with their default values. Benchmarks may override.
        modulated: Whether a gain modulates the base. Adds decay, baseline and sensitivity.

    Example:
        >>> method = get_method("ngm-sgd")
        >>> print(method.modulated, dict(method.hyperparameters))
        True {'learning_rate': 0.01, 'decay': 0.9, 'baseline': 1.0, 'sensitivity': 0.4}
    """

    name: str
    summary: str
    source: str
    base: Callable[[Hyperparameters], optax.GradientTransformation]
    hyperparameters: Mapping[str, float]
    modulated: bool = False

    def __post_init__(self) -> None:
        defaults = dict(self.hyperparameters)
        if self.modulated:
            defaults |= {"decay": 0.9, "baseline": 1.0, "sensitivity": 0.4}
        object.__setattr__(self, "hyperparameters", MappingProxyType(defaults))

    def dynamics(self, hyperparameters: Hyperparameters) -> GainDynamics | None:
        """Return how the gain moves under these hyper-parameters, or None without a gain."""
        if not self.modulated:
            return None
        return GainDynamics(*(hyperparameters[k] for k in ("decay", "baseline", "sensitivity")))

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the complete optimiser of the effective weights (form 2).

        Args:
            hyperparameters: Values of all hyper-parameters, numbers or tracers.
            mask: Which parameters the gain multiplies, as in :func:`gainjax.gain_modulation`.
        """
        base = optax.with_extra_args_support(self.base(hyperparameters))
        dynamics = self.dynamics(hyperparameters)
        if dynamics is None:
            return base
        return gain_modulation(
            base, dynamics.decay, dynamics.baseline, dynamics.sensitivity, mask=mask
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
            if name in _RANGES:
                wanted, holds = _RANGES[name]
                if not holds(value):
                    raise ValueError(f"{name} of {self.name} must be {wanted}: got {value!r}")
        self.dynamics(dict(self.hyperparameters) | dict(hyperparameters))  # checks its own numbers


_UNIT = ("in [0, 1)", lambda x: 0 <= x < 1)
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "learning_rate": ("finite and >= 0", lambda x: 0 <= x < float("inf")),
    "momentum": _UNIT,
    "b1": _UNIT,
    "b2": _UNIT,
}


def _sgd(hp: Hyperparameters) -> optax.GradientTransformation:
    return optax.sgd(hp["learning_rate"])


def _msgd(hp: Hyperparameters) -> optax.GradientTransformation:
    return optax.sgd(hp["learning_rate"], hp["momentum"])


def _adam(hp: Hyperparameters) -> optax.GradientTransformation:
    return optax.adam(hp["learning_rate"], b1=hp["b1"], b2=hp["b2"])


_ENTRIES = (
    Method(
        "ngm-sgd",
        "SGD with a gain that rises with uncertainty: two timescales",
        "Rodriguez-Garcia et al., arXiv 2507.14056",
        _sgd,
        {"learning_rate": 0.01},
        modulated=True,
    ),
    Method(
        "sgd",
        "plain stochastic gradient descent",
        "Robbins & Monro 1951",
        _sgd,
        {"learning_rate": 0.01},
    ),
    Method(
        "msgd",
        "SGD with heavy-ball momentum",
        "Polyak 1964",
        _msgd,
        {"learning_rate": 0.01, "momentum": 0.9},
    ),
    Method(
        "adam",
        "adaptive moments",
        "Kingma & Ba, arXiv 1412.6980",
        _adam,
        {"learning_rate": 0.01, "b1": 0.9, "b2": 0.999},
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
