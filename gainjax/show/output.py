"""Output of sheets and figures to a terminal and to files."""

import io
import math
import re
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gainjax.curves import swept_names
from gainjax.files import expanded, write_file
from gainjax.metrics import Convention
from gainjax.show import tables
from gainjax.show.formats import markdown
from gainjax.show.plots import plot_curves, plot_frontier, plot_heatmap
from gainjax.show.sheets import (
    Sheet,
    can_compare,
    compared_metrics,
    ranking_sheet,
    table_sheets,
)

_WIDTH = 100  # terminal columns that a table needs
_UNBOUNDED = 10_000


def print_table(
    curves: xr.Dataset,
    console: Console | None = None,
    convention: Convention | None = None,
    floor: xr.Dataset | None = None,
) -> None:
    """Print the table of :func:`gainjax.table`, with footnotes; 100 columns are enough.

    It is followed by the paired differences of :func:`gainjax.comparison`, if there are at least
    two methods and two seeds.

    Args:
        curves: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them, or a sweep.
        console: Where to print, or None for standard output.
        convention: As for :func:`gainjax.table`.
        floor: As for :func:`gainjax.table`.

    Raises:
        ValueError: As :func:`gainjax.table`.
    """
    _print(table_sheets(curves, convention, 1, floor), console)


def print_ranking(
    curves: xr.Dataset,
    console: Console | None = None,
    tolerance: float = tables.TOLERANCE,
    best: tables.Best = "method",
) -> None:
    """Print the table of :func:`gainjax.ranking`, with footnotes; 100 columns are enough.

    Args:
        curves: A sweep.
        console: Where to print, or None for standard output.
        tolerance: As for :func:`gainjax.ranking`.
        best: As for :func:`gainjax.ranking`.

    Raises:
        ValueError: As :func:`gainjax.ranking`.
    """
    _print([ranking_sheet(curves, tolerance, best, digits=1)], console)


def write(curves: xr.Dataset, directory: str | Path) -> list[Path]:
    """Write figure and tables of a run to a directory, each file atomically.

    Args:
        curves: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.
        directory: Created if needed.

    Returns:
        The paths: ``curves.png`` and ``curves.pdf`` of :func:`gainjax.plot_curves`, ``table.csv``
        with all columns of :func:`gainjax.table`, ``table.md`` for reading; with at least two
        methods and two seeds also ``comparison.csv`` of :func:`gainjax.comparison`.

    Raises:
        ValueError: As :func:`gainjax.table`.
        OSError: If a file cannot be written.
    """
    table = tables.table(curves)
    contents = _images("curves", plot_curves(curves), dpi=200)
    contents["table.csv"] = table.to_csv().encode()
    contents["table.md"] = markdown(table_sheets(curves, None, digits=2)).encode()
    if can_compare(curves):
        metrics = compared_metrics(table.columns, "rodriguez-garcia")
        contents["comparison.csv"] = tables.comparison(curves, metrics=metrics).to_csv().encode()
    return _write(contents, directory)


def write_sweep(
    curves: xr.Dataset,
    directory: str | Path,
    tolerance: float = tables.TOLERANCE,
    best: tables.Best = "method",
) -> list[Path]:
    """Write figures and tables of a sweep to a directory, each file atomically.

    Args:
        curves: A sweep.
        directory: Created if needed.
        tolerance: As for :func:`gainjax.ranking`.
        best: As for :func:`gainjax.ranking`.

    Returns:
        The paths: ``ranking.csv`` of :func:`gainjax.ranking`, ``ranking.md`` for reading,
        ``frontier.png`` and ``.pdf`` of :func:`gainjax.plot_frontier`, and for each method with
        a grid of two swept hyperparameters ``heatmap-METHOD.png`` and ``.pdf`` of
        :func:`gainjax.plot_heatmap`.

    Raises:
        ValueError: As :func:`gainjax.ranking`.
        OSError: If a file cannot be written.
    """
    ranking = tables.ranking(curves, tolerance, best)
    sheet = ranking_sheet(curves, tolerance, best, digits=2)
    contents = {
        "ranking.csv": ranking.to_csv().encode(),
        "ranking.md": markdown([sheet]).encode(),
        **_images("frontier", plot_frontier(curves), dpi=300),
    }
    for method, rows in ranking.groupby("method", sort=False):
        varied = [name for name in swept_names(curves) if rows[name].nunique() > 1]
        cells = math.prod(rows[name].nunique() for name in varied)
        if len(varied) == 2 and len(rows) >= cells / 2:  # a grid, not random draws
            x, y = sorted(varied, key=lambda name: name != "learning_rate")
            figure = plot_heatmap(curves, method, x, y, tolerance=tolerance, best=best)
            contents |= _images(f"heatmap-{_file_name(method, contents)}", figure, dpi=200)
    return _write(contents, directory)


