"""Commands that write pages: of finished runs, or of a run in progress."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from gainjax import pages
from gainjax.curves import FILE
from gainjax.files import expanded, write_file
from gainjax.runs import guard
from gainjax.runs.partial import load
from gainjax.show.pages import require_bokeh

LEAST_SECONDS, MOST_SECONDS = 1.0, 86_400.0


def write_report(directories: Sequence[Path], out: Path | None) -> Path:
    """Write a page about one or several runs.

    Args:
        directories: Their folders, or files of curves.
        out: The page, or None for ``page.html`` in the first folder.

    Returns:
        The path of the page.

    Raises:
        ValueError: If there is no folder, or Bokeh is missing.
    """
    if not directories:
        raise ValueError("report needs at least one output folder of a run: gainjax report DIR")
    _require_extra()
    found = [load(directory, partial=True) for directory in directories]
    return pages.report(found, out or _page_of(directories[0]))


def watch(directory: Path, out: Path | None, every: float, *, once: bool = False) -> Path:
    """Rewrite the page of a run at intervals until the run is finished.

    Args:
        directory: Output folder of the run.
        out: The page, or None for ``page.html`` in that folder.
        every: Seconds between two pages, from 1 to a day.
        once: Whether to write it only once.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If Bokeh is missing or the interval is too short or too long.
    """
    if not LEAST_SECONDS <= every <= MOST_SECONDS:
        raise ValueError(
            f"--every must be from {LEAST_SECONDS:g} to {MOST_SECONDS:.0f} seconds: got {every:g}"
        )
    _require_extra()
    folder, target = expanded(directory), expanded(out or _page_of(directory))
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: start the run first")
    while True:
        begun = time.monotonic()
        curves = _so_far(folder)
        finished = bool(curves) and "unfinished" not in curves[0].attrs
        refresh = None if finished else every
        text = pages.render(curves, refresh, "" if finished else _state(folder, curves))
        write_file(target, text.encode())
        if finished or once:
            return target
        time.sleep(max(0.0, every - (time.monotonic() - begun)))


def _so_far(folder: Path) -> list[xr.Dataset]:
    """Return the stored curves, empty if there is no evaluation yet."""
    try:
        return [load(folder, partial=True)]
    except FileNotFoundError:
        return []


def _state(folder: Path, curves: list[xr.Dataset]) -> str:
    """Return the status of an unfinished run."""
    if not guard.is_locked(folder):
        return f"Nothing is running. To finish it: gainjax resume {folder}"
    if not curves:
        return "In progress; no evaluation is stored yet."
    until = json.loads(curves[0].attrs["spec"]).get("cut_off_after")
    return "In progress; " + (
        "showing the finished part." if until is None else f"showing the first {until:,} updates."
    )


def _page_of(directory: Path) -> Path:
    folder = expanded(directory)
    return (folder.parent if folder.name == FILE or folder.is_file() else folder) / "page.html"


def _require_extra() -> None:
    try:
        require_bokeh()
    except ImportError as error:
        raise ValueError(str(error)) from error
