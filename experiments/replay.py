"""The best of the league with a bounded memory instead of all examples so far.

    python -m experiments replay

Each method at the setting that the league chose for it in joint training, on ten seeds that no
choice has used: joint, and with half of each batch from a memory of ``buffer`` earlier examples,
uniform over the past (reservoir) or balanced by class.
"""

from typing import Annotated, Any

import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab
from experiments.league.contest import evaluation, settings_of_league
from gainjax.show import with_bounds

METHODS = (
    *("fixed-gain-ema", "adagrad-ema", "ngm-sgd-ema", "sgd-ema", "adagrad", "ngm-sgd", "sgd"),
    *("msgd", "adam"),
)
REGIMES: dict[str, dict[str, Any]] = {
    "joint": {},
    "reservoir": {"regime": "replay", "buffer": "reservoir"},
    "balanced": {"regime": "replay", "buffer": "balanced"},
}
SEEDS = tuple(range(300, 310))
METRICS = ("avg_sg", "anytime_accuracy", "final_accuracy")
_SMOKE = 2  # methods


def replay(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits"),
    buffer: int = 200,
) -> None:
    """Repeat the comparison of the best methods with a bounded memory.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        buffer: Examples that the memory holds.
    """
    rows, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        methods = METHODS[-_SMOKE:] if lab.smoke else METHODS
        every_setting = settings_of_league(lab.results, benchmark.name)
        settings = {m: every_setting[m] for m in methods if m in every_setting}
        for name, options in REGIMES.items():
            size = {"buffer_size": buffer} if options else {}
            curves = lab.run(
                f"replay/{benchmark.name}-{name}",
                benchmark,
                methods,
                SEEDS,
                hyperparameters=settings,
                **options,
                **size,
                **evaluation(benchmark),
            )
            every.append(curves)
            rows.append(_rows(benchmark.name, name, curves))
    lab.write("replay", pd.concat(rows), every)


def _rows(benchmark: str, regime: str, curves: xr.Dataset) -> pd.DataFrame:
    columns = with_bounds(METRICS)
    rows = gainjax.table(curves)[[*columns, "diverged"]]
    rows.insert(0, "benchmark", benchmark)
    rows.insert(1, "regime", regime)
    rows.insert(2, "method", rows.index)
    return rows
