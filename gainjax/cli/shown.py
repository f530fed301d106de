"""Output of the commands: tables of curves, and lists of benchmarks and methods."""

import dataclasses
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import xarray as xr
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gainjax import show
from gainjax.checks import lookup
from gainjax.cli.options import Output
from gainjax.curves import FILE
from gainjax.files import expanded, write_file
from gainjax.methods import METHODS, Method, as_method
from gainjax.methods.method import FINITE, RANGES
from gainjax.references import imported
from gainjax.runs import guard
from gainjax.runs.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from gainjax.show import plots
from gainjax.show.sheets import is_ranking

FigureKind = Literal["accuracy", "curves", "frontier"]

_FIGURES: dict[FigureKind, Callable[[xr.Dataset], Figure]] = {
    "accuracy": plots.plot_accuracy,
    "curves": plots.plot_curves,
    "frontier": plots.plot_frontier,
}
_IMAGES = ("pdf", "png", "svg")
_COLUMNS = 100  # width if there is no terminal


def console() -> Console:
    """Return the console to print to."""
    return Console(width=None if sys.stdout.isatty() else _COLUMNS, emoji=False)


def show_results(curves: xr.Dataset, out: Path, output: Output) -> None:
    """Write the files of a run or sweep, then print its table; only one of several processes does.

    Args:
        curves: The curves.
        out: Directory of the run.
        output: What to print.
    """
    if jax.process_index() > 0:
        return
    write = show.write_sweep if is_ranking(curves) else show.write
    paths = write(curves, out)
    show_table(curves, output)
    if not (output.quiet or output.json):
        show_written([out / FILE, *paths])


def show_written(paths: Iterable[Path]) -> None:
    """Print the paths of written files.

    Args:
        paths: The files.
    """
    for path in paths:
        console().print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)


def show_table(curves: xr.Dataset, output: Output, floor: xr.Dataset | None = None) -> None:
    """Print curves as a table, a ranking if hyperparameters vary, or as JSON.

    Args:
        curves: The curves.
        output: What to print.
        floor: As for :func:`gainjax.table`; not for a sweep.
    """
    is_sweep = is_ranking(curves)
    if is_sweep and floor is not None:
        raise ValueError("a ranking has no floor: give --floor for the table of a run")
    if output.json:
        frame = show.ranking(curves) if is_sweep else show.table(curves, floor=floor)
        sys.stdout.write(frame.reset_index().to_json(orient="records", indent=1) + "\n")
    elif not output.quiet:
        if is_sweep:
            show.print_ranking(curves, console())
        else:
            show.print_table(curves, console(), floor=floor)


def write_figure(curves: xr.Dataset, path: Path, kind: FigureKind) -> Path:
    """Write a figure atomically.

    Args:
        curves: The curves.
        path: The path, with the suffix of an image format.
        kind: The kind of figure.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is not an image format.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _IMAGES:
        raise ValueError(f"--out must end in one of .{', .'.join(_IMAGES)}: got {str(path)!r}")
    buffer = io.BytesIO()
    _FIGURES[kind](curves).savefig(buffer, format=suffix, dpi=300)
    target = expanded(path)
    write_file(target, buffer.getvalue())
    return target


def show_formatted(
    curves: xr.Dataset, form: show.Format, output: Output, floor: xr.Dataset | None = None
) -> None:
    """Print curves as a table in another format, and nothing else.

    Args:
        curves: The curves.
        form: As for :func:`gainjax.show.formatted`.
        output: What to print.
        floor: As for :func:`gainjax.table`.

    Raises:
        ValueError: If JSON is also requested.
    """
    if output.json:
        raise ValueError(f"--json and --format {form} are two formats: give one of them")
    if not output.quiet:
        sys.stdout.write(show.formatted(curves, form, floor))


def show_unfinished(curves: xr.Dataset, directory: Path, output: Output) -> None:
    """Print the progress of settings that are unfinished, and missing or incomplete in the table.

    Args:
        curves: The curves.
        directory: Directory of the run.
        output: What to print.
    """
    unfinished = json.loads(curves.attrs.get("unfinished", "{}"))
    if not unfinished or output.quiet or output.json:
        return
    until = json.loads(curves.attrs["spec"]).get("cut_off_after")
    state = "is in progress" if guard.is_locked(directory) else "was interrupted"
    console().print(
        f"{escape(str(directory))} {state}; "
        + ("showing the finished part." if until is None else f"showing the first {until} updates.")
        + " Updates stored:",
        highlight=False,
        soft_wrap=True,
    )
    for label, (done, total) in unfinished.items():
        console().print(f"  {escape(label)}: {done} of {total}", highlight=False)
    if state == "was interrupted":
        console().print(
            f"to finish it: gainjax resume {escape(str(directory))}",
            highlight=False,
            soft_wrap=True,
        )


def show_registries() -> None:
    """Print all benchmarks and methods, one line each, with sources."""
    registries: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("benchmark", BENCHMARKS),
        ("method", METHODS),
    )
    for title, registry in registries:
        grid = Table(title, "what it is", "source", box=None, title_justify="left", padding=(0, 2))
        for name, entry in registry.items():
            grid.add_row(Text(name, "bold"), escape(entry.summary), Text(entry.source, "dim"))
        console().print(grid)
        console().print()


def show_entry(name: str) -> None:
    """Print a benchmark with its protocol, or a method with its hyperparameters and ranges.

    Args:
        name: Name of either, or ``module:attribute``.

    Raises:
        ValueError: If there is no such benchmark or method.
    """
    if name in BENCHMARKS:
        _print_benchmark(get_benchmark(name))
    elif name in METHODS:
        _print_method(as_method(name))
    elif ":" in name:
        found = imported("benchmark or method", name)
        made = found() if callable(found) else found  # both kinds have defaults for all arguments
        if isinstance(made, Benchmark):
            _print_benchmark(made)
        else:
            _print_method(as_method(name))
    else:
        lookup({**BENCHMARKS, **METHODS}, "benchmark or method", name)


def _print_benchmark(benchmark: Benchmark) -> None:
    _print_head(benchmark.name, benchmark.summary, benchmark.source)
    grid = Table("protocol", "value", box=None, padding=(0, 2))
    for field in dataclasses.fields(benchmark.protocol):
        grid.add_row(field.name, str(getattr(benchmark.protocol, field.name)))
    console().print(grid)
    grid = Table("hyperparameter", "value here", box=None, padding=(0, 2))
    for name, value in benchmark.hyperparameters.items():
        rows = value.items() if isinstance(value, Mapping) else [("", value)]
        for own, number in rows:
            grid.add_row(f"{name}.{own}" if own else name, f"{number:g}")
    if grid.row_count:
        console().print(grid)


def _print_method(method: Method) -> None:
    _print_head(method.name, method.summary, method.source)
    grid = Table("hyperparameter", "default", "range", box=None, padding=(0, 2))
    for name, value in method.hyperparameters.items():
        wanted = (method.ranges.get(name) or RANGES.get(name, FINITE)).wanted
        grid.add_row(name, "none" if value is None else f"{value:g}", escape(wanted))
    console().print(grid)
    if method.needs_boundary:
        console().print("It is informed of task changes.", highlight=False)


def _print_head(name: str, summary: str, source: str) -> None:
    console().print(f"[bold]{escape(name)}[/]: {escape(summary)}", highlight=False)
    console().print(f"[dim]{escape(source)}[/]\n", highlight=False)
