"""One self-contained HTML page of one or several results."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from gainjax.curves import check_rows
from gainjax.files import expanded, write_file
from gainjax.show.names import printable
from gainjax.show.report.sections import SECTIONS, Section

_FOLDER = Path(__file__).parent


def report(
    curves: xr.Dataset | Sequence[xr.Dataset],
    path: str | Path,
    *,
    refresh_seconds: int | None = None,
) -> Path:
    """Write results as one HTML page: sentence, tables, figures to hover and zoom, configuration.

    The page holds all that it shows, asks no other host for anything, and works from a file. Its
    numbers are those of :func:`gainjax.table`.

    Args:
        curves: Curves of a run, a sweep or from elsewhere, or several of them.
        path: The page to write, whole or not at all.
        refresh_seconds: Seconds after which the page loads itself anew, for a run in progress;
            None for a page that is finished.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: If Bokeh is not installed.
        ValueError: If something else than curves is given.
        OSError: If the page cannot be written.

    Example:
        >>> import tempfile
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> found = from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = report(found, f"{folder}/report.html")
        ...     "er has the smallest stability gap" in page.read_text()
        False
    """
    results = [curves] if isinstance(curves, xr.Dataset) else list(curves)
    if not results:
        raise ValueError("curves must hold at least one result: got none")
    for result in results:
        check_rows(result)
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'a report needs Bokeh: pip install "gainjax[report]"', name=error.name
        ) from error
    parts = [_part(number, result) for number, result in enumerate(results)]
    panels = [panel for part in parts for section in part["sections"] for panel in section.panels]
    script, divs = components([panel.figure for panel in panels]) if panels else ("", ())
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html").render(
        title=" and ".join(dict.fromkeys(part["benchmark"] for part in parts)),
        parts=parts,
        divs={id(panel): div for panel, div in zip(panels, divs, strict=True)},
        id=id,
        script=script,
        bokeh=Resources(mode="inline", components=["bokeh"]).render(),
        style=(_FOLDER / "page.css").read_text(),
        code=(_FOLDER / "page.js").read_text(),
        marks=[mark for panel in panels for mark in panel.marks],
        refresh_seconds=refresh_seconds,
        version=version("gainjax"),
    )
    target = expanded(path)
    write_file(target, page.encode())
    return target


def _part(number: int, result: xr.Dataset) -> dict[str, Any]:
    """Return what the page says of one result."""
    found: list[Section] = []
    for make in SECTIONS:
        section = make(result, f"r{number}")
        if section is not None:
            found.append(section)
    return {
        "key": f"r{number}",
        "benchmark": printable(result.attrs["benchmark"]),
        "sections": found,
    }
