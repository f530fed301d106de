"""The differences between two descriptions, as text."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_NOTHING = object()
_LONGEST_VALUE = 80  # characters
_MOST_LINES = 20


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the entries in which two descriptions differ: their names, then old and new values.

    Args:
        old: One description of JSON values, maybe nested. Entries of a list that have a ``label``
            are compared by it.
        new: The other description.

    Returns:
        The names separated by commas, then one line for each; only the first of many differences.

    Example:
        >>> print(difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 4}))
        a.b, d:
          a.b: 1 -> 3
          d: nothing -> 4
    """
    found = list(_compare("", old, new))
    shown, more = found[:_MOST_LINES], len(found) - _MOST_LINES
    names = ", ".join(name for name, _, _ in shown) + (f" and {more} more" if more > 0 else "")
    lines = [f"\n  {name}: {before} -> {after}" for name, before, after in shown]
    return f"{names}:{''.join(lines)}"


def _compare(name: str, old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, old and new value of each entry that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            inner = f"{name}.{key}" if name else str(key)
            yield from _compare(inner, old.get(key, _NOTHING), new.get(key, _NOTHING))
    elif _is_labelled(old) and _is_labelled(new):
        before, after = ({item["label"]: item for item in items} for items in (old, new))
        for label in before | after:
            inner = f"{name}[{label}]"
            yield from _compare(inner, before.get(label, _NOTHING), after.get(label, _NOTHING))
        if before.keys() == after.keys() and list(before) != list(after):
            yield f"order of {name}", ", ".join(before), ", ".join(after)
    elif (texts := (_text(old), _text(new)))[0] != texts[1]:
        if isinstance(old, list) and isinstance(new, list) and max(map(len, texts)) > 30:
            texts = _only(old, new), _only(new, old)
        yield name, _shortened(texts[0]), _shortened(texts[1])


def _is_labelled(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, Mapping) and "label" in item for item in value)
        and len({str(item["label"]) for item in value}) == len(value)
    )


def _text(value: Any) -> str:
    return "nothing" if value is _NOTHING else json.dumps(value, ensure_ascii=False)


def _only(items: list[Any], others: list[Any]) -> str:
    """Return the items that only one of two lists has."""
    known = set(map(_text, others))
    own = [text for text in map(_text, items) if text not in known]
    return f"{len(items)} values" + (f", among them {', '.join(own)}" if own else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
