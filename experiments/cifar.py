"""Does the effect carry over to natural images and a convolutional network? One run at a time.

    python -m experiments cifar --data-dir DIR
    python -m experiments cifar --data-dir DIR --benchmarks split-cifar10-small --seeds 10

The authors' CIFAR protocols over all tasks (slim ResNet-18 with 20 channels, 400 updates of 256
augmented images per task: about half an hour per run on two cores), and our reduction of Split
CIFAR-10 (8 channels, 100 updates of 64 images). The gain is on the head alone, or in every layer.

The curves of each finished run are written to ``cifar-BENCHMARK.csv.gz``, and stored runs are not
repeated; one that is stopped resumes from its last checkpoint. The outer loop is over seeds, so
that a complete comparison on one seed comes first. Tables and figures have the methods and seeds
that make the largest full comparison.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab, against_first, write_compressed
from experiments.league.claim import RULE, SETTING
from gainjax import Benchmark, plot_curves
from gainjax.curves import task_ends
from gainjax.files import write_file
from gainjax.metrics import updates_to_minimum

EVERYWHERE = "ngm-sgd-everywhere"  # with a gain in every layer, not in the head alone
# The paper's four at its learning rate, .01; then the claim's setting, and others at their default.
SETTINGS: dict[str, dict[str, float]] = {
    "ngm-sgd": {},
    EVERYWHERE: {},
    "sgd": {},
    "msgd": {},
    "adam": {},
    "ngm-sgd-ema": {},
    RULE: SETTING,
    "adagrad-ema": {},
}
SMALL = "split-cifar10-small"
BENCHMARKS = (SMALL, "domain-cifar100", "split-cifar10", "domain-cifar100-superclasses")
# In addition to each of the first 16 updates of a task; on a part of each test set.
_EVALUATION = {"eval_examples": 1000, "eval_every": 5, "seen_every": 50}
_EVALUATION_OF_SMALL = {"eval_examples": 500, "eval_every": 2, "seen_every": 10}
_METRICS = ("avg_sg", "min_acc", "avg_acc", "anytime_accuracy", "final_accuracy")
_TESTED = ("avg_sg", "anytime_accuracy")
_COLUMNS = ("accuracy", "eval_loss", "seen_accuracy")


class Run(NamedTuple):
    """One run, whose curves are a part of the file of its benchmark."""

    benchmark: Benchmark
    method: str
    seed: int


def cifar(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = BENCHMARKS,
    methods: tuple[str, ...] = tuple(SETTINGS),
    seeds: int = 3,
    page_only: bool = False,
) -> None:
    """Compare the methods on CIFAR-10 and CIFAR-100.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        methods: Methods to run.
        seeds: Number of seeds.
        page_only: Train nothing: make table and figures from the stored curves.
    """
    chosen = lab.benchmarks(benchmarks)
    for seed in range(0 if page_only else seeds):
        for benchmark in chosen:
            for method in methods:
                train(lab, Run(benchmark, method, seed))
    rows, switches = [], []
    for path in sorted(lab.results.glob("cifar-*.csv.gz")):
        name, curves = _benchmark(path), largest_comparison(path)
        lab.draw(f"cifar-{name}", plot_curves(curves))
        rows.append(_compared(curves).assign(benchmark=name))
        switches.append(_switches(curves).assign(benchmark=name))
    for name, parts in {"cifar": rows, "cifar-switches": switches}.items():
        if parts:
            text = pd.concat(parts).to_csv(index=False, float_format="%.5g", lineterminator="\n")
            write_file(lab.results / f"{name}.csv", text.encode())


def _compared(curves: xr.Dataset) -> pd.DataFrame:
    """Return the metrics of each method, and its differences from NGM-SGD, where that is stored."""
    per_seed = gainjax.per_seed(curves).set_index("seed")
    by_method = dict(list(per_seed.groupby("setting", sort=False)))
    others = tuple(by_method)[1:] if "ngm-sgd" in by_method else ()
    table = against_first(by_method, _METRICS, _TESTED, others)
    return table.assign(seeds=str(curves["seed"].values.tolist()))


def _switches(curves: xr.Dataset) -> pd.DataFrame:
    """Return the accuracy on task 1 before each switch and its minimum in the task after it."""
    accuracy = curves["accuracy"].sel(eval_task=1).transpose("setting", "seed", "eval_update")
    evaluated, ends = curves["eval_update"].values, task_ends(curves)
    rows = []
    for (i, j, k), after in np.ndenumerate(updates_to_minimum(accuracy.values, evaluated, ends)):
        one = accuracy[i, j]
        before, lowest = (one.sel(eval_update=n).item() for n in (ends[k], ends[k] + after))
        rows.append((one["setting"].item(), one["seed"].item(), k + 1, before, lowest, after))
    columns = ["method", "seed", "switch", "before", "lowest", "updates_after_switch"]
    return pd.DataFrame(rows, columns=columns)


def largest_comparison(path: Path) -> xr.Dataset:
    """Return the stored curves of the methods and seeds that make the largest full comparison.

    Args:
        path: File of a benchmark. Of all choices of methods that have the same seeds, the one with
            the most runs is taken, so a method with few seeds costs the others none of theirs.
    """
    rows = pd.read_csv(path)
    by_run = dict(list(rows.groupby(["method", "seed"])))
    seeds_of = {m: set(part["seed"]) for m, part in rows.groupby("method", sort=False)}
    choices = [
        ([m for m, seeds in seeds_of.items() if seeds >= common], sorted(common))
        for common in seeds_of.values()
    ]
    methods, seeds = max(choices, key=lambda choice: len(choice[0]) * len(choice[1]))

    def stacked(column: str) -> dict[str, np.ndarray]:
        return {
            m: np.stack([by_run[m, s][column].dropna().to_numpy() for s in seeds]) for m in methods
        }

    one = by_run[methods[0], seeds[0]]
    evaluated, seen = (one.loc[one[c].notna(), "update"] for c in ("accuracy", "seen_accuracy"))
    return gainjax.from_curves(
        {label: array[..., None] for label, array in stacked("accuracy").items()},
        eval_loss={label: array[..., None] for label, array in stacked("eval_loss").items()},
        eval_updates=evaluated.tolist(),
        seen_accuracy=stacked("seen_accuracy"),
        seen_updates=seen.tolist(),
        task_ends=one.groupby("task")["update"].max().tolist(),
        seeds=[int(seed) for seed in seeds],
        benchmark=_benchmark(path),
    )


def train(lab: Lab, run: Run) -> None:
    """Add the curves of a run to the file of its benchmark, unless they are there.

    Args:
        lab: Folders and options.
        run: The run.
    """
    path = lab.results / f"cifar-{run.benchmark.name}.csv.gz"
    if path.exists():
        stored = pd.read_csv(path, usecols=["method", "seed"])
        if ((stored["method"] == run.method) & (stored["seed"] == run.seed)).any():
            return
    everywhere = run.method == EVERYWHERE
    curves = lab.run(
        f"cifar/{run.benchmark.name}/{run.method}-{run.seed}",
        run.benchmark,
        {run.method: "ngm-sgd" if everywhere else run.method},
        [run.seed],
        hyperparameters={run.method: SETTINGS[run.method]},
        modulate="all" if everywhere else None,
        **(_EVALUATION_OF_SMALL if run.benchmark.name == SMALL else _EVALUATION),
    )
    put(path, rows_of(curves, run))
    print(f"{run.benchmark.name}: {run.method}, seed {run.seed}", flush=True)


def put(path: Path, rows: pd.DataFrame) -> None:
    """Add the rows of a run to a file, methods in the order of ``SETTINGS``, then seeds.

    Args:
        path: The file, which may not exist yet.
        rows: The rows, from :func:`rows_of`.
    """
    if path.exists():
        rows = pd.concat([pd.read_csv(path), rows])
    place = rows["method"].map({method: i for i, method in enumerate(SETTINGS)})
    rows = rows.assign(place=place).sort_values(["place", "seed", "update"], kind="stable")
    write_compressed(path, rows.drop(columns="place"), "%.6g")


def rows_of(curves: xr.Dataset, run: Run) -> pd.DataFrame:
    """Return the curves of a run, one row per update with an evaluation.

    Args:
        curves: Curves, of this run alone.
        run: The run.
    """
    one = curves.isel(setting=0, seed=0, eval_task=0)
    parts = {
        "accuracy": one["accuracy"].to_series(),
        "eval_loss": one["eval_loss"].to_series(),
        "seen_accuracy": one["seen_accuracy"].to_series(),
        "gain": one["gain"].to_series(),
    }
    table = pd.DataFrame(parts).dropna(subset=list(_COLUMNS), how="all")
    task = one["task"].to_series().reindex(table.index)
    table.insert(0, "task", task)
    table = table.rename_axis("update").reset_index()
    table.insert(0, "seed", run.seed)
    table.insert(0, "method", run.method)
    return table


def _benchmark(path: Path) -> str:
    return path.name.removeprefix("cifar-").removesuffix(".csv.gz")
