"""Which learning rate does each method need, and what gap is left at equal accuracy?

    python -m experiments learning-rates --data-dir DIR

A slow learner shows a small gap trivially, so methods are compared where they learn equally well:
every method gets the same rates, and a method's smallest gap is taken among the rates whose anytime
accuracy is within half a point of a bar. The bar is the best of the method itself (``chosen``), or
the best that any method reaches (``chosen_any``), which a method may miss at every rate.
"""

from collections.abc import Sequence
from typing import Annotated

import pandas as pd
import tyro
import xarray as xr

from experiments.lab import METHODS, MNIST, Lab
from gainjax import plot_frontier, ranking

RATES = (0.1, 0.03, 0.01, 0.003, 0.001)


def learning_rates(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = MNIST,
    methods: tuple[str, ...] = METHODS,
    rates: tuple[float, ...] = RATES,
    seeds: int = 3,
) -> None:
    """Compare methods over learning rates, at equal accuracy.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
        methods: Methods to compare.
        rates: Learning rates of each method.
        seeds: Number of seeds.
    """
    curves = {}
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"learning-rates/{benchmark.name}"
        sweep = lab.sweep(folder, benchmark, {"learning_rate": rates}, methods, seeds)
        lab.draw(f"learning-rates-{benchmark.name}", plot_frontier(sweep))
        lab.draw(f"learning-rates-{benchmark.name}-min-acc", plot_frontier(sweep, "min_acc"))
        curves[benchmark.name] = sweep
    lab.write("learning-rates", choices(curves), list(curves.values()))


def choices(curves: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Return all settings of all benchmarks, with the two choices of each method.

    Args:
        curves: A sweep over learning rates by benchmark.
    """
    tables: Sequence[pd.DataFrame] = [
        ranking(sweep)
        .assign(benchmark=benchmark, chosen_any=ranking(sweep, best="any")["chosen"])
        .set_index("benchmark")
        .reset_index()
        for benchmark, sweep in curves.items()
    ]
    return pd.concat(tables)
