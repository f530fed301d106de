"""What part of the effect is a larger step, what part the timing of the gain?

    python -m experiments controls --data-dir DIR

NGM-SGD raises the gain where it is uncertain, and a gain g makes the step g² times as large. So
controls keep the mean step and change when it is taken: SGD at the learning rate times the mean of
NGM-SGD's g² (``sgd-raised``), NGM-SGD's mean gain held constant, its gain replayed to the same seed
without feedback, or shuffled in time; a bump at the known switches; a learning rate that follows
the signal without scaling a weight. Others forget the optimiser's state at a switch, average
weights, or seek flat minima. All at one learning rate, everything else at its defaults.
"""

from typing import Annotated, Any

import pandas as pd
import tyro
import xarray as xr

from experiments.lab import Lab
from gainjax import Benchmark, comparison, plot_frontier, table

BORROWERS = ("constant-gain", "replayed-gain", "shuffled-gain")
OTHERS = (
    *("sgd", "entropy-lr", "bump-at-switch", "msgd", "msgd-reset", "adam", "adam-reset"),
    *("sgd-ema", "sam", "ngm-msgd", "ngm-adam"),
)
COMPARED = ("avg_sg", "min_acc", "anytime_accuracy", "final_accuracy")


def controls(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-mnist", "rotated-mnist"),
    seeds: int = 3,
) -> None:
    """Compare NGM-SGD with controls that share some of its parts, paired by seed.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    curves = {one.name: _train(lab, one, seeds) for one in lab.benchmarks(benchmarks)}
    for benchmark, runs in curves.items():
        lab.draw(f"controls-{benchmark}", plot_frontier(runs))
    rows = pd.concat(_differences(name, runs) for name, runs in curves.items())
    lab.write("controls", rows, list(curves.values()))


def _train(lab: Lab, benchmark: Benchmark, seeds: int) -> xr.Dataset:
    """Return the curves of all methods, each trained in a folder of its own."""
    folder = f"controls/{benchmark.name}"

    def run(method: str, **options: Any) -> xr.Dataset:
        return lab.run(f"{folder}/{method}", benchmark, [method], seeds, **options)

    ngm = run("ngm-sgd")
    rate = benchmark.defaults("ngm-sgd")["learning_rate"]
    raised = {"learning_rate": rate * float((ngm.gain.astype(float) ** 2).mean())}
    parts = [
        ngm,
        lab.run(f"{folder}/sgd-raised", benchmark, ["sgd"], seeds, hyperparameters=raised),
        *(run(method, gain_from=lab.runs / folder / "ngm-sgd") for method in BORROWERS),
        *(run(method) for method in OTHERS),
    ]
    parts[1] = parts[1].assign_coords(method=["sgd-raised"])
    return xr.concat(parts, "method", combine_attrs="override").assign_attrs(
        wall_time_seconds=sum(part.attrs["wall_time_seconds"] for part in parts),
        raised_learning_rate=raised["learning_rate"],
    )


def _differences(benchmark: str, runs: xr.Dataset) -> pd.DataFrame:
    """Return a row per method: metrics with intervals, and their differences to NGM-SGD."""
    metrics = [f"{name}{end}" for name in COMPARED for end in ("", "_low", "_high")]
    differences = comparison(runs, "ngm-sgd", COMPARED).drop(columns="reference")
    rows = table(runs)[[*metrics, "seeds", "diverged"]]
    rows = rows.join(differences.add_prefix("minus_ngm_"), how="left")
    rows.insert(0, "method", rows.index)
    rows.insert(0, "benchmark", benchmark)
    rows.loc["sgd-raised", "learning_rate"] = runs.attrs["raised_learning_rate"]
    return rows
