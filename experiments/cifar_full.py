"""The authors' CIFAR protocols over all tasks, one run at a time.

    python -m experiments cifar-full --data-dir DIR

Slim ResNet-18 with 20 channels, 400 updates of 256 augmented images per task, the gain on the head
alone: every run takes about half an hour on two cores. The curves of each finished run are written
to ``cifar-full-BENCHMARK.csv.gz``, and stored runs are not repeated; one that is stopped resumes
from its last checkpoint. The outer loop is over seeds, so that a complete comparison on one seed
comes first. Evaluation on 1,000 images of each test set (or all, if there are fewer) after each of
the first 16 updates of a task and every 5th; on all tasks seen so far every 50th.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab, write_compressed
from experiments.league.claim import RULE, SETTING
from gainjax import Benchmark, plot_curves
from gainjax.curves import task_ends
from gainjax.files import write_file
from gainjax.metrics import updates_to_minimum

# The paper's four at its learning rate, .01; then the claim's setting, and the league's best.
SETTINGS: dict[str, dict[str, float]] = {
    "ngm-sgd": {},
    "sgd": {},
    "msgd": {},
    "adam": {},
    RULE: SETTING,
    "adagrad-ema": {},
}
BENCHMARKS = ("domain-cifar100", "split-cifar10", "domain-cifar100-superclasses")
_EVALUATION = {"eval_examples": 1000, "eval_every": 5, "seen_every": 50}
_COLUMNS = ("accuracy", "eval_loss", "seen_accuracy")


class Run(NamedTuple):
    """One run, whose curves are a part of the file of its benchmark."""

    benchmark: Benchmark
    method: str
    seed: int


def cifar_full(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = BENCHMARKS,
    methods: tuple[str, ...] = tuple(SETTINGS),
    seeds: tuple[int, ...] = (0, 1, 2),
    page_only: bool = False,
) -> None:
    """Compare the methods on the authors' CIFAR protocols over all tasks.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        methods: Methods to run.
        seeds: Seeds to run, in this order.
        page_only: Train nothing: make table and figures from the stored curves.
    """
    chosen = lab.benchmarks(benchmarks)
    for seed in () if page_only else seeds:
        for benchmark in chosen:
            for method in methods:
                _train(lab, Run(benchmark, method, seed))
    rows, switches = [], []
    for name in [benchmark.name for benchmark in chosen]:
        for curves in complete(_path(lab, name), name):
            lab.draw(f"cifar-full-{name}", plot_curves(curves))
            table = gainjax.table(curves).reset_index()
            rows.append(table.assign(benchmark=name, seeds=str(curves["seed"].values.tolist())))
            switches.append(_switches(curves).assign(benchmark=name))
    for name, parts in {"cifar-full": rows, "cifar-full-switches": switches}.items():
        if parts:
            text = pd.concat(parts).to_csv(index=False, float_format="%.5g", lineterminator="\n")
            write_file(lab.results / f"{name}.csv", text.encode())


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


def complete(path: Path, name: str) -> Iterator[xr.Dataset]:
    """Yield the curves of the stored methods on the seeds that all of them have, if any.

    Args:
        path: File of a benchmark.
        name: Name of the benchmark.
    """
    if not path.exists():
        return
    rows = pd.read_csv(path)
    by_run = dict(list(rows.groupby(["method", "seed"])))
    methods = list(dict.fromkeys(rows["method"]))
    seeds = [s for s in rows["seed"].unique() if all((m, s) in by_run for m in methods)]
    if not seeds:
        return

    def stacked(column: str) -> dict[str, np.ndarray]:
        return {
            m: np.stack([by_run[m, s][column].dropna().to_numpy() for s in seeds]) for m in methods
        }

    one = by_run[methods[0], seeds[0]]
    evaluated, seen = (one.loc[one[c].notna(), "update"] for c in ("accuracy", "seen_accuracy"))
    yield gainjax.from_curves(
        {label: array[..., None] for label, array in stacked("accuracy").items()},
        eval_loss={label: array[..., None] for label, array in stacked("eval_loss").items()},
        eval_updates=evaluated.tolist(),
        seen_accuracy=stacked("seen_accuracy"),
        seen_updates=seen.tolist(),
        task_ends=one.groupby("task")["update"].max().tolist(),
        seeds=[int(seed) for seed in seeds],
        benchmark=name,
    )


def _train(lab: Lab, run: Run) -> None:
    """Add the curves of a run to the file of its benchmark, unless they are there."""
    path = _path(lab, run.benchmark.name)
    before = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["method", "seed"])
    if ((before["method"] == run.method) & (before["seed"] == run.seed)).any():
        return
    curves = lab.run(
        f"cifar-full/{run.benchmark.name}/{run.method}-{run.seed}",
        run.benchmark,
        [run.method],
        [run.seed],
        hyperparameters={run.method: SETTINGS[run.method]},
        **_EVALUATION,
    )
    rows = pd.concat([before, _rows(curves, run)]) if len(before) else _rows(curves, run)
    write_compressed(path, rows, "%.6g")
    print(f"{run.benchmark.name}: {run.method}, seed {run.seed}", flush=True)


def _rows(curves: xr.Dataset, run: Run) -> pd.DataFrame:
    """Return the curves of a run, one row per update with an evaluation."""
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


def _path(lab: Lab, name: str) -> Path:
    return lab.results / f"cifar-full-{name}.csv.gz"
