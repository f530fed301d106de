"""Tables as readers see them: title, columns, formatted cells and footnotes."""

import dataclasses
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves import has, measure, swept_names, task_ends
from gainjax.metrics import ACCURACY, GAP, METRICS, Convention, Metric
from gainjax.metrics.registry import of_convention
from gainjax.show import tables
from gainjax.show.names import method_names, printable, setting_names, value_text, words
from gainjax.statistics import BOUNDS, EXACT_SEEDS

_FRONTIER, _CHOSEN = "†", "*"
LEVEL = 0.05  # of significance
_TITLES = {
    "rodriguez-garcia": "task 1, convention of Rodriguez-Garcia et al.",
    "de-lange": "all tasks, convention of De Lange et al.",
}


_OF_FLOOR = {
    tables.FLOOR: ("floor", "avg-SG without a switch, when task 1 continues"),
    tables.EXCESS: ("excess", "avg-SG above its floor, paired by seed"),
}


class Row(NamedTuple):
    """One line of a sheet; the parts of a cell may be put on separate lines."""

    name: str
    note: str
    cells: Sequence[tuple[str, ...]]
    strong: bool = False
    ends_group: bool = False


class Sheet(NamedTuple):
    """A formatted table, independent of the output medium."""

    title: str
    head: list[str]
    rows: list[Row]
    notes: list[str]
    varied: int = 0  # number of leading cells that are values of hyperparameters


def _columns(table: pd.DataFrame, convention: Convention) -> dict[str, Metric]:
    """Return the displayed columns of a table, in order, without metrics that it lacks."""
    columns = {}
    for name, metric in of_convention(convention).items():
        if metric.shown and name in table:
            columns[name] = metric
        if name == GAP and name in columns:
            columns[tables.OF_MEAN] = dataclasses.replace(
                metric,
                title="of mean",
                meaning="avg-SG of the seed-averaged curve ± propagated error, as published",
            )
            for key, (title, meaning) in _OF_FLOOR.items():
                if key in table:
                    columns[key] = dataclasses.replace(metric, title=title, meaning=meaning)
    return columns


def table_sheets(
    curves: xr.Dataset,
    convention: Convention | None,
    digits: int,
    floor: xr.Dataset | None = None,
) -> Iterator[Sheet]:
    """Yield :func:`gainjax.table` as sheets, one per convention, then the differences if any.

    Args:
        curves: Curves of a run or a sweep.
        convention: As for :func:`gainjax.table`.
        digits: Decimal digits of a percentage.
        floor: As for :func:`gainjax.table`.
    """
    table, names = tables.table(curves, convention, floor), setting_names(curves)
    score = curves.attrs["score"]
    for shown in get_args(Convention):
        columns = _columns(table, shown)
        if all(metric.convention is None for metric in columns.values()):
            continue
        rows = []
        for label, row in table.iterrows():
            name = names[label].replace(" ", "\n") if row["method"] != label else names[label]
            mark = _FRONTIER if GAP in columns and row.get("frontier") else ""
            cells = [_cell(row, name, metric, score, digits) for name, metric in columns.items()]
            rows.append(Row(name + mark, _divergence(row), cells))
        yield Sheet(
            f"{_heading(curves)}: {_TITLES[shown]}",
            [of_rows(curves), *(metric.title for metric in columns.values())],
            rows,
            _footnotes(table, columns, score),
        )
    if can_compare(curves):
        yield comparison_sheet(curves, convention, digits)


def can_compare(curves: xr.Dataset) -> bool:
    """Return whether there are enough methods and seeds for paired differences, and no sweep.

    Args:
        curves: Curves.
    """
    sizes = curves.sizes
    return not swept_names(curves) and sizes["setting"] > 1 and sizes["seed"] > 1


def compared_metrics(available: Container[str], convention: Convention) -> list[str]:
    """Return the metrics whose differences are shown.

    Args:
        available: The names of available metrics.
        convention: The convention whose metrics are shown.
    """
    return [name for name in tables.compared(convention) if name in available]


