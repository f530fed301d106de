"""Argument checks that many modules share."""

import numbers

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


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
