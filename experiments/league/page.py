"""The page of the league, from stored numbers."""

from pathlib import Path


def write_page(results: Path) -> None:
    """Write tables, figures and the page.

    Args:
        results: Where the numbers are, and where the page goes.
    """
    del results
