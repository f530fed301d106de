"""What a reader sees of a table: its title, columns, cells and footnotes, in words and digits."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves.dataset import rows_dimension, swept_names, task_ends
from gainjax.metrics import Convention
from gainjax.show import tables
from gainjax.show.plots.looks import words

_FRONTIER, _CHOSEN = "†", "*"
_LEVEL = 0.05


class Row(NamedTuple):
    """One line of a sheet; the parts of a cell may stand on lines of their own."""

    name: str
    note: str
    cells: Sequence[tuple[str, ...]]
    strong: bool = False
    ends_group: bool = False


class Sheet(NamedTuple):
    """A table as it is shown, whatever it is shown on."""

    title: str
    head: list[str]
    rows: list[Row]
    notes: list[str]


def _percent(value: float, digits: int = 1) -> str:
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"  # no "-0.0"


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
_ALL_COLUMNS = _COLUMNS["rodriguez-garcia"] | _COLUMNS["de-lange"]
_TITLES = {
    "rodriguez-garcia": "task 1, convention of Rodriguez-Garcia et al.",
    "de-lange": "all tasks, convention of De Lange et al.",
}
_COMPARED: dict[Convention, tuple[str, ...]] = {
    "rodriguez-garcia": tables.COMPARED,
    "de-lange": ("windowed_forgetting", "de_lange_min_acc", "de_lange_acc", *_SEEN),
}


def table_sheets(
    dataset: xr.Dataset, convention: Convention | None, digits: int
) -> Iterator[Sheet]:
    """Yield :func:`gainjax.table` as sheets, one per convention, then the differences if any.

    Args:
        dataset: Curves of a run or a sweep.
        convention: As for :func:`gainjax.table`.
        digits: Digits behind the point of a percentage.
    """
    table = tables.table(dataset, convention)
    for shown, layout in _COLUMNS.items():
        columns = {name: column for name, column in layout.items() if name in table}
        if not columns.keys() - _SEEN.keys():
            continue
        rows = []
        for name, row in table.iterrows():
            words = str(name).split(" ") if table.index.name == "setting" else [str(name)]
            mark = _FRONTIER if "avg_sg" in columns and row.get("frontier") else ""
            cells = [_cell(row, metric, digits) for metric in columns]
            rows.append(Row("\n".join(words) + mark, _divergence(row), cells))
        yield Sheet(
            f"{_heading(dataset)}: {_TITLES[shown]}",
            [table.index.name, *(column.title for column in columns.values())],
            rows,
            _footnotes(table, columns),
        )
    if can_compare(dataset):
        yield _comparison_sheet(dataset, convention or "rodriguez-garcia", table.columns, digits)


def can_compare(dataset: xr.Dataset) -> bool:
    """Tell whether a dataset is a run with methods and seeds enough for paired differences.

    Args:
        dataset: Curves of a run or a sweep.
    """
    sizes = dataset.sizes
    return rows_dimension(dataset) == "method" and sizes["method"] > 1 and sizes["seed"] > 1


def compared_metrics(available: pd.Index, convention: Convention) -> list[str]:
    """Return the metrics whose differences are shown.

    Args:
        available: The names of the metrics that there are.
        convention: Whose metrics to show.
    """
    return [name for name in _COMPARED[convention] if name in available]


def _comparison_sheet(
    dataset: xr.Dataset, convention: Convention, available: pd.Index, digits: int
) -> Sheet:
    metrics = compared_metrics(available, convention)
    table = tables.comparison(dataset, metrics=metrics)
    rows = []
    for name, row in table.iterrows():
        cells = []
        for metric in metrics:
            show = _ALL_COLUMNS[metric].show
            mean, low, high = (
                _signed(show(row[f"{metric}{end}"], digits)) for end in ("", "_low", "_high")
            )
            p_value = row[f"{metric}_p_holm"]
            cells.append((f"{mean} p={p_value:.2g}", f"[{low}, {high}]"))
        rows.append(Row(str(name), "", cells))
    reference = table["reference"].iloc[0]
    return Sheet(
        f"Differences to {reference}, paired by seed",
        ["method", *(_ALL_COLUMNS[metric].title for metric in metrics)],
        rows,
        [
            f"method - {reference} with its 95 % bootstrap interval; p: exact paired sign-flip "
            f"test, by Holm's method corrected for the {len(rows) * len(metrics)} tests of this "
            f"table{_power(dataset.sizes['seed'], len(rows) * len(metrics))}"
        ],
    )


def ranking_sheet(dataset: xr.Dataset, tolerance: float, best: tables.Best, digits: int) -> Sheet:
    """Return :func:`gainjax.ranking` as a sheet.

    Args:
        dataset: A sweep.
        tolerance: As for :func:`gainjax.ranking`.
        best: As for :func:`gainjax.ranking`.
        digits: Digits behind the point of a percentage.
    """
    table = tables.ranking(dataset, tolerance, best)
    swept = swept_names(dataset)
    last = ~table["method"].duplicated(keep="last")
    rows = []
    for (_, row), ends_group in zip(table.iterrows(), last, strict=True):
        marks = _CHOSEN * bool(row["chosen"]) + _FRONTIER * bool(row["frontier"])
        values = [("" if np.isnan(row[name]) else f"{row[name]:g}",) for name in swept]
        metrics = [_cell(row, metric, digits) for metric in tables.COMPARED]
        name = f"{row['method']}{marks}"
        rows.append(Row(name, _divergence(row), values + metrics, row["chosen"], ends_group))
    columns = {name: _ALL_COLUMNS[name] for name in tables.COMPARED}
    whose = "that its method reaches" if best == "method" else "that any method reaches"
    notes = [
        f"{_CHOSEN}: chosen: smallest avg-SG within {100 * tolerance:g} points of the best anytime "
        f"accuracy {whose}; chosen and shown on the same seeds"
    ]
    return Sheet(
        f"{_heading(dataset)}, {len(table)} settings: task 1 and seen tasks",
        [
            "method",
            *(words(name) for name in swept),
            *(c.title for c in columns.values()),
        ],
        rows,
        notes + _missing(table) + _edges(table, swept) + _footnotes(table, columns),
    )


def _missing(table: pd.DataFrame) -> list[str]:
    """Say which methods have no setting that is accurate enough."""
    best = table.loc[table["anytime_accuracy"].idxmax()]
    return [
        f"no setting of {method} is chosen: it reaches {_percent(rows['anytime_accuracy'].max())} "
        f"and {best['method']} {_percent(best['anytime_accuracy'])}"
        for method, rows in table.groupby("method", sort=False)
        if not rows["chosen"].any()
    ]


def _edges(table: pd.DataFrame, swept: list[str]) -> list[str]:
    """Say which choices might be others if the sweep were wider."""
    edges = []
    for method, rows in table.groupby("method", sort=False):
        for name in swept:
            tried, taken = rows[name], rows[name][rows["chosen"]]
            if tried.nunique() > 1 and taken.isin([tried.min(), tried.max()]).any():
                edges.append(f"{method} ({words(name)} {taken.iloc[0]:g})")
    return [f"chosen at the edge of what was tried: {', '.join(edges)}"] if edges else []


def _heading(dataset: xr.Dataset) -> str:
    ends = task_ends(dataset)
    seeds = dataset.sizes["seed"]
    return (
        f"{dataset.attrs['benchmark']}, {len(ends)} tasks, {ends[-1]} updates, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def _cell(row: pd.Series, name: str, digits: int) -> tuple[str, ...]:
    """Return the mean of a metric and what says how sure it is, if anything."""
    show = _ALL_COLUMNS[name].show
    bound = "≥" if name == "recovery" and row["recovered"] < 1 else ""
    mean = bound + show(row[name], digits)
    if f"{name}_error" in row:
        return (mean, f"±{show(row[f'{name}_error'], digits)}") if row["seeds"] > 1 else (mean,)
    if np.isnan(row[f"{name}_low"]):
        return (mean,)
    low, high = (show(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return mean, f"[{low}, {high}]" if digits > 1 else f"{low}–{high}"


def _signed(number: str) -> str:
    """Put a sign before a number that is not 0."""
    return number if number.startswith("-") or not float(number) else f"+{number}"


def _power(seeds: int, tests: int) -> str:
    """Say what so few seeds cannot find, if there is anything."""
    needed, needed_corrected = (1 + int(np.ceil(np.log2(number / _LEVEL))) for number in (1, tests))
    if seeds >= needed_corrected:
        return ""
    return (
        f"; with {seeds} seeds the smallest possible p is {2 / 2**seeds:.3g} before correction: "
        f"nothing can be significant at 5 % with fewer than {needed} seeds, nor after correction "
        f"with fewer than {needed_corrected}"
    )


def _divergence(row: pd.Series) -> str:
    return f"{row['diverged']}/{row['seeds']} diverged" if row["diverged"] else ""


def _footnotes(rows: pd.DataFrame, columns: dict[str, _Column]) -> list[str]:
    notes = [f"{column.title}: {column.meaning}" for column in columns.values()]
    if (rows["seeds"] > 1).all():
        notes.append("all numbers: mean over seeds and its 95 % bootstrap interval")
    else:
        notes.append("all numbers: one seed, so no intervals")
    if "frontier" in rows and "avg_sg" in columns:
        other = "method" if rows.index.name == "method" else "setting"
        notes.append(
            f"{_FRONTIER}: no other {other} has both a smaller avg-SG and a higher anytime accuracy"
        )
    if rows["diverged"].any():
        notes.append("diverged: from then on accuracy is 0, and there is no gap to show")
    return notes
