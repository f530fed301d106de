"""The registry of methods: the only place where names are looked up."""

import dataclasses
import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gainjax.checks import lookup
from gainjax.methods import (
    averages,
    class_means,
    clipped,
    controls,
    flat,
    gains,
    level,
    losses,
    plain,
    steps,
)
from gainjax.methods.method import Method
from gainjax.references import absolute, imported

_FAMILIES = (
    gains,
    plain,
    averages,
    level,
    clipped,
    steps,
    losses,
    class_means,
    flat,
    controls,
)
_METHODS: dict[str, Method] = {
    method.name: method for family in _FAMILIES for method in family.ENTRIES
}
METHODS: Mapping[str, Method] = MappingProxyType(_METHODS)


def register(method: Method) -> Method:
    """Add a method to the registry, so that every command in this process knows its name.

    Args:
        method: The method.

    Returns:
        The same method.

    Raises:
        ValueError: If a method of that name exists.

    Example:
        >>> import optax
        >>> _ = register(
        ...     Method("sign-sgd", lambda learning_rate=0.01: optax.sign_sgd(learning_rate))
        ... )
        >>> get_method("sign-sgd").name
        'sign-sgd'
    """
    if not isinstance(method, Method):
        raise TypeError(f"method must be a gainjax.Method: got {method!r}")
    if _METHODS.setdefault(method.name, method) is not method:
        raise ValueError(f"there is already a method {method.name!r}: choose another name")
    return method


def get_method(name: str) -> Method:
    """Return a registered method.

    Args:
        name: Name of the method, as ``gainjax list`` shows it.

    Raises:
        ValueError: If there is no such method; the message suggests the nearest name.

    Example:
        >>> get_method("adam").summary
        'adaptive moments'
    """
    return lookup(METHODS, "method", name)


def as_methods(methods: Any) -> dict[str, Method]:
    """Return methods by label, given names, objects or factories.

    Args:
        methods: A list of names, :class:`Method` objects, factories (functions whose arguments have
            defaults) or ``"module:attribute"`` and ``"./file.py:attribute"`` references; or a
            mapping from labels to those or to Optax transformations.

    Raises:
        TypeError: If an entry is none of those.
        ValueError: If the list is empty, a label is repeated or a name is unknown.

    Example:
        >>> import optax
        >>> list(as_methods({"plain": "sgd", "lion": optax.lion(1e-3)}))
        ['plain', 'lion']
    """
    if isinstance(methods, Mapping):
        named = [(label, as_method(thing, label)) for label, thing in methods.items()]
        if wrong := [label for label in methods if not isinstance(label, str) or not label]:
            raise TypeError(f"labels of methods must be words: got {wrong[0]!r}")
    elif isinstance(methods, Sequence) and not isinstance(methods, str):
        found = [as_method(thing) for thing in methods]
        named = [(method.name, method) for method in found]
    else:
        raise ValueError(
            "methods must be a list of different names, methods or factories, or a mapping of "
            f"labels to them: got {methods!r}"
        )
    labels = [label for label, _ in named]
    if not named or len(set(labels)) < len(labels):
        raise ValueError(f"methods must be a list of different names: got {labels}")
    return dict(named)


# One method for each factory or transformation, since compiled programs are cached by it.
_made: weakref.WeakValueDictionary[Any, Method] = weakref.WeakValueDictionary()


def as_method(thing: Any, label: str | None = None) -> Method:
    """Return one method; see :func:`as_methods`.

    Args:
        thing: A name, method, factory or, with a label, an optimizer.
        label: Its label, which becomes the name of a factory or transformation.
    """
    if isinstance(thing, Method):
        return thing
    if isinstance(thing, str):
        if ":" not in thing:
            return get_method(thing)
        method = as_method(imported("method", thing), label or thing.rpartition(":")[2])
        return _only(dataclasses.replace(method, reference=absolute(thing)), method)
    if hasattr(thing, "init") and hasattr(thing, "update"):
        if label is None:
            raise TypeError(
                "an Optax transformation has no name: give methods as a mapping, such as "
                '{"mine": optax.sgd(0.1)}'
            )
        return _only(Method(label, lambda: thing, summary="an optimizer with fixed numbers"), thing)
    if callable(thing):
        name = label or getattr(thing, "__name__", "")
        if not name or name == "<lambda>":
            raise TypeError(
                'a function without a name needs a label: give methods as a mapping, {"mine": ...}'
            )
        lines = (getattr(thing, "__doc__", None) or "").strip().splitlines()
        summary = lines[0] if lines else "a method from elsewhere"
        return _only(Method(name, thing, summary=summary), thing)
    raise TypeError(
        "a method must be a name, a gainjax.Method, a function that returns an optimizer, or, in "
        f"a mapping, an optimizer: got {thing!r}"
    )


def _only(method: Method, thing: Any) -> Method:
    """Return the method that was made of the same thing before, if any."""
    try:
        key = (method.name, method.reference, thing, *method.hyperparameters.items())
        return _made.setdefault(key, method)
    except TypeError:  # not hashable
        return method
