"""A progress bar on standard error for reading many files."""

import sys
from collections.abc import Iterable
from typing import TypeVar

_T = TypeVar("_T")


def show_progress(items: Iterable[_T], total: int, title: str) -> Iterable[_T]:
    """Pass items on and show a progress bar on standard error, if that is a terminal.

    Args:
        items: The items to iterate over.
        total: Number of items, at least 0.
        title: Text before the bar.

    Returns:
        The same items.

    Example:
        >>> list(show_progress("ab", 2, "Reading"))
        ['a', 'b']
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, title, total, console=Console(stderr=True), transient=True)
