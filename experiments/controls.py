"""Which part of the effect is a larger step, which part the timing of the gain?

    python -m experiments controls --data-dir DIR

NGM-SGD raises the gain when it is uncertain, and a gain g makes the step g² times as large. The
controls keep the mean step but change its timing: SGD at the learning rate times the mean of
NGM-SGD's g² (``sgd-raised``), NGM-SGD's mean gain held constant, or its gain shuffled in time; a
bump at the known switches; a learning rate that follows the signal without scaling a weight. Others
reset the optimizer's state at a switch, average weights, or seek flat minima. A gain that is
replayed to its own seed must reproduce the run, so that row is a check. All use one learning rate
and defaults otherwise.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import pandas as pd
import tyro
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.lab import Lab
from gainjax import Benchmark, comparison, concat, get_method, table
from gainjax.show import with_bounds

RAISED = "sgd-raised"
STEP_OR_TIMING = (
    *("ngm-sgd", "sgd", RAISED, "constant-gain", "shuffled-gain", "entropy-lr"),
    *("bump-at-switch", "replayed-gain"),
)
OTHERS = ("msgd", "msgd-reset", "adam", "adam-reset", "sgd-ema", "sam", "ngm-msgd", "ngm-adam")
COMPARED = ("avg_sg", "min_acc", "anytime_accuracy", "final_accuracy")


def controls(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-mnist", "rotated-mnist"),
    methods: tuple[str, ...] = (*STEP_OR_TIMING, *OTHERS),
    seeds: int = 10,
) -> None:
    """Compare NGM-SGD with controls that share some of its parts, paired by seed.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        methods: Methods to compare; the first must be ngm-sgd.
        seeds: Number of seeds.
    """
    for benchmark in lab.benchmarks(benchmarks):
        curves = _train(lab, benchmark, methods, seeds)
        rows = _differences(concat(curves, "setting"))
        rows.insert(1, "learning_rate", [_learning_rate(one) for one in curves])
        lab.write(f"controls-{benchmark.name}", rows, curves)
        lab.draw(f"controls-{benchmark.name}", _plot(rows))


def _train(lab: Lab, benchmark: Benchmark, methods: Sequence[str], seeds: int) -> list[xr.Dataset]:
    """Return the curves of all methods, each trained in a separate folder."""
    folder = f"controls/{benchmark.name}"
    curves: list[xr.Dataset] = []
    for method in methods:
        options: dict[str, Any] = {}
        if method == RAISED:
            squared_gain = float((curves[0].gain.astype(float) ** 2).mean())
            rate = _learning_rate(curves[0]) * squared_gain
            options = {"hyperparameters": {"learning_rate": rate}}
        elif get_method(method).borrows_gain:
            options = {"gain_from": lab.runs / folder / methods[0]}
        named = {method: "sgd" if method == RAISED else method}
        curves.append(lab.run(f"{folder}/{method}", benchmark, named, seeds, **options))
    return curves


def _learning_rate(curves: xr.Dataset) -> float:
    """Return the learning rate of a run of one method."""
    (row,) = json.loads(curves.attrs["spec"])["settings"]
    return row["hyperparameters"]["learning_rate"]


def _plot(rows: pd.DataFrame) -> Figure:
    """Draw gap and error of each method as points with intervals, compared with NGM-SGD."""
    figure = Figure(figsize=(6.8, 0.9 + 0.22 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    gap = [rows[f"avg_sg{end}"] for end in ("", "_low", "_high")]
    error = [100 * (1 - rows[f"anytime_accuracy{end}"]) for end in ("", "_low", "_high")]
    for axes, (mean, low, high) in zip(panels, (gap, error), strict=True):
        colors = ["#D55E00" if method.startswith("ngm") else "0.3" for method in rows["method"]]
        axes.hlines(rows["method"], low, high, colors)
        axes.scatter(mean, rows["method"], 22, colors, zorder=3)
        axes.axvline(mean.iloc[0], color="#D55E00", linewidth=0.8, dashes=(1, 2), zorder=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.88", linewidth=0.6)
        if (low > 0).all():
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
    panels[0].set_xlabel("stability gap, avg-SG (← better)")
    panels[1].set_xlabel("100 − anytime accuracy, % (← better)")
    panels[0].invert_yaxis()
    return figure


def _differences(runs: xr.Dataset) -> pd.DataFrame:
    """Return one row per method: metrics with intervals, and their differences from NGM-SGD."""
    metrics = with_bounds((*COMPARED, "lowest_at"))
    differences = comparison(runs, "ngm-sgd", COMPARED).drop(columns="reference")
    rows = table(runs)[[*metrics, "seeds", "diverged"]].join(differences.add_prefix("minus_ngm_"))
    return rows.rename_axis("method").reset_index()
