"""Measure how time and memory of a run grow: with seeds, settings, updates, tasks and width.

    python perf/scaling.py            # writes perf/scaling.csv and perf/scaling.png

Each point is a fresh process that trains NGM-SGD on permuted images of noise in the size of MNIST
(what they show costs nothing). It evaluates 1000 images after every update. Time is the median of
three runs that are compiled already, memory the peak of the process. One quantity varies at a time.
"""

import argparse
import csv
import json
import statistics
import timeit
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator
from timing import fresh_process, peak_memory, settings, table, use_cores

from gainjax.data import Dataset, Stream, permuted
from gainjax.methods import get_method
from gainjax.models import MLP, from_linen
from gainjax.training import Program, Protocol, collect, train

BASE = {"seeds": 2, "settings": 1, "updates": 25, "tasks": 2, "width": 400}
AXES = {
    "seeds": (1, 2, 4, 8),
    "settings": (1, 2, 4, 8),
    "updates": (25, 50, 100, 200),  # per task
    "tasks": (1, 2, 4, 8),
    "width": (100, 200, 400, 800),  # units of both hidden layers
}
COLOR = "#1f5fa8"
SIZES = (10_000, 1_000)  # images to train on and to test with


def noise(tasks: int) -> Stream:
    """Return a stream of permuted images of noise."""
    rng = np.random.default_rng(0)
    train_images, test_images = (rng.integers(0, 256, (n, 28, 28, 1), np.uint8) for n in SIZES)
    train_labels, test_labels = ((np.arange(n) % 10).astype(np.int32) for n in SIZES)
    return permuted(Dataset(train_images, train_labels, test_images, test_labels, "noise"), tasks)


def child(seeds: int, settings: int, updates: int, tasks: int, width: int) -> None:
    """Print the seconds of a run and the peak memory of this process in GB."""
    model = from_linen(MLP((width, width, 10), (0.01, 0.01, 0.05)))
    method = get_method("ngm-sgd")
    program = Program(model, method, Protocol(updates, 128))
    stream = jax.device_put(noise(tasks))
    # A setting is a learning rate; each has all seeds.
    hyperparameters = {
        **method.hyperparameters,
        "learning_rate": np.repeat(np.geomspace(0.001, 0.01, settings), seeds),
    }
    runs = list(range(seeds)) * settings

    def train_all() -> None:
        collect(train(program, stream, runs, hyperparameters))

    train_all()
    seconds = statistics.median(timeit.repeat(train_all, number=1, repeat=3))
    print(json.dumps({"seconds": seconds, "memory": peak_memory()}))


def draw(points: list[dict[str, float | str]], path: Path) -> None:
    """Draw time and memory against each quantity, beside growth in proportion."""
    figure, rows = plt.subplots(2, len(AXES), figsize=(11, 4.4), sharex="col", sharey="row")
    for column, name in zip(rows.T, AXES, strict=True):
        mine = [point for point in points if point["quantity"] == name]
        x = [point["value"] for point in mine]
        column[0].loglog(x, [point["seconds"] for point in mine], "o-", color=COLOR, zorder=3)
        column[0].loglog(x, [mine[0]["seconds"] * value / x[0] for value in x], ":", color="0.5")
        column[1].plot(x, [point["memory"] for point in mine], "o-", color=COLOR, zorder=3)
        column[1].xaxis.set_minor_locator(NullLocator())
        column[1].set_xticks(x, [f"{value:g}" for value in x])
        column[1].set_xlabel("updates per task" if name == "updates" else name)
    rows[1, 0].set_ylim(0, 1.1 * max(point["memory"] for point in points))
    rows[0, 0].set_ylabel("time, s (dotted:\nin proportion)")
    rows[0, 0].set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    rows[0, 0].yaxis.set_minor_locator(NullLocator())
    rows[1, 0].set_ylabel("peak memory, GB")
    for axes in rows.ravel():
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all points, print a table, write it and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    use_cores(given.cores)
    if given.point:
        return child(**given.point)

    points: list[dict[str, float | str]] = []
    for name in given.axes:
        for value in AXES[name]:
            point = json.dumps({**BASE, name: value})
            found = fresh_process(__file__, "--cores", given.cores, "--point", point)
            points.append({"quantity": name, "value": value, **found})
    rows = [
        (p["quantity"], p["value"], f"{p['seconds']:.3g}", f"{p['memory']:.2f}") for p in points
    ]
    print(f"\n**Growth** from {BASE}, one quantity at a time\n")
    print(table(("quantity", "value", "time, s", "peak memory, GB"), rows))
    print("\n" + settings("jax", "jaxlib"))
    with (given.out / "scaling.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, points[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(points)
    if len(given.axes) == len(AXES):
        draw(points, given.out / "scaling.png")
    return None


if __name__ == "__main__":
    main()
