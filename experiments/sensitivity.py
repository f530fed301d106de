"""How does the gap depend on sensitivity and decay, and does one sensitivity suit all benchmarks?

    python -m experiments sensitivity --data-dir DIR

A map on the first benchmark; then a row of sensitivities at the default decay on each, to compare
one sensitivity for all with each benchmark's own. Every network here has ten outputs, so normalized
entropy H / ln C, with one setting for all, merely divides the sensitivity by ln 10: the remaining
question is whether one sensitivity suits all.
"""

from typing import Annotated

import pandas as pd
import tyro

from experiments.lab import MNIST, Lab
from gainjax import plot_heatmap, ranking, table

MAP = {"sensitivity": (0.1, 0.2, 0.4, 0.8), "decay": (0.0, 0.5, 0.9, 0.97)}
ROW = (0.2, 0.3, 0.4, 0.5)  # includes the paper's setting of each benchmark: .4, .3, .5


def sensitivity(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = MNIST,
    seeds: int = 10,
) -> None:
    """Map sensitivity and decay, and try one sensitivity for all benchmarks.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run, the map on the first.
        seeds: Number of seeds.
    """
    first, *others = lab.benchmarks(benchmarks)
    plane = lab.sweep(f"sensitivity/{first.name}-map", first, MAP, ["ngm-sgd"], seeds)
    lab.draw("sensitivity-map", plot_heatmap(plane, "ngm-sgd", "sensitivity", "decay"))
    lab.write("sensitivity-map", ranking(plane), [plane])

    rows = {
        one.name: lab.sweep(
            f"sensitivity/{one.name}", one, {"sensitivity": ROW}, ["ngm-sgd"], seeds
        )
        for one in (first, *others)
    }
    tables = [table(curves).assign(benchmark=name) for name, curves in rows.items()]
    lab.write("sensitivity", pd.concat(tables), list(rows.values()))
