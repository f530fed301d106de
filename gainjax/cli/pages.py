"""The commands that write a page: of finished runs, and of one in progress."""

import time
from pathlib import Path
from typing import Annotated

import tyro
import xarray as xr

from gainjax.checks import check_integer
from gainjax.cli.shown import console
from gainjax.files import expanded
from gainjax.runs.partial import load
from gainjax.show.report import report

_PAGE = "report.html"
_WAITING = 5  # seconds, until a run has stored something


def report_command(
    directories: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR")],
    out: Path | None = None,
) -> None:
    """Write one HTML page of runs or sweeps: tables, and figures to hover, zoom and toggle.

    Example: gainjax report runs/mine

    Args:
        directories: Output folders, or files of curves; a run in progress shows what there is.
        out: The page. Default: report.html in the first folder.
    """
    if not directories:
        raise ValueError("report needs at least one output folder of a run: gainjax report DIR")
    found = [load(directory, partial=True) for directory in directories]
    _say(report(found, _target(directories[0], out)))


def watch_command(
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    out: Path | None = None,
    every: int = 30,
) -> None:
    """Keep the page of a run in progress up to date until it is finished; the page reloads itself.

    Args:
        directory: Output folder of the run.
        out: The page. Default: report.html in that folder.
        every: Seconds between two versions.
    """
    check_integer("--every", every, 1)
    target, told = _target(directory, out), False
    while True:
        curves = _so_far(directory)
        in_progress = curves is None or "unfinished" in curves.attrs
        if curves is not None:
            report(curves, target, refresh_seconds=every if in_progress else None)
            if not told:
                _say(target)
                told = True
        if not in_progress:
            return
        time.sleep(every if curves is not None else min(every, _WAITING))


def _so_far(directory: Path) -> xr.Dataset | None:
    """Return the curves of a run, or None if it has not stored any yet."""
    if not expanded(directory).exists():
        raise FileNotFoundError(f"there is no folder {directory}: give that of a run in progress")
    try:
        return load(directory, partial=True)
    except FileNotFoundError:
        return None


def _target(directory: Path, out: Path | None) -> Path:
    if out is not None:
        return out
    folder = expanded(directory)
    return (folder if folder.is_dir() else folder.parent) / _PAGE


def _say(path: Path) -> None:
    console().print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
