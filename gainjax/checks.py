"""Argument checks that many modules share."""

import difflib
import numbers
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

T = TypeVar("T")


def check_integer(name: str, value: object, least: int, most: int = 2**31 - 1) -> None:
    """Raise unless a value is an integer within a range.

    Args:
        name: Name of the argument, for the message.
        value: Its value.
        least: The smallest allowed integer.
        most: The largest allowed integer.

    Raises:
        ValueError: If it is not such an integer.

    Example:
        >>> check_integer("num_tasks", 3, 1)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}: got {value!r}")
    if int(value) > most:
        raise ValueError(f"{name} must be at most {most}: got {value!r}")


def lookup(registry: Mapping[str, T], kind: str, name: object) -> T:
    """Return an entry of a registry, or raise with the nearest name.

    Args:
        registry: Entries by name.
        kind: What they are, for the message.
        name: The wanted name.

    Raises:
        ValueError: If there is no such entry.

    Example:
        >>> lookup({"cifar-10": 10, "mnist": 28}, "data set", "CIFAR10")
        Traceback (most recent call last):
        ValueError: unknown data set 'CIFAR10': did you mean 'cifar-10'? Known: cifar-10, mnist
    """
    if isinstance(name, str) and name in registry:
        return registry[name]
    nearest = difflib.get_close_matches(str(name).lower(), registry, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(f"unknown {kind} {name!r}: {hint}Known: {', '.join(registry)}")


def check_samples(name: str, values: ArrayLike) -> Float[np.ndarray, "*rows seeds"]:
    """Return finite samples with at least one seed as float64, or raise.

    Args:
        name: Name of the argument, for the message.
        values: The samples.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If there is no seed, or a sample is not finite.
    """
    array = real_numbers(name, values)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., seeds), not empty: got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite: leave out the seeds that were not measured")
    return array


def real_numbers(name: str, values: ArrayLike) -> Float[np.ndarray, "..."]:
    """Return real numbers as float64, or raise.

    Args:
        name: Name of the argument, for the message.
        values: The numbers.

    Raises:
        TypeError: If they are anything else, or masked.
    """
    if np.ma.is_masked(values):
        raise TypeError(f"{name} must not be masked: leave out what was not measured")
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers: got dtype {array.dtype}")
    return array.astype(np.float64)