def _print(sheets: Iterable[Sheet], console: Console | None) -> None:
    if console is None:
        console = Console()
        if not console.is_terminal:  # a file or a pipe has no width
            console = Console(width=_WIDTH)
    for sheet in sheets:
        console.print(Text(sheet.title, "bold"))  # Text, since names are not markup
        console.print(_fitting(sheet, console))
        for note in sheet.notes:
            console.print(Text(note, "dim"))
        console.print()


def _fitting(sheet: Sheet, console: Console) -> Table:
    """Return the flattest grid that fits: better a second or third line than a truncated number."""
    unbounded = console.options.update_width(_UNBOUNDED)

    def folded(parts: tuple[str, ...]) -> str:
        return re.sub(r"(?<=.)–", "–\n", "\n".join(parts)).replace(", ", ",\n")

    for join in (" ".join, "\n".join, folded):
        grid = _grid(sheet, join)
        if console.measure(grid, options=unbounded).maximum <= console.width:
            return grid
    return _grid(_stacked(sheet), folded) if sheet.varied else grid


def _stacked(sheet: Sheet) -> Sheet:
    """Return a sheet with all hyperparameters in one column, one per line."""
    names = sheet.head[1 : 1 + sheet.varied]
    rows = []
    for row in sheet.rows:
        values = (value for (value,) in row.cells[: sheet.varied])
        pairs = tuple(f"{name} {value}" for name, value in zip(names, values, strict=True))
        rows.append(row._replace(cells=[pairs, *row.cells[sheet.varied :]]))
    head = [sheet.head[0], "setting", *sheet.head[1 + sheet.varied :]]
    return sheet._replace(head=head, rows=rows, varied=0)


def _grid(sheet: Sheet, join: Callable[[tuple[str, ...]], str]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    first, *others = sheet.head
    grid.add_column(first, overflow="fold")
    for title in others:
        grid.add_column(Text("\n".join(title.split(" "))), justify="right", overflow="fold")
    for row in sheet.rows:
        name = Text.assemble(row.name, (f"\n{row.note}" if row.note else "", "red"))
        cells = [Text(join(cell)) for cell in row.cells]
        style = "bold" if row.strong else None
        grid.add_row(name, *cells, style=style, end_section=row.ends_group)
    return grid


def _file_name(method: str, taken: Container[str]) -> str:
    """Return a file name for a method, whose label may be any text."""
    name = re.sub(r"[^\w.-]+", "-", method).strip(".-")[:60] or "method"
    number = 1
    while f"heatmap-{name if number == 1 else f'{name}-{number}'}.png" in taken:
        number += 1
    return name if number == 1 else f"{name}-{number}"


def _images(name: str, figure: Figure, dpi: int) -> dict[str, bytes]:
    contents = {}
    for suffix in ("png", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=dpi)
        contents[f"{name}.{suffix}"] = buffer.getvalue()
    return contents


def _write(contents: dict[str, bytes], directory: str | Path) -> list[Path]:
    directory = expanded(directory)
    for name, content in contents.items():
        write_file(directory / name, content)
    return [directory / name for name in contents]
