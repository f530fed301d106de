"""Conversion of arrays in memory to the types that streams hold."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from gainjax.data.stream import MOST_CLASSES, check_finite

_EXACT = 2**24  # integers up to here are exact in float32


def as_array(name: str, values: ArrayLike) -> np.ndarray:
    """Return values as a NumPy array of examples.

    Args:
        name: Name for messages.
        values: Anything array-like with one row per example.

    Returns:
        The array, in the byte order of this machine.

    Raises:
        TypeError: If it is not an array, or masked.
        ValueError: If its rows have different lengths, or it has no rows.

    Example:
        >>> as_array("x_train", [[1, 2], [3, 4]]).shape
        (2, 2)
    """
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill it or leave examples out")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be one array, with rows of one shape: {error}") from None
    if array.ndim == 0:
        raise TypeError(f"{name} must be an array of examples: got {type(values).__name__}")
    if len(array) == 0:
        raise ValueError(f"{name} holds no examples: got an array of shape {array.shape}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_inputs(name: str, values: ArrayLike) -> np.ndarray:
    """Return inputs in the type that a stream stores.

    Floats become float32. Integers of 32 or more bits become int32, smaller ones and booleans
    are kept.

    Args:
        name: Name for messages.
        values: Inputs, shape (N, ...).

    Returns:
        The inputs; not copied if they already have that type.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If a number is not finite or too large, or there are none.

    Example:
        >>> as_inputs("x_train", np.eye(2)).dtype, as_inputs("x_train", [[7, 8]]).dtype
        (dtype('float32'), dtype('int32'))
    """
    array = as_array(name, values)
    if array.size == 0:
        raise ValueError(f"{name} holds no numbers: got an array of shape {array.shape}")
    if jnp.issubdtype(array.dtype, jnp.floating):
        with np.errstate(over="ignore"):  # caught below
            result = array.astype(np.float32, copy=False)
        if array.dtype.itemsize > 4:
            check_finite(name, array)
        check_finite(f"{name} as float32", result)
        return result
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iu":  # durations count as integers elsewhere
        raise TypeError(
            f"{name} must be real numbers: got {array.dtype}. Turn categories and strings into "
            "numbers first"
        )
    if array.dtype.itemsize < 4:
        return array
    _check_int32(name, array)
    return array.astype(np.int32, copy=False)


def as_targets(names: Sequence[str], values: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Return targets of several parts in the type that a stream stores.

    Integers, booleans and strings of shape (N,) or integers of shape (N, 1) are classes, strings
    numbered in sorted order over all parts. Everything else becomes float32.

    Args:
        names: Name of each part, for messages.
        values: The targets of each part, shape (N,) or (N, ...).

    Returns:
        The targets: int32 of shape (N,), or float32 of shape (N, ...).

    Raises:
        TypeError: If targets are neither numbers nor strings, or parts are of different kinds.
        ValueError: If a label is out of range, or a number is not finite.

    Example:
        >>> as_targets(["y_train", "y_test"], [["dog", "cat"], ["dog"]])
        [array([1, 0], dtype=int32), array([1], dtype=int32)]
        >>> as_targets(["y_train"], [[0.5, 1.5]])
        [array([0.5, 1.5], dtype=float32)]
    """
    arrays = [_as_labels(name, value) for name, value in zip(names, values, strict=True)]
    if all(is_text(array) for array in arrays):
        classes = np.unique(np.concatenate(arrays))
        return [np.searchsorted(classes, array).astype(np.int32) for array in arrays]
    kinds = [_kind(array) for array in arrays]
    for name, kind in zip(names, kinds, strict=True):
        if kind != kinds[0]:
            raise TypeError(f"{names[0]} holds {kinds[0]} and {name} holds {kind}: use one kind")
    if kinds[0] == "classes":
        for name, array in zip(names, arrays, strict=True):
            check_classes(name, array)
        return [array.astype(np.int32) for array in arrays]
    return [_as_numbers(name, array) for name, array in zip(names, arrays, strict=True)]


def as_classes(name: str, values: ArrayLike) -> np.ndarray:
    """Return labels, shape (N,): integers or strings; see :func:`as_targets`.

    Args:
        name: Name for messages.
        values: Labels, shape (N,) or (N, 1).

    Raises:
        TypeError: If they are anything else; the message tells how to convert other labels.

    Example:
        >>> as_classes("y_train", [[3], [1]])
        array([3, 1])
    """
    labels = _as_labels(name, values)
    if is_text(labels):
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        remedy = ".argmax(-1)" if labels.ndim == 2 else ".astype(int)"
        raise TypeError(
            f"{name} must be classes, one integer or string per example: got {labels.dtype} of "
            f"shape {labels.shape}. Perhaps {remedy} makes them so"
        )
    return labels.astype(np.int8) if labels.dtype == bool else labels


def check_classes(name: str, labels: np.ndarray) -> None:
    """Raise unless integers are valid classes, which number the outputs of a network.

    Args:
        name: Name for messages.
        labels: Integers or booleans, shape (N,).

    Raises:
        ValueError: If one is negative or far too large.

    Example:
        >>> check_classes("y_train", np.array([0, 9]))
    """
    low, high = labels.min(), labels.max()
    if low < 0 or high >= MOST_CLASSES:
        raise ValueError(
            f"{name} must be classes numbered from 0: got {low if low < 0 else high}. Number them "
            "with numpy.unique(labels, return_inverse=True)"
        )


def is_text(array: np.ndarray) -> bool:
    """Tell whether an array holds strings.

    Args:
        array: Any array.

    Example:
        >>> is_text(np.array(["cat"]))
        True
    """
    return array.dtype.kind == "U"


def _as_labels(name: str, values: ArrayLike) -> np.ndarray:
    """Return targets as an array, with texts kept and columns of integers as vectors."""
    array = as_array(name, values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "T":  # NumPy's variable-width texts
        array = array.astype(str)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "iubU":
        array = array[:, 0]
    if is_text(array) and array.ndim != 1:
        raise TypeError(f"{name} must have one string per example: got shape {array.shape}")
    return array


def _kind(array: np.ndarray) -> str:
    """Return the kind of targets, for messages."""
    if is_text(array):
        return "strings"
    return "classes" if array.ndim == 1 and array.dtype.kind in "iub" else "numbers"


def _as_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Return targets that are not classes as float32."""
    if not (jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iub"):
        raise TypeError(f"{name} must be numbers or strings: got {array.dtype}")
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), array.max()) > _EXACT:
        raise ValueError(
            f"{name} has integers beyond ±{_EXACT}, which float32 cannot hold: scale them"
        )
    if array.dtype.kind not in "iub":
        check_finite(name, array.astype(np.float64))
    with np.errstate(over="ignore"):
        result = array.astype(np.float32)
    check_finite(f"{name} as float32", result)
    return result


def _check_int32(name: str, array: np.ndarray) -> None:
    limits = np.iinfo(np.int32)
    low, high = array.min(), array.max()
    if low < limits.min or high > limits.max:
        raise ValueError(
            f"{name} must fit into 32 bits: got {low if low < limits.min else high}. Scale them, "
            "or make them float32"
        )
