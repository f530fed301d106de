"""Tables of the paper's table on MNIST."""

from pathlib import Path

import pandas as pd

from experiments.paper_table import PUBLISHED
from experiments.tables.cells import (
    METHODS,
    MNIST,
    Lines,
    Row,
    gap,
    interval,
    number,
    percent,
    records,
)

_VERDICTS = {"agrees": "✓", "near": "~", "no": "✗"}


def paper_table(results: Path) -> Lines:
    """Return all cells of the paper's table on MNIST with the published numbers."""
    columns = {
        "avg-ACC": "avg-ACC, %",
        "min-ACC": "min-ACC (v1), %",
        "WC-ACC": "WC-ACC, %",
        "avg-SG": "avg-SG",
    }
    head = ["benchmark", "method", *columns.values(), "avg-SG per seed", "anytime accuracy, %"]
    rows, stored = [head], _cells(results)
    for benchmark in MNIST:
        for method, name in METHODS.items():
            cells = stored[benchmark, method]
            shown = [_of_mean_curve(cells[quantity]) for quantity in columns]
            of_seeds = _of_seeds(cells["avg-SG"], 3), _of_seeds(cells["anytime accuracy"], 1)
            rows.append([benchmark, name, *shown, *of_seeds])
    return rows


def _cells(results: Path) -> dict[tuple[str, str], dict[str, Row]]:
    """Return the stored cells by quantity, of each benchmark and method."""
    stored = pd.read_csv(results / "paper-table.csv")
    return {
        key: {cell["quantity"]: cell for cell in records(rows)}
        for key, rows in stored.groupby(["benchmark", "method"])
    }


def _of_mean_curve(cell: Row) -> str:
    digits = 3 if cell["quantity"] == "avg-SG" else 2

    def with_error(value: str, error: str) -> str:
        return f"{number(cell[value], digits)} ± {number(cell[error], digits)}"

    ours = with_error("value", "error")
    if pd.isna(cell["published"]):
        return ours
    return f"{ours} ({with_error('published', 'published_error')}) {_VERDICTS[cell['verdict']]}"


def _of_seeds(cell: Row, digits: int) -> str:
    return interval(cell, "per_seed", lambda value: number(value, digits))


def recovery(results: Path) -> Lines:
    """Return the updates to recovery, and how often there is one."""
    rows, stored = [["benchmark", *METHODS.values()]], _cells(results)
    for benchmark in MNIST:
        row = [benchmark]
        for method in METHODS:
            cells = stored[benchmark, method]
            share = number(cells["recovered"]["per_seed"], 0)
            row.append(f"{_of_seeds(cells['updates to recovery'], 0)}, {share} %")
        rows.append(row)
    return rows


def de_lange(results: Path) -> Lines:
    """Return the metrics of De Lange et al."""
    columns = {
        "de_lange_acc": "ACC",
        "de_lange_min_acc": "min-ACC",
        "de_lange_wc_acc": "WC-ACC",
        "windowed_forgetting": "windowed forgetting",
        "windowed_plasticity": "windowed plasticity",
    }
    stored = pd.read_csv(results / "paper-table-de-lange.csv")
    return [["benchmark", "method", *columns.values()]] + [
        [row["benchmark"], METHODS[row["method"]], *(interval(row, c, percent) for c in columns)]
        for row in records(stored)
    ]


def split_mnist(results: Path) -> Lines:
    """Return the paper's table on Split MNIST in short."""
    theirs = pd.read_csv(PUBLISHED).set_index(["benchmark", "method", "quantity"])["value"]
    rows = [
        ["method", "avg-ACC, %", "published", "avg-SG", "published", "gain per task", "published"]
    ]
    stored = _cells(results)
    for method, name in METHODS.items():
        cells = stored["split-mnist", method]
        accuracy, drop = cells["avg-ACC"], cells["avg-SG"]
        # The others have none, or one of 1.
        gains = [q for q in cells if q.startswith("gain of task") and method == "ngm-sgd"]
        rows.append(
            [
                name,
                number(accuracy["value"], 2),
                number(accuracy["published"], 2),
                f"{gap(drop['value'])} ± {gap(drop['error'])}",
                f"{gap(drop['published'])} ± {gap(drop['published_error'])}",
                ", ".join(f"{cells[quantity]['value']:.2f}" for quantity in gains),
                ", ".join(f"{theirs['split-mnist', method, q]:.2f}" for q in gains),
            ]
        )
    return rows