def comparison_sheet(curves: xr.Dataset, convention: Convention | None, digits: int) -> Sheet:
    """Return :func:`gainjax.comparison` with the first setting, as a sheet.

    Args:
        curves: Curves for which :func:`can_compare` holds.
        convention: The convention whose metrics are shown, that of task 1 if None.
        digits: Decimal digits of a percentage.
    """
    names, score = setting_names(curves), curves.attrs["score"]
    available = measure(curves, convention)
    metrics = compared_metrics(available, convention or "rodriguez-garcia")
    table = tables.comparison(curves, metrics=metrics)
    rows = []
    for label, row in table.iterrows():
        cells = []
        for metric in metrics:
            mean, low, high = (
                _signed(METRICS[metric].show(row[f"{metric}{end}"], digits, score=score))
                for end in BOUNDS
            )
            p_value = row[f"{metric}_p_holm"]
            tested = "" if np.isnan(p_value) else f" p={p_value:.2g}"
            cells.append((f"{mean}{tested}", f"[{low}, {high}]") if low != "–" else (mean,))
        rows.append(Row(names[label], "", cells))
    reference = names[table["reference"].iloc[0]]
    tests = int(table[[f"{metric}_p" for metric in metrics]].notna().sum().sum())
    return Sheet(
        f"Differences from {reference}, paired by seed",
        [of_rows(curves), *(METRICS[metric].title for metric in metrics)],
        rows,
        [
            f"{of_rows(curves)} - {reference} with its 95 % confidence interval; "
            f"{_tested(curves.sizes['seed'], tests)}"
        ],
    )


def ranking_sheet(curves: xr.Dataset, tolerance: float, best: tables.Best, digits: int) -> Sheet:
    """Return :func:`gainjax.ranking` as a sheet.

    Args:
        curves: A sweep.
        tolerance: As for :func:`gainjax.ranking`.
        best: As for :func:`gainjax.ranking`.
        digits: Decimal digits of a percentage.
    """
    table, names = tables.ranking(curves, tolerance, best), method_names(curves)
    swept, score = swept_names(curves), curves.attrs["score"]
    columns = {n: METRICS[n] for n in tables.compared("rodriguez-garcia") if n in table}
    last = ~table["method"].duplicated(keep="last")
    rows = []
    for (_, row), ends_group in zip(table.iterrows(), last, strict=True):
        marks = _CHOSEN * bool(row["chosen"]) + _FRONTIER * bool(row["frontier"])
        values = [(value_text(row[name]),) for name in swept]
        metrics = [_cell(row, name, metric, score, digits) for name, metric in columns.items()]
        name = f"{names[row['method']]}{marks}"
        rows.append(Row(name, _divergence(row), values + metrics, row["chosen"], ends_group))
    whose = "that its method reaches" if best == "method" else "that any method reaches"
    notes = [
        f"{_CHOSEN}: chosen: smallest avg-SG within {tables.tolerated(tolerance, score)} of the "
        f"best anytime {score} {whose}; chosen and shown on the same seeds"
    ]
    return Sheet(
        f"{_heading(curves)}, {len(table)} settings: task 1 and seen tasks",
        ["method", *(words(name) for name in swept), *(c.title for c in columns.values())],
        rows,
        [
            *notes,
            *_missing(table, names, score),
            *_edges(table, swept, names),
            *_footnotes(table, columns, score),
        ],
        len(swept),
    )


def _missing(table: pd.DataFrame, names: Mapping[str, str], score: str) -> list[str]:
    """Return notes on methods without a sufficiently accurate setting."""
    best, show = table.loc[table[ACCURACY].idxmax()], METRICS[ACCURACY].show
    return [
        f"no setting of {names[method]} is chosen: it reaches "
        f"{show(rows[ACCURACY].max(), score=score)} and {names[best['method']]} "
        f"{show(best[ACCURACY], score=score)}"
        for method, rows in table.groupby("method", sort=False)
        if not rows["chosen"].any()
    ]


def _edges(table: pd.DataFrame, swept: list[str], names: Mapping[str, str]) -> list[str]:
    """Return a note on choices that might differ in a wider sweep."""
    edges = []
    for method, rows in table.groupby("method", sort=False):
        for name in swept:
            tried, taken = rows[name], rows[name][rows["chosen"]]
            if tried.dtype.kind != "f":  # schedules have no order
                continue
            if tried.nunique() > 1 and taken.isin([tried.min(), tried.max()]).any():
                edges.append(f"{names[method]} ({words(name)} {value_text(taken.iloc[0])})")
    return [f"chosen at the edge of the tried values: {', '.join(edges)}"] if edges else []


