"""Shared by the programs: resumable runs, and results on disk."""

import dataclasses
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import gainjax
from gainjax import Benchmark, Method, get_benchmark
from gainjax.data import Stream
from gainjax.files import write_file
from gainjax.statistics import holm, interval_columns, paired_permutation_test

METHODS = ("ngm-sgd", "sgd", "msgd", "adam")
MNIST = ("split-mnist", "permuted-mnist", "rotated-mnist")

# All smoke versions are the same, one run at a time, so that they share compiled programs.
_SMOKE = {"updates_per_task": 4, "batch_size": 8, "eval_every": 1, "seen_every": 2, "memory": 1}
_OF_TASKS = ("task_start", "task_end", "test_inputs", "test_targets", "test_sizes")
_SMOKE_SEEDS = _SMOKE_VALUES = _SMOKE_TASKS = 2


@dataclasses.dataclass(frozen=True)
class Lab:
    """The folders and options of a program."""

    data_dir: Path | None = None
    """Folder with the images, as for `gainjax run`."""
    runs: Path = Path("runs")
    """Folder for curves. Stored ones are not trained again."""
    results: Path = Path(__file__).parent / "results"
    """Folder for tables and figures."""
    eval_examples: int | None = 1000
    """Evaluate on a random subset of each test set; `paper-table` and CIFAR have their own size."""
    smoke: bool = False
    """Train for a moment on handwritten digits instead, to test the program."""

    def benchmarks(self, names: Sequence[str]) -> list[Benchmark]:
        """Return the benchmarks of these names, or the digits in a smoke version."""
        if self.smoke:
            return [first_tasks(get_benchmark("split-digits"), _SMOKE_TASKS)]
        return [get_benchmark(name) for name in names]

    def run(
        self,
        folder: str,
        benchmark: Benchmark,
        methods: Sequence[str] | Mapping[str, str | Method],
        seeds: int | Sequence[int],
        **options: Any,
    ) -> Any:
        """Return what :func:`gainjax.run` does, training only what is not stored yet.

        Args:
            folder: Folder for the curves, below ``runs``.
            benchmark: The benchmark.
            methods: Names of methods, or methods by label.
            seeds: Number of seeds, or the seeds themselves.
            **options: Further options of :func:`gainjax.run`.
        """
        return gainjax.run(
            benchmark, methods, self._seeds(seeds), out=self.runs / folder, **self._options(options)
        )

    def sweep(
        self,
        folder: str,
        benchmark: Benchmark,
        grid: Mapping[str, Sequence[float]],
        methods: Sequence[str] | Mapping[str, str],
        seeds: int | Sequence[int],
        **options: Any,
    ) -> xr.Dataset:
        """Return the curves of :func:`gainjax.sweep`, training only what is not stored yet.

        Args:
            folder: Folder for the curves, below ``runs``.
            benchmark: The benchmark.
            grid: Values of hyperparameters by name.
            methods: Names of methods, alone or by label.
            seeds: Number of seeds, or the seeds themselves.
            **options: Further options of :func:`gainjax.sweep`.
        """
        if self.smoke:
            grid = {name: values[:_SMOKE_VALUES] for name, values in grid.items()}
        return gainjax.sweep(
            benchmark,
            grid,
            methods,
            self._seeds(seeds),
            out=self.runs / folder,
            **self._options(options),
        )

    def write(self, name: str, rows: pd.DataFrame, curves: Sequence[xr.Dataset]) -> None:
        """Write a table as ``NAME.csv``, and its provenance as ``NAME.json``.

        Args:
            name: Name of both files in ``results``.
            rows: The table, without its index.
            curves: All curves that its numbers come from.
        """
        specs = [json.loads(dataset.attrs["spec"]) for dataset in curves]
        environments = [json.loads(dataset.attrs["environment"]) for dataset in curves]
        made_with = {
            "training_seconds": round(sum(c.attrs["wall_time_seconds"] for c in curves)),
            "cpus": os.cpu_count(),
            "devices": sorted({environment["device"] for environment in environments}),
            "versions": environments[0]["versions"],
            "seeds": sorted({seed for spec in specs for seed in spec["seeds"]}),
            "eval_examples": sorted({str(spec["eval_examples"]) for spec in specs}),
        }
        text = rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")
        write_file(self.results / f"{name}.csv", text.encode())
        write_file(self.results / f"{name}.json", (json.dumps(made_with, indent=1) + "\n").encode())
        print(f"wrote {self.results / name}.csv")

    def draw(self, name: str, figure: Figure) -> None:
        """Write a figure as ``NAME.png``.

        Args:
            name: Name of the file in ``results``.
            figure: The figure.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.results / f"{name}.png", dpi=150)

    def _seeds(self, seeds: int | Sequence[int]) -> Sequence[int]:
        seeds = range(seeds) if isinstance(seeds, int) else seeds
        return seeds[:_SMOKE_SEEDS] if self.smoke else seeds

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        shared = {"eval_examples": self.eval_examples, "seen_every": 10}
        smoke = _SMOKE if self.smoke else {}
        data_dir = None if self.smoke else self.data_dir
        return {**shared, **options, **smoke, "data_dir": data_dir, "progress": not self.smoke}


def against_first(
    per_seed: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    tested: Sequence[str],
    methods: Sequence[str],
) -> pd.DataFrame:
    """Return a row per method: metrics with intervals, and paired differences from NGM-SGD.

    The p-values are corrected by Holm's method, together.

    Args:
        per_seed: Metrics of each seed by method, NGM-SGD first, from :func:`gainjax.per_seed`,
            indexed by seed.
        metrics: Metrics to show.
        tested: Those to compare.
        methods: Methods to compare with the first, if any.
    """
    reference, rows = next(iter(per_seed.values())), []
    for name, found in per_seed.items():
        row: dict[str, Any] = {
            "method": name,
            "diverged": int((found["diverged_update"] > 0).sum()),
        }
        for metric in metrics:
            row |= interval_columns(metric, found[metric])
        for metric in tested if name in methods else ():
            row |= interval_columns(f"minus_ngm_{metric}", found[metric] - reference[metric])
            row[f"{metric}_p"] = paired_permutation_test(found[metric], reference[metric])
        rows.append(row)
    table = pd.DataFrame(rows)
    if not methods:
        return table
    p_values = [f"{metric}_p" for metric in tested]
    return table.assign(**dict(zip(p_values, holm(table[p_values]).T, strict=True)))


def write_compressed(path: Path, rows: pd.DataFrame, digits: str) -> None:
    """Write a table as ``.csv.gz``; equal tables give equal files.

    Args:
        path: The file, written atomically.
        rows: The table, without its index.
        digits: Format of its numbers.
    """
    text = rows.to_csv(index=False, float_format=digits, lineterminator="\n")
    write_file(path, gzip.compress(text.encode(), mtime=0))


def first_tasks(whole: Benchmark, count: int) -> Benchmark:
    """Return a benchmark of split classes that ends after some tasks.

    Args:
        whole: The benchmark with all tasks.
        count: Number of tasks.
    """

    def stream(**options: Any) -> Stream:
        return keep_tasks(whole.load(**options), count)

    return whole.replace(name=f"{whole.name}-{count}-tasks", stream=stream)


def keep_tasks(stream: Stream, count: int) -> Stream:
    """Return the first tasks of a stream."""
    end = int(stream.task_end[count - 1])
    by_task = {name: getattr(stream, name)[:count] for name in _OF_TASKS}
    return stream._replace(
        train_inputs=stream.train_inputs[:end], train_targets=stream.train_targets[:end], **by_task
    )


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Args:
        lines: Its cells; the first line is its head.
    """
    head, *rows = (
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) + "\n" for line in lines
    )
    return "".join([head, "|---" * len(lines[0]) + "|\n", *rows])
