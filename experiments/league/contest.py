"""Which method closes the stability gap best? Each is tuned by one rule, then run on fresh seeds.

    python -m experiments league --data-dir DIR
    python -m experiments league --benchmarks split-digits permuted-digits rotated-digits

Each method has seven settings (:mod:`experiments.league.entries`), which are tried on three seeds.
The one with the smallest gap within half a point of the method's own best anytime accuracy is run
on ten fresh seeds, with its switches and without (the floor), and so is the method's default: that
of the registry, without the overrides of benchmarks, since a benchmark has its own rates for a few
methods only. Results are written after each method, one row per seed, to
``league-BENCHMARK.csv.gz``; stored methods are not run again (unless their default has changed), so
the program can be stopped at any time. Tables, figures and the page are made from these files.
"""

import importlib.metadata
import json
import platform
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab, write_compressed
from experiments.league.entries import BY_NAME, ENTRIES, Entry
from experiments.league.page import write_page
from gainjax import Benchmark

DIGITS = ("split-digits", "permuted-digits", "rotated-digits")
TUNING_SEEDS = (100, 101, 102)
FRESH_SEEDS = tuple(range(10))
STAGES = ("tuning", "final", "floor", "default")
_SMOKE = 2  # methods
METRICS = (
    *("avg_sg", "anytime_accuracy", "final_accuracy", "min_acc", "lowest_at", "recovery"),
    "recovered",
)


def league(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = DIGITS,
    methods: tuple[str, ...] = tuple(BY_NAME),
    page_only: bool = False,
) -> None:
    """Tune and compare every method, and write the page.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run. What is stored of them is not run again.
        methods: Methods to run.
        page_only: Train nothing: make tables, figures and the page from the stored numbers.
    """
    for benchmark in [] if page_only else lab.benchmarks(benchmarks):
        path = lab.results / f"league-{benchmark.name}.csv.gz"
        for entry in ENTRIES[:_SMOKE] if lab.smoke else ENTRIES:
            if entry.name not in methods or not (due := stages_due(path, entry)):
                continue
            put(path, contest(lab, benchmark, entry, due))
            print(f"{benchmark.name}: {entry.name}, {', '.join(due)}", flush=True)
            jax.clear_caches()  # compiled programs of all methods would not fit into memory
    write_page(lab.results)


def contest(
    lab: Lab, benchmark: Benchmark, entry: Entry, due: Sequence[str] = STAGES
) -> pd.DataFrame:
    """Return the results of a method on a benchmark, one row per stage, setting and seed."""
    folder = f"league/{benchmark.name}/{entry.name}"
    options, methods = evaluation(benchmark), {entry.name: entry.method}
    trained, stages = network(benchmark, entry), {}
    if "tuning" in due:
        tuning = tuned(lab, benchmark, entry)
        fixed = options | {"hyperparameters": {entry.name: chosen_setting(tuning, entry)}}
        final = lab.run(f"{folder}/final", trained, methods, FRESH_SEEDS, **fixed)
        floor = lab.run(
            f"{folder}/floor", trained, methods, FRESH_SEEDS, regime="no-switch", **fixed
        )
        stages = {"tuning": tuning, "final": final, "floor": floor}
    of_registry = options | {"hyperparameters": {entry.name: default_setting(entry)}}
    stages["default"] = lab.run(
        f"{folder}/registry-default", trained, methods, FRESH_SEEDS, **of_registry
    )
    rows = pd.concat([_rows(stage, curves) for stage, curves in stages.items()])
    rows.insert(0, "method", entry.name)
    return rows.assign(machine=machine())


def tuned(lab: Lab, benchmark: Benchmark, entry: Entry) -> xr.Dataset:
    """Return the curves of a method's seven settings."""
    folder = f"league/{benchmark.name}/{entry.name}"
    trained, options = network(benchmark, entry), evaluation(benchmark)
    methods = {entry.name: entry.method}
    parts = [
        lab.sweep(f"{folder}/tuning-{i}", trained, grid, methods, TUNING_SEEDS, **options)
        for i, grid in enumerate(entry.grids)
    ]
    return parts[0] if len(parts) == 1 else gainjax.concat(parts, "setting")


