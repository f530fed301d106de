"""Calling the factories of methods, and the optimizers they make, with clear errors."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from gainjax.optim.extra_args import with_extra_args

_NEEDS_NUMBER = (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, none if it does not tell.

    Args:
        function: Any function.
    """
    try:
        return inspect.signature(function).parameters
    except ValueError:  # some built-ins have none
        return {}


def call(function: Callable[..., Any], hyperparameters: Mapping[str, Any], mask: Any) -> Any:
    """Call a factory with the arguments that it takes.

    Args:
        function: The factory.
        hyperparameters: Its numbers by name; None stands for the factory's own default.
        mask: Passed on if it takes a ``mask``.

    Raises:
        TypeError: If it needs plain numbers, or takes no schedule.
    """
    names = parameters(function)
    values = {k: v for k, v in hyperparameters.items() if k in names and v is not None}
    if "mask" in names:
        values["mask"] = mask
    name = getattr(function, "__name__", repr(function))
    try:
        return function(**values)
    except (jax.errors.ConcretizationTypeError, TypeError) as error:
        scheduled = [key for key, value in values.items() if callable(value) and key != "mask"]
        if isinstance(error, _NEEDS_NUMBER) or "scalar index" in str(error):
            raise TypeError(f"{_plain_number_needed(name)} {error}") from error
        if scheduled:
            raise TypeError(
                f"{name!r} takes no schedule for {', '.join(scheduled)}: {error}"
            ) from error
        raise


def explained(
    optimizer: optax.GradientTransformation, name: str
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that takes any extra argument and says why a method cannot use it.

    Args:
        optimizer: The optimizer.
        name: Name of the method.
    """
    optimizer = with_extra_args(optimizer)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        try:
            return optimizer.update(updates, state, params, **extra_args)
        except TypeError as error:
            if "Tracer' object is not callable" in str(error):  # taken for a schedule
                raise TypeError(_plain_number_needed(name)) from error
            raise
        except AttributeError as error:
            raise TypeError(
                f"method {name} cannot train the parameters of this model as they are, as a method "
                f"must: {error}. (optax.lookahead needs a form of its own.)"
            ) from error

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _plain_number_needed(name: str) -> str:
    return (
        f"{name!r} needs a plain number, but hyperparameters are traced, so that settings share "
        "one program. Fix that number inside the function instead of making it an argument."
    )
