"""Argument checks that many modules share."""

import numbers


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