def network(benchmark: Benchmark, entry: Entry) -> Benchmark:
    """Return the benchmark with the network of a method.

    Args:
        benchmark: The benchmark.
        entry: The method.
    """
    return benchmark if entry.on is None else entry.on(benchmark)


def evaluation(benchmark: Benchmark) -> dict[str, Any]:
    """Return evaluation options: all of the few digits, a part of MNIST."""
    return {"seen_every": 10, "eval_examples": None if "digits" in benchmark.name else 1000}


def chosen_setting(tuning: xr.Dataset, entry: Entry) -> dict[str, float]:
    """Return the setting that the rule chooses; the first one if all diverge."""
    ranking = gainjax.ranking(tuning)
    best = ranking[ranking["chosen"]]
    row = (best if len(best) else ranking).iloc[0]
    return {name: float(row[name]) for name in entry.settings[0]}


def settings_of_league(results: Path, benchmark: str) -> dict[str, dict[str, Any]]:
    """Return the setting that was chosen for each method on a benchmark; none before it was run.

    Args:
        results: Folder with the numbers of the league.
        benchmark: Name of the benchmark.
    """
    path = results / f"league-{benchmark}.csv.gz"
    if not path.exists():
        return {}
    rows = pd.read_csv(path, usecols=["method", "stage", "setting"]).query("stage == 'final'")
    return {m: json.loads(part.iloc[0]) for m, part in rows.groupby("method")["setting"]}


def default_setting(entry: Entry) -> dict[str, float | None]:
    """Return all numbers of a method as the registry has them, whatever a benchmark overrides."""
    return dict(gainjax.get_method(entry.method).hyperparameters)


def _rows(stage: str, curves: xr.Dataset) -> pd.DataFrame:
    settings = {
        row["label"]: json.dumps(row["hyperparameters"])
        for row in json.loads(curves.attrs["spec"])["settings"]
    }
    rows = gainjax.per_seed(curves)
    updates = int(curves["task_end"][-1]) * len(rows)
    return pd.DataFrame(
        {
            "stage": stage,
            "setting": rows["setting"].map(settings),
            "seed": rows["seed"],
            **{name: rows[name] for name in METRICS},
            "diverged": rows["diverged_update"] > 0,
            "ms_per_update": 1000 * curves.attrs["wall_time_seconds"] / updates,
        }
    )


def machine() -> str:
    """Return what the last digits of numbers depend on: processor instructions and versions."""
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in info if line.startswith("flags"))
    except (OSError, StopIteration):
        flags = platform.machine()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "optax")]
    return ", ".join([f"processor {zlib.crc32(flags.encode()):08x}", *versions])


def stages_due(path: Path, entry: Entry) -> tuple[str, ...]:
    """Return the stages to run: all of them, the default alone if it has changed, or none."""
    if not path.exists():
        return STAGES
    rows = pd.read_csv(path, usecols=["method", "stage", "setting"])
    rows = rows[rows["method"] == entry.name]
    if rows.empty:
        return STAGES
    settings = rows["setting"][rows["stage"] == "default"].map(json.loads)
    current = default_setting(entry)
    same = len(settings) and all(setting == current for setting in settings)
    return () if same else ("default",)


def put(path: Path, rows: pd.DataFrame) -> None:
    """Replace the rows of some stages of a method in a file."""
    if path.exists():
        before = pd.read_csv(path)
        keys = ["method", "stage"]
        replaced = before.set_index(keys).index.isin(rows.set_index(keys).index)
        order = {name: i for i, name in enumerate(before["method"].unique())}
        rows = pd.concat([before[~replaced], rows])
        place = rows["method"].map(order).fillna(len(order))
        rows = rows.iloc[place.argsort(kind="stable")]
    write_compressed(path, rows, "%.9g")
