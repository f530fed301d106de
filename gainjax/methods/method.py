"""A training method: an Optax transformation with named hyperparameters."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics
from gainjax.methods.factories import call, explained, parameters
from gainjax.optim.modulation import GainRule, gain_modulation, modulate

Hyperparameters = Mapping[str, Any]  # numbers, tracers, schedules (callables) or None, by name
TRACE = "gain_trace"  # the argument that receives another run's gain, shape (updates,)
_GIVEN = ("mask", TRACE)  # arguments of a factory that the program provides


class Range(NamedTuple):
    """The values that a hyperparameter may have."""

    wanted: str
    holds: Callable[[float], bool]


UNIT = Range("in [0, 1)", lambda x: 0 <= x < 1)
POSITIVE = Range("finite and > 0", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = Range("finite and >= 0", lambda x: 0 <= x < math.inf)
FINITE = Range("finite", math.isfinite)
# The usual ranges of these names; a method may override them.
RANGES: Mapping[str, Range] = {
    "learning_rate": NOT_NEGATIVE,
    "momentum": UNIT,
    "b1": UNIT,
    "b2": UNIT,
    "weight_decay": NOT_NEGATIVE,
    "decay": UNIT,
    "baseline": POSITIVE,
    "sensitivity": NOT_NEGATIVE,
    "max_gain": POSITIVE,
}


def trained_params(params: Any, opt_state: Any) -> Any:
    """Return the parameters as trained, which most methods evaluate."""
    del opt_state
    return params


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A named optimizer and its hyperparameters.

    The hyperparameters are the numeric defaults of ``make``, ``gain`` and ``wrap``: they can be set
    and swept, and they are traced, so that all settings of a method share one compiled program. A
    default of None stands for an optional number. Strings and booleans stay fixed.

    The training step calls ``update(grads, state, params, ...)`` with the extra arguments that
    :func:`gainjax.training.step.train_step` lists; a method takes those it needs.

    Args:
        name: Name in commands, tables and figures.
        make: Makes the optimizer from its hyperparameters, ``make(learning_rate=0.1)``. An
            argument named ``mask`` receives a boolean mask of the parameters that a gain
            multiplies.
        summary: One-line description.
        source: Where the method is described.
        title: Name in figures and tables, or None for ``name``.
        gain: Makes, from its own arguments, the :class:`gainjax.GainDynamics` or
            :class:`gainjax.optim.modulation.GainRule` that modulates the optimizer; None for a
            method without a gain. An argument named ``gain_trace`` receives another run's gain.
        wrap: Wraps the complete optimizer, gain included, ``wrap(optimizer, average_decay=0.9)``;
            its other arguments are also hyperparameters. None: not wrapped.
        eval_params: Maps the trained parameters and the optimizer's state to the parameters to
            evaluate, such as an average.
        ranges: Ranges of hyperparameters that differ from the usual ones.
        needs_boundary: Whether it is informed of task changes, like an oracle.
        reference: The ``"module:attribute"`` that it was imported from, to import it again.

    Raises:
        TypeError: If ``make``, ``gain`` or ``wrap`` is not callable, or an argument has no default.
        ValueError: If a range is given for an unknown hyperparameter.

    Example:
        >>> def lion(learning_rate=1e-3, b1=0.9):
        ...     return optax.lion(learning_rate, b1=b1)
        >>> dict(Method("lion", lion).hyperparameters)
        {'learning_rate': 0.001, 'b1': 0.9}
    """

    name: str
    make: Callable[..., optax.GradientTransformation]
    summary: str = "a method from elsewhere"
    source: str = "not stated"
    title: str | None = None
    gain: Callable[..., GainDynamics | GainRule] | None = None
    wrap: Callable[..., optax.GradientTransformation] | None = None
    eval_params: Callable[[Any, Any], Any] = trained_params
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    needs_boundary: bool = False
    reference: str | None = None
    hyperparameters: Mapping[str, float | None] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.strip()):
            raise ValueError(f"name of a method must be a word: got {self.name!r}")
        found = _numbers("make", self.make, self.name)
        if self.gain is not None:
            found |= _numbers("gain", self.gain, self.name)
        if self.wrap is not None:
            found |= _numbers("wrap", self.wrap, self.name, skip=1)
        if unknown := set(self.ranges) - set(found):
            raise ValueError(
                f"ranges of {self.name} name {', '.join(sorted(unknown))}, which is not a "
                f"hyperparameter of it: it has {', '.join(found) or 'none'}"
            )
        object.__setattr__(self, "hyperparameters", MappingProxyType(found))
        self.check(found)

    @property
    def evaluates_trained(self) -> bool:
        """Whether the trained parameters themselves are evaluated."""
        return self.eval_params is trained_params

    def shown_as(self, label: str) -> str:
        """Return how tables and figures name this method under a label: by title or by label."""
        return self.title if self.title and label == self.name else label

    @property
    def borrows_gain(self) -> bool:
        """Whether another run's gain is among its arguments."""
        return any(TRACE in parameters(f) for f in (self.make, self.gain) if f is not None)

    def dynamics(self, hyperparameters: Hyperparameters) -> GainDynamics | None:
        """Return how uncertainty moves the gain of a model, or None without a gain.

        Raises:
            ValueError: If the method's gain does not follow uncertainty.
        """
        gain = self.rule(hyperparameters)
        if isinstance(gain, GainRule):
            raise ValueError(
                f"the gain of {self.name} does not follow uncertainty, so it cannot be in the "
                "model: use form='optimizer'"
            )
        return gain

    def initial_gain(self, hyperparameters: Hyperparameters) -> ArrayLike:
        """Return the gain of the first forward pass; 1 without a gain."""
        rule = self.rule(hyperparameters)
        return 1.0 if rule is None else rule.baseline

    def base(
        self, hyperparameters: Hyperparameters, mask: Any = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer without its gain (of the raw weights, if there is a gain).

        Args:
            hyperparameters: Values of all hyperparameters: numbers, tracers, schedules or None.
            mask: Which parameters a gain multiplies, booleans in their structure.

        Raises:
            TypeError: If the factory does not return an optimizer.
        """
        base = call(self.make, hyperparameters, mask)
        if not (hasattr(base, "init") and hasattr(base, "update")):
            raise TypeError(
                f"method {self.name} must return an optax.GradientTransformation such as "
                f"optax.sgd(0.01): got {base!r}"
            )
        return explained(base, self.name)

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any = None
    ) -> optax.GradientTransformationExtraArgs:
        """Return the complete optimizer of the effective weights; arguments as for :meth:`base`."""
        optimizer = self.base(hyperparameters, mask)
        rule = self.rule(hyperparameters)
        if isinstance(rule, GainRule):
            optimizer = modulate(optimizer, rule, mask=mask)
        elif rule is not None:
            optimizer = gain_modulation(
                optimizer,
                rule.decay,
                rule.baseline,
                rule.sensitivity,
                max_gain=rule.max_gain,
                mask=mask,
            )
        if self.wrap is None:
            return optimizer
        fixed = parameters(partial(self.wrap, optimizer))
        for name, value in hyperparameters.items():
            if name in fixed and callable(value):
                raise TypeError(f"{name} of {self.name} must be one number: got a schedule")
        wrapped = call(partial(self.wrap, optimizer), hyperparameters, mask)
        return explained(wrapped, self.name)

    def check(self, hyperparameters: Mapping[str, Any]) -> None:
        """Raise ValueError unless hyperparameters are known and in range.

        Args:
            hyperparameters: Plain numbers, sequences of them (one per update) or None, by name.
        """
        for name, value in hyperparameters.items():
            if name not in self.hyperparameters:
                known = ", ".join(self.hyperparameters) or "none"
                raise ValueError(f"{self.name} has no hyperparameter {name!r}: it has {known}")
            if value is None:
                if self.hyperparameters[name] is not None:
                    raise ValueError(f"{name} of {self.name} must be a number: got None")
                continue
            wanted, holds = self.ranges.get(name) or RANGES.get(name, FINITE)
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, numbers.Real) or not holds(float(number)):
                    raise ValueError(f"{name} of {self.name} must be {wanted}: got {number!r}")
                with np.errstate(over="ignore", under="ignore"):
                    trained = float(np.float32(number))  # what the program takes
                if not holds(trained) or (number != 0) != (trained != 0):
                    raise ValueError(
                        f"{name} of {self.name} must be {wanted} in float32, too: got {number!r}, "
                        f"which is {trained} there"
                    )

    def rule(self, hyperparameters: Hyperparameters) -> GainDynamics | GainRule | None:
        """Return what moves the gain, or None without a gain; arguments as for :meth:`base`."""
        if self.gain is None:
            return None
        names = parameters(self.gain)
        if not any(callable(value) for name, value in hyperparameters.items() if name in names):
            return call(self.gain, hyperparameters, None)
        return _scheduled(self.gain, hyperparameters)


def _numbers(what: str, function: Any, method: str, skip: int = 0) -> dict[str, float | None]:
    """Return the hyperparameters among the arguments of a factory, with their defaults.

    The first `skip` arguments are supplied by the program.
    """
    if not callable(function):
        raise TypeError(f"{what} of method {method} must be a function: got {function!r}")
    found: dict[str, float | None] = {}
    for name, parameter in list(parameters(function).items())[skip:]:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name in _GIVEN or variadic:
            continue
        default = parameter.default
        if default is parameter.empty or parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"argument {name!r} of method {method} needs a default, such as {name}=0.1, and "
                "must be allowed as a keyword: the numbers among the defaults are the "
                "hyperparameters. An optimizer with fixed numbers needs a label: "
                '{"mine": optax.adam(1e-3)}'
            )
        if default is None:
            found[name] = None
        elif isinstance(default, numbers.Real | jax.Array) and not isinstance(default, bool):
            found[name] = float(default)
    return found


def _scheduled(gain: Callable[..., Any], hyperparameters: Hyperparameters) -> GainRule:
    """Return the rule of a gain some of whose numbers follow a schedule of the update count."""

    def at(count: Any) -> Any:
        now = {k: v(count) if callable(v) else v for k, v in hyperparameters.items()}
        return call(gain, now, None)

    def next_gain(now: jax.Array, count: jax.Array, uncertainty: jax.Array, extra: Any) -> Any:
        rule = at(count)
        if isinstance(rule, GainRule):
            return rule.next_gain(now, count, uncertainty, extra)
        return rule.step(now, uncertainty)

    return GainRule(at(0).baseline, next_gain)


def schedule(values: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Return the schedule that looks up a value for each update; the last one holds forever.

    Args:
        values: One value per update, shape (updates,).

    Example:
        >>> float(schedule(jnp.array([0.1, 0.2]))(5))
        0.20000000298023224
    """
    return lambda count: values[jnp.minimum(count, len(values) - 1)]
