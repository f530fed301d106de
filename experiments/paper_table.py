"""The paper's table on the MNIST benchmarks, beside the published numbers.

    python experiments/paper_table.py --data-dir DIR

Runs every benchmark with five seeds (or continues, or reads what is there), then writes
``experiments/results/paper_table.csv`` and prints the same as Markdown. Published are the numbers
of the authors' released curves; ours are in the same convention, that of the seed-averaged curve. A
row agrees if avg-ACC differs by at most .5 points, avg-SG by at most the published ± or .012,
whichever is larger, and the mean gain of each task by at most 3 %.
"""

import csv
from pathlib import Path

import numpy as np
import tyro
import xarray as xr

import gainjax
from gainjax import metrics
from gainjax.results import task_ends

METHODS = ("ngm-sgd", "sgd", "adam", "msgd")
# avg-ACC (%), avg-SG, ± of avg-SG, mean gain of each task; from the authors' released curves.
PUBLISHED = {
    ("split-mnist", "ngm-sgd"): (99.018, 0.019, 0.005, (1.59, 1.84, 2.03, 2.07, 2.20)),
    ("split-mnist", "sgd"): (98.302, 0.008, 0.001, None),
    ("split-mnist", "adam"): (98.602, 0.155, 0.094, None),
    ("split-mnist", "msgd"): (99.085, 0.270, 0.007, None),
    ("rotated-mnist", "ngm-sgd"): (94.948, 0.054, 0.015, (2.90, 2.74, 2.77)),
    ("rotated-mnist", "sgd"): (82.029, 0.063, 0.004, None),
    ("rotated-mnist", "adam"): (92.138, 0.154, 0.033, None),
    ("rotated-mnist", "msgd"): (93.600, 0.089, 0.010, None),
}
COLUMNS = (
    "benchmark",
    "method",
    "avg-ACC",
    "published avg-ACC",
    "avg-SG",
    "±",
    "published avg-SG",
    "published ±",
    "per-seed avg-SG",
    "anytime accuracy",
    "mean gain per task",
    "agrees",
)


def row(curves: xr.Dataset, benchmark: str, method: str) -> dict[str, str]:
    """Return one row of the table, as text."""
    one = curves.sel({"method": method})
    where = (one.eval_update.values, task_ends(one))
    accuracy = one.accuracy.values[..., 0]
    ours = metrics.mean_curve_metrics(accuracy, *where)
    gap, average = ours["avg_sg"], ours["avg_acc"]
    per_seed = metrics.average_stability_gap(accuracy, *where).mean()
    gains = one.gain.mean("seed").groupby("task").mean().values
    cells = {
        "benchmark": benchmark,
        "method": method,
        "avg-ACC": f"{100 * average.value:.2f}",
        "avg-SG": f"{gap.value:.4f}",
        "±": f"{gap.error:.4f}",
        "per-seed avg-SG": f"{per_seed:.4f}",
        "anytime accuracy": f"{100 * one.seen_accuracy.values.mean():.2f}",
        "mean gain per task": " ".join(f"{g:.2f}" for g in gains) if gains.max() > 1 else "",
    }
    if (benchmark, method) not in PUBLISHED:
        return cells | {"agrees": "not published here"}
    their_average, their_gap, their_error, their_gains = PUBLISHED[benchmark, method]
    checks = {
        "avg-ACC": abs(100 * average.value - their_average) <= 0.5,
        "avg-SG": abs(gap.value - their_gap) <= max(their_error, 0.012),
    }
    if their_gains is not None:
        checks["gain"] = np.allclose(gains, their_gains, rtol=0.03)
    missed = [name for name, holds in checks.items() if not holds]
    return cells | {
        "published avg-ACC": f"{their_average:.2f}",
        "published avg-SG": f"{their_gap:.3f}",
        "published ±": f"{their_error:.3f}",
        "agrees": f"not {', '.join(missed)}" if missed else "yes",
    }


def main(
    data_dir: Path | None = None,
    benchmarks: tuple[str, ...] = ("split-mnist", "permuted-mnist", "rotated-mnist"),
    seeds: int = 5,
    runs: Path = Path("runs"),
    results: Path = Path(__file__).parent / "results",
) -> None:
    """Run what is missing and write the table.

    Args:
        data_dir: Folder with MNIST, as for ``gainjax run``.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
        runs: Where the curves are kept; runs that are there are not repeated.
        results: Where table and figures go.
    """
    rows = []
    results.mkdir(parents=True, exist_ok=True)
    for benchmark in benchmarks:
        curves = gainjax.run(
            benchmark, METHODS, seeds, data_dir=data_dir, out=runs / benchmark, progress=True
        )
        gainjax.plot_curves(curves).savefig(results / f"{benchmark}.png", dpi=110)
        rows += [row(curves, benchmark, method) for method in METHODS]
    with (results / "paper_table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for cells in rows:
        print("| " + " | ".join(cells.get(name, "") for name in COLUMNS) + " |")


if __name__ == "__main__":
    tyro.cli(main)
