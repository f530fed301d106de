"""Tables and files that tell about a run; every number in them is computed from its curves."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gainjax import metrics
from gainjax.metrics import Convention
from gainjax.plots import plot_curves
from gainjax.results import task_ends, write_file
from gainjax.statistics import bootstrap_interval, frontier

_WIDTH = 100  # columns of a terminal that the table needs
_FRONTIER = "†"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}"


def _fraction(value: float, digits: int = 1) -> str:
    return f"{value:.{digits + 2}f}"


def _updates(value: float, digits: int = 1) -> str:
    return f"{value:.0f}"


class _Column(NamedTuple):
    title: str
    show: Callable[[float, int], str]
    meaning: str


# What is shown of each metric, in order; a run without a metric has no such column.
_SEEN = {
    "anytime_accuracy": _Column(
        "anytime", _percent, "accuracy on all tasks seen so far, mean over updates, %"
    ),
    "final_accuracy": _Column("final", _percent, "accuracy on all tasks at the end, %"),
}
_COLUMNS: dict[Convention, dict[str, _Column]] = {
    "rodriguez-garcia": {
        "avg_sg": _Column(
            "avg-SG", _fraction, "stability gap: relative drop after a switch, mean over switches"
        ),
        "avg_sg_mean_curve": _Column(
            "of mean",
            _fraction,
            "avg-SG of the seed-averaged curve ± propagated error, as published",
        ),
        "min_acc": _Column(
            "min-ACC", _percent, "lowest accuracy in each task but the last, mean (v1), %"
        ),
        "wc_acc": _Column(
            "WC-ACC", _percent, "worst case: min-ACC joined with the last accuracy, %"
        ),
        "avg_acc": _Column("avg-ACC", _percent, "accuracy at the ends of tasks, mean, %"),
        "recovery": _Column(
            "recovery",
            _updates,
            "updates until accuracy is back; ≥ if sometimes not within the task",
        ),
        **_SEEN,
    },
    "de-lange": {
        "de_lange_acc": _Column("ACC", _percent, "accuracy at the end, mean over tasks, %"),
        "de_lange_min_acc": _Column(
            "min-ACC", _percent, "lowest accuracy since a task ended, mean over earlier tasks, %"
        ),
        "de_lange_wc_acc": _Column(
            "WC-ACC", _percent, "worst case: min-ACC joined with the accuracy on the last task, %"
        ),
        "windowed_forgetting": _Column(
            "WF10", _percent, "largest drop within 10 evaluations, mean over tasks, points"
        ),
        "windowed_plasticity": _Column(
            "WP10", _percent, "largest rise within 10 evaluations, mean over tasks, points"
        ),
        **_SEEN,
    },
}
_TITLES = {
    "rodriguez-garcia": "task 1, convention of Rodriguez-Garcia et al.",
    "de-lange": "all tasks, convention of De Lange et al.",
}


def table(dataset: xr.Dataset, convention: Convention | None = None) -> pd.DataFrame:
    """Return the metrics of each method: mean and 95 % bootstrap interval over seeds.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.
        convention: "rodriguez-garcia" for the metrics of task 1, "de-lange" for those of all tasks,
            None for whatever was evaluated.

    Returns:
        One row per method. For each metric M of :func:`gainjax.metrics.summarize` the columns M,
        M_low and M_high (NaN for a single seed), accuracies as fractions; ``recovered``, the
        fraction of switches after which accuracy on task 1 came back; ``avg_sg_mean_curve`` and
        ``avg_sg_mean_curve_error``, the gap of the seed-averaged curve; ``frontier``, whether no
        other method has both a smaller avg_sg and a higher anytime accuracy; ``seeds`` and
        ``diverged``, their numbers. A diverged seed counts with the accuracy that it has, 0.

    Raises:
        ValueError: If there is no switch, or the convention needs curves that are not there.

    Example:
        >>> from gainjax import run
        >>> rows = table(run("split-digits", ["sgd"], seeds=2, updates_per_task=10))
        >>> print(list(rows.index), *rows.columns[:3])
        ['sgd'] avg_sg avg_sg_low avg_sg_high

    Source:
        See :mod:`gainjax.metrics`.
    """
    accuracy = dataset.accuracy.transpose("method", "seed", "eval_update", "eval_task").values
    seen = dataset.seen_accuracy.transpose("method", "seed", "seen_update").values
    where = (dataset.eval_update.values, task_ends(dataset))
    per_seed = metrics.summarize(
        accuracy, *where, seen if seen.size else None, convention=convention
    )
    columns: dict[str, np.ndarray] = {}
    for name, values in per_seed.items():
        if name == "recovered":
            columns[name] = values.mean(axis=-1)
        else:
            interval = bootstrap_interval(values)
            columns |= {
                name: interval.mean,
                f"{name}_low": interval.low,
                f"{name}_high": interval.high,
            }
    if "avg_sg" in columns:
        gap = metrics.mean_curve_metrics(accuracy[..., 0], *where)["avg_sg"]
        columns |= {"avg_sg_mean_curve": gap.value, "avg_sg_mean_curve_error": gap.error}
    if {"avg_sg", "anytime_accuracy"} <= columns.keys():
        columns["frontier"] = frontier(columns["avg_sg"], columns["anytime_accuracy"])
    columns["seeds"] = np.full(dataset.sizes["method"], dataset.sizes["seed"])
    columns["diverged"] = (dataset.diverged_update > 0).sum("seed").values
    return pd.DataFrame(columns, index=pd.Index(dataset.method.values.tolist(), name="method"))


def print_table(
    dataset: xr.Dataset, console: Console | None = None, convention: Convention | None = None
) -> None:
    """Print the table of :func:`table`, with a footnote that explains it; 100 columns are enough.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.
        console: Where to print, or None for standard output.
        convention: As for :func:`table`.

    Raises:
        ValueError: As :func:`table`.
    """
    if console is None:
        console = Console()
        if not console.is_terminal:  # a file or a pipe has no width of its own
            console = Console(width=_WIDTH)
    rows = table(dataset, convention)
    for shown, columns in _layouts(rows):
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_column("method", overflow="fold")
        for column in columns.values():
            grid.add_column(column.title, justify="right")
        for method, row in rows.iterrows():
            name = escape(str(method)) + _mark(row, columns)
            notes = [name, f"[red]{note}[/]"] if (note := _divergence(row)) else [name]
            cells = ("\n".join(filter(None, _cell(row, metric, 1))) for metric in columns)
            if console.width < _WIDTH:  # rather a third line than a number cut short
                cells = (cell.replace("–", "–\n") for cell in cells)
            grid.add_row("\n".join(notes), *cells)
        console.print(f"{_heading(dataset)}: {_TITLES[shown]}", style="bold", markup=False)
        console.print(grid)
        for line in _footnotes(rows, columns):
            console.print(line, style="dim", highlight=False, markup=False)
        console.print()


def write(dataset: xr.Dataset, directory: str | Path) -> list[Path]:
    """Write figure and tables of a run to a directory, each file completely or not at all.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.
        directory: Made if needed.

    Returns:
        The paths: ``curves.png`` and ``curves.pdf`` of :func:`gainjax.plot_curves`, ``table.csv``
        with all columns of :func:`table`, ``table.md`` to be read.

    Raises:
        ValueError: As :func:`table`.
        OSError: If a file cannot be written.
    """
    directory = Path(directory).expanduser()
    rows = table(dataset)
    figure = plot_curves(dataset)
    contents = {}
    for suffix in ("png", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=200)
        contents[f"curves.{suffix}"] = buffer.getvalue()
    contents["table.csv"] = rows.to_csv().encode()
    contents["table.md"] = _markdown(dataset, rows).encode()
    for name, content in contents.items():
        write_file(directory / name, content)
    return [directory / name for name in contents]


def _markdown(dataset: xr.Dataset, rows: pd.DataFrame) -> str:
    lines = []
    for shown, columns in _layouts(rows):
        lines += [f"**{_heading(dataset)}: {_TITLES[shown]}**", ""]
        table_rows = [["method", *(column.title for column in columns.values())]]
        table_rows.append(["---"] + ["---:"] * len(columns))
        for method, row in rows.iterrows():
            name = f"{method}{_mark(row, columns)} {_divergence(row)}".strip()
            cells = [" ".join(filter(None, _cell(row, metric, 2))) for metric in columns]
            table_rows.append([name, *cells])
        lines += [f"| {' | '.join(cells)} |" for cells in table_rows]
        lines += ["", *(f"- {note}" for note in _footnotes(rows, columns)), ""]
    return "\n".join(lines)


def _layouts(rows: pd.DataFrame) -> Iterator[tuple[Convention, dict[str, _Column]]]:
    """Yield each convention that has metrics of its own among the rows, with its columns."""
    for convention, layout in _COLUMNS.items():
        columns = {name: column for name, column in layout.items() if name in rows}
        if columns.keys() - _SEEN.keys():
            yield convention, columns


def _heading(dataset: xr.Dataset) -> str:
    ends = task_ends(dataset)
    seeds = dataset.sizes["seed"]
    return (
        f"{dataset.attrs['benchmark']}, {len(ends)} tasks, {ends[-1]} updates, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def _cell(row: pd.Series, name: str, digits: int) -> tuple[str, str]:
    """Return the mean of a metric and what says how sure it is, maybe nothing."""
    show = next(columns[name] for columns in _COLUMNS.values() if name in columns).show
    bound = "≥" if name == "recovery" and row["recovered"] < 1 else ""
    mean = bound + show(row[name], digits)
    if f"{name}_error" in row:
        return mean, f"±{show(row[f'{name}_error'], digits)}" if row["seeds"] > 1 else ""
    if np.isnan(row[f"{name}_low"]):
        return mean, ""
    low, high = (show(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return mean, f"[{low}, {high}]" if digits > 1 else f"{low}–{high}"


def _divergence(row: pd.Series) -> str:
    return f"{row['diverged']}/{row['seeds']} diverged" if row["diverged"] else ""


def _mark(row: pd.Series, columns: dict[str, _Column]) -> str:
    return _FRONTIER if "avg_sg" in columns and row.get("frontier") else ""


def _footnotes(rows: pd.DataFrame, columns: dict[str, _Column]) -> list[str]:
    notes = [f"{column.title}: {column.meaning}" for column in columns.values()]
    if (rows["seeds"] > 1).all():
        notes.append("all numbers: mean over seeds and its 95 % bootstrap interval")
    else:
        notes.append("all numbers: one seed, so no intervals")
    if "frontier" in rows and "avg_sg" in columns:
        notes.append(
            f"{_FRONTIER}: no other method has both a smaller avg-SG and a higher anytime accuracy"
        )
    if rows["diverged"].any():
        notes.append("diverged: from then on accuracy is 0, and there is no gap to show")
    return notes
