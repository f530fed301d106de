"""Parsing of command-line arguments into values."""

from collections.abc import Callable, Sequence
from typing import Any

from scipy.stats import loguniform, uniform

from gainjax.methods import Method, as_method, as_methods


def parse_seeds(text: str) -> int | list[int]:
    """Parse ``--seeds``: a number of seeds, a range, or the seeds themselves.

    Args:
        text: ``5`` for 0 to 4, ``5:10`` for 5 to 9, ``3,7`` for these two.

    Raises:
        ValueError: If it has another form.

    Example:
        >>> parse_seeds("5"), parse_seeds("5:8"), parse_seeds("3,7")
        (5, [5, 6, 7], [3, 7])
    """
    try:
        if ":" in text:
            first, end = map(_integer, text.split(":"))
            if not 0 <= first < end or end - first > 10**6:
                raise ValueError
            return list(range(first, end))
        return [_integer(word) for word in text.split(",")] if "," in text else _integer(text)
    except ValueError:
        raise ValueError(
            "--seeds takes a number of seeds (5), a range that excludes its end (5:10) or the "
            f"seeds themselves (3,7): got {text!r}"
        ) from None


def parse_methods(words: Sequence[str]) -> dict[str, Method]:
    """Return methods by label, from arguments such as ``sgd``, ``./mine.py:lion`` or ``mine=sgd``.

    Args:
        words: Names or references, each optionally preceded by a label and ``=``.

    Raises:
        ValueError: If there is no method, a label is repeated, or a name is unknown.

    Example:
        >>> list(parse_methods(["sgd", "plain=sgd"]))
        ['sgd', 'plain']
    """
    found: dict[str, Method] = {}
    for word in words:
        label, equals, reference = word.partition("=")
        try:
            method = as_method(reference, label) if equals else as_method(word)
        except TypeError as error:  # it refers to another kind of object
            raise ValueError(str(error)) from error
        label = label if equals else method.name
        if label in found:
            raise ValueError(
                f"--methods gives {label!r} twice: give another label, such as mine={word}"
            )
        found[label] = method
    return as_methods(found)


def parse_settings(
    pairs: tuple[str, ...], option: str = "--set", parse: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """Parse NAME=VALUE or METHOD.NAME=VALUE strings into hyperparameters.

    Args:
        pairs: The strings.
        option: The option with these strings, for the message.
        parse: Parser for the text of a value; None for a number or ``none``.

    Raises:
        ValueError: If a string has another form, or a name is given twice.

    Example:
        >>> parse_settings(("learning_rate=0.1", "adam.learning_rate=1e-3", "max_gain=none"))
        {'learning_rate': 0.1, 'adam': {'learning_rate': 0.001}, 'max_gain': None}
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        method, dot, name = key.rpartition(".")
        try:
            if dot and not method:
                raise ValueError("no method before the dot")
            value = (parse or _number)(text)
        except ValueError as error:
            example = "0.1,0.03 or, with --draws, log:1e-4:1" if parse else "0.1"
            raise ValueError(
                f"{option} takes NAME=VALUE or METHOD.NAME=VALUE, such as "
                f"learning_rate={example}: got {pair!r}"
            ) from error
        group = settings.setdefault(method, {}) if method else settings
        if not isinstance(group, dict) or isinstance(settings.get(key), dict):
            raise ValueError(f"{option} uses {method or key} as a hyperparameter and as a method")
        if name in group:
            raise ValueError(f"{option} gives {key} twice: give it once")
        group[name] = value
    return settings


def parse_values(text: str) -> Any:
    """Parse comma-separated numbers, or a distribution.

    Args:
        text: ``0.1,0.01`` (``none`` for an absent number), ``log:1e-4:1`` or ``uniform:0:1``.

    Raises:
        ValueError: If it has another form.
    """
    kind, *bounds = text.split(":")
    if not bounds:
        return [_number(word) for word in text.split(",")]
    low, high = (float(_without_underscore(bound)) for bound in bounds)
    if kind not in ("log", "uniform") or not low < high or (kind == "log" and low <= 0):
        raise ValueError(f"no such distribution: {text}")
    return loguniform(low, high) if kind == "log" else uniform(low, high - low)


def _number(text: str) -> float | None:
    return None if text.lower() == "none" else float(_without_underscore(text))


def _integer(text: str) -> int:
    return int(_without_underscore(text))


def _without_underscore(text: str) -> str:
    """Return the text; Python would read 5_10, which may have been meant as 5:10, as 510."""
    if "_" in text:
        raise ValueError(f"a number has no underscores: got {text!r}")
    return text
