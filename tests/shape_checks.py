"""Shapes in signatures hold, checked by beartype at every call of what :data:`MODULES` define."""

import collections.abc
import inspect
import typing

import beartype
import jaxtyping

MODULES = (
    "analysis.toys",
    "checks",
    "data.augment",
    "gain",
    "metrics",
    "models.conv",
    "models.cosine",
    "models.mlp",
    "models.resnet",
    "optim.class_means",
    "optim.layerwise",
    "optim.losses",
    "statistics",
    "training.advance",
    "training.goal",
    "training.sampling",
    "training.step",
)


def install():
    """Check from now on; before anything imports the package."""
    names = [f"gainjax.{name}" for name in MODULES]
    jaxtyping.install_import_hook(names, "shape_checks.check")


def check(function):
    """Return a function with its shapes checked, and nothing else.

    Arguments of other types have checks and messages of our own, which tests want to see.
    """
    if not inspect.isfunction(function):
        return function
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if _has_shape(hint)}
    checked = beartype.beartype(function)
    function.__annotations__ = hints
    return checked


def _has_shape(hint):
    if typing.get_origin(hint) is collections.abc.Callable:
        return False
    parts = getattr(hint, "__args__", ()) or (hint,)
    return any(inspect.isclass(p) and issubclass(p, jaxtyping.AbstractArray) for p in parts)
