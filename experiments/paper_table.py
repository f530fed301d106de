"""Is the paper's table reproduced?

    python -m experiments paper-table --data-dir DIR
    python -m experiments other-seeds --data-dir DIR

Whole test sets, five seeds, learning rate .01 for every method. ``published.csv`` holds the numbers
of the authors' released curves (five seeds) in the paper's convention: those of the seed-averaged
curve with their propagated errors. Ours are given in the same convention, and also per seed, as a
mean with a 95 % confidence interval.

The metrics of De Lange et al. consider all tasks. There are no published values to compare them
with, since the released curves are of task 1 only; they are in a separate table, for the same seeds
evaluated on a subset of every task's test set.

The second program trains NGM-SGD on Rotated MNIST, whose gap is larger here than published, with
twenty other seeds: how much does the gap of the mean of five seeds scatter?

Each cell is compared separately, by the difference over sqrt(error² + published error²): up to 1
``agrees``, up to 2 is ``near``, beyond is ``no``. If all evaluations of a seed erred together, an
error would be the standard deviation of a metric over seeds, and one combined error some two
standard errors of a difference of means of five; if they erred independently, the errors are too
small by the square root of the number of points that enter a metric.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import METHODS, MNIST, Lab
from gainjax import plot_curves, table
from gainjax.curves import task_ends
from gainjax.metrics import mean_curve_metrics

PUBLISHED = Path(__file__).with_name("published.csv")
_KEYS = ["benchmark", "method", "quantity"]
# Our name and unit; the last four have no published value, and no propagated error.
_METRICS = {
    "avg-ACC": ("avg_acc", 100),
    "min-ACC": ("min_acc", 100),
    "WC-ACC": ("wc_acc", 100),
    "avg-SG": ("avg_sg", 1),
    "anytime accuracy": ("anytime_accuracy", 100),
    "final accuracy": ("final_accuracy", 100),
    "updates to recovery": ("recovery", 1),
    "recovered": ("recovered", 100),
}

_GAP = ("avg_sg_mean_curve", "avg_sg_mean_curve_error", "avg_sg", "avg_sg_low", "avg_sg_high")


class Cell(NamedTuple):
    """One of our numbers: of the seed-averaged curve, and per seed."""

    value: float
    error: float
    per_seed: float = np.nan
    per_seed_low: float = np.nan
    per_seed_high: float = np.nan


def paper_table(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = MNIST,
    seeds: int = 5,
) -> None:
    """Reproduce the paper's table on MNIST, cell by cell.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    curves, all_tasks = {}, {}
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"paper-table/{benchmark.name}"
        options = {"eval_examples": None, "seen_every": 10}
        runs = lab.run(folder, benchmark, METHODS, seeds, **options)
        lab.draw(f"paper-table-{benchmark.name}", plot_curves(runs))
        curves[benchmark.name] = runs
        folder = f"paper-table-all-tasks/{benchmark.name}"
        all_tasks[benchmark.name] = lab.run(folder, benchmark, METHODS, seeds, eval_tasks="all")
    cells = pd.concat([_cells(runs, name) for name, runs in curves.items()])
    lab.write("paper-table", compare(cells, pd.read_csv(PUBLISHED)), list(curves.values()))
    rows = {name: table(runs, "de-lange") for name, runs in all_tasks.items()}
    de_lange = pd.concat(rows, names=["benchmark"]).reset_index("benchmark")
    lab.write("paper-table-de-lange", de_lange, list(all_tasks.values()))


def other_seeds(
    lab: Annotated[Lab, tyro.conf.arg(name="")], groups: int = 4, seeds: int = 5
) -> None:
    """Show how the gap of a mean curve depends on the seeds that it averages.

    Args:
        lab: Folders and options.
        groups: Number of groups of seeds.
        seeds: Seeds per group; the first group starts with the seed of this number.
    """
    (benchmark,) = lab.benchmarks(["rotated-mnist"])
    chosen = range(seeds, seeds * (groups + 1))
    runs = lab.run("other-seeds", benchmark, ("ngm-sgd",), chosen, eval_examples=2000)
    found = runs.seed.values
    parts = np.array_split(found, groups) if len(found) >= groups else [found]
    rows = [
        (f"{part[0]} to {part[-1]}", *_gap(runs.sel({"seed": part}))) for part in (*parts, found)
    ]
    lab.write("other-seeds", pd.DataFrame(rows, columns=["seeds", *_GAP]), [runs])


def _gap(runs: xr.Dataset) -> list[float]:
    return table(runs, "rodriguez-garcia").loc["ngm-sgd", list(_GAP)].tolist()


def compare(cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return all cells with the published values, and their agreement.

    Args:
        cells: ``benchmark``, ``method``, ``quantity``, ``value``, ``error`` and more.
        published: The published values, in the same columns.
    """
    theirs = published.rename(columns={"value": "published", "error": "published_error"})
    rows = cells.merge(theirs, "left", _KEYS)
    difference = (rows["value"] - rows["published"]).abs()
    rows["deviation"] = difference / np.hypot(rows["error"], rows["published_error"])
    verdict = np.select([rows["deviation"] <= 1, rows["deviation"] <= 2], ["agrees", "near"], "no")
    return rows.assign(verdict=np.where(rows["published"].isna(), "", verdict))


def _cells(runs: xr.Dataset, benchmark: str) -> pd.DataFrame:
    """Return the results of each method of a run, one row per quantity."""
    per_seed = table(runs, "rodriguez-garcia")
    rows = []
    for method in runs.setting.values.tolist():
        one = runs.sel(setting=method, eval_task=1)
        of_mean = mean_curve_metrics(one.accuracy.values, one.eval_update.values, task_ends(one))
        cells = {}
        for title, (name, unit) in _METRICS.items():
            pair = of_mean.get(name, (np.nan, np.nan))
            row = per_seed.loc[method]
            interval = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
            cells[title] = Cell(*(unit * x for x in (*pair, *interval)))
        for switch, pair in enumerate(zip(*of_mean["sg"], strict=True), 1):
            cells[f"SG of switch {switch}"] = Cell(*pair)
        if (one.gain > 1).any():
            for task, gain in one.gain.groupby("task").mean().groupby("task"):
                cells[f"gain of task {task}"] = Cell(gain.mean().item(), gain.std().item())
        rows += [(benchmark, method, quantity, *cell) for quantity, cell in cells.items()]
    return pd.DataFrame(rows, columns=[*_KEYS, *Cell._fields])