def of_rows(curves: xr.Dataset) -> str:
    """Return what a row of curves is.

    Args:
        curves: Curves.
    """
    return "setting" if swept_names(curves) else "method"


def is_ranking(curves: xr.Dataset) -> bool:
    """Return whether curves are shown as a ranking: a sweep with accuracy on seen tasks.

    Args:
        curves: Curves.
    """
    return bool(swept_names(curves)) and has(curves, "seen_accuracy")


def _heading(curves: xr.Dataset) -> str:
    ends = task_ends(curves)
    seeds = curves.sizes["seed"]
    return (
        f"{printable(curves.attrs['benchmark'])}, {len(ends)} tasks, {ends[-1]} updates, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def _cell(row: pd.Series, name: str, metric: Metric, score: str, digits: int) -> tuple[str, ...]:
    """Return the mean of a metric, with its uncertainty if there is one."""

    def show(value: float) -> str:
        return metric.show(value, digits, score=score)

    if np.isnan(row[name]):
        return (show(np.nan),)
    bound = "≥" if metric.bound and row[metric.bound] < 1 else ""
    mean = bound + show(row[name])
    if f"{name}_error" in row:
        return (mean, f"±{show(row[f'{name}_error'])}") if row["seeds"] > 1 else (mean,)
    if np.isnan(row[f"{name}_low"]):
        return (mean,)
    low, high = (show(row[f"{name}_{end}"]) for end in ("low", "high"))
    return mean, f"[{low}, {high}]" if digits > 1 or low[0] == "-" else f"{low}–{high}"


def _signed(number: str) -> str:
    """Add a sign to a nonzero number."""
    return number if number[0] in "-–" or not float(number) else f"+{number}"


def _tested(seeds: int, tests: int) -> str:
    """Describe the test of differences, and what it cannot detect with few seeds."""
    flips = min(seeds, EXACT_SEEDS + 1)  # beyond, random patterns
    smallest = f"with {seeds} seeds the smallest possible p is {2 / 2**flips:.3g}"
    if seeds < tables.LEAST_SEEDS:
        return (
            f"no p-values: {smallest}, so nothing can be significant at 5 % with "
            f"fewer than {tables.LEAST_SEEDS} seeds"
        )
    if not tests:
        return f"no p-values: no metric has {tables.LEAST_SEEDS} pairs of seeds"
    kind = "exact paired" if seeds <= EXACT_SEEDS else "paired"
    text = (
        f"p: {kind} sign-flip test, corrected for the {tests} tests of this table by Holm's method"
    )
    needed = 1 + int(np.ceil(np.log2(tests / LEVEL)))
    if seeds < needed:
        text += (
            f"; {smallest} before correction: nothing can be significant at 5 % after "
            f"correction with fewer than {needed} seeds"
        )
    return text


def _divergence(row: pd.Series) -> str:
    return f"{int(row['diverged'])}/{int(row['seeds'])} diverged" if row["diverged"] else ""


def _footnotes(rows: pd.DataFrame, columns: Mapping[str, Metric], score: str) -> list[str]:
    notes = [f"{metric.title}: {metric.explained(score)}" for metric in columns.values()]
    if (rows["seeds"] > 1).all():
        notes.append("all numbers: mean over seeds and its 95 % confidence interval")
    else:
        notes.append("all numbers: one seed, so no intervals")
    if any(rows[name].isna().any() for name in columns):
        notes.append("–: required data were not recorded")
    if "frontier" in rows and GAP in columns:
        notes.append(
            f"{_FRONTIER}: no other row has both a smaller avg-SG and a higher anytime {score}"
        )
    if rows["diverged"].any():
        notes.append(
            "diverged: the loss became infinite or NaN; such seeds "
            + (
                "count with the recorded accuracy, which may leave no gap to show"
                if score == "accuracy"
                else "are left out"
            )
        )
    return notes
