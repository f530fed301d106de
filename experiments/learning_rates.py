"""Which learning rate does each method need, and what gap is left at equal accuracy?

    python -m experiments learning-rates --data-dir DIR
    python -m experiments digits-learning-rates

A slow learner shows a small gap trivially, so methods are compared where they learn equally well:
every method gets the same rates, and a method's smallest gap is taken among the rates whose anytime
accuracy is within half a point of a bar. The bar is the best of the method itself (``chosen``), or
the best that any method reaches (``chosen_any``), which a method may miss at every rate. The second
program is the search that gave the digits benchmarks their rates (the ``chosen`` ones).
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
    curves = search(lab, "learning-rates", benchmarks, methods, rates, seeds)
    for benchmark, sweep in curves.items():
        lab.draw(f"learning-rates-{benchmark}", plot_frontier(sweep))
        lab.draw(f"learning-rates-{benchmark}-min-acc", plot_frontier(sweep, "min_acc"))


def digits_learning_rates(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits", "rotated-digits"),
    methods: tuple[str, ...] = METHODS,
    rates: tuple[float, ...] = (1.0, 0.3, *RATES),
    seeds: int = 5,
) -> None:
    """Find the learning rates of the digits benchmarks, on seeds that no other run uses.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
        methods: Methods to search.
        rates: Learning rates of each method.
        seeds: Number of seeds, counted from 1000.
    """
    search(lab, "digits-learning-rates", benchmarks, methods, rates, range(1000, 1000 + seeds))


def search(
    lab: Lab,
    name: str,
    benchmarks: Sequence[str],
    methods: Sequence[str],
    rates: Sequence[float],
    seeds: int | Sequence[int],
) -> dict[str, xr.Dataset]:
    """Train all methods at all rates, write all settings, and return the sweep of each benchmark.

    Args:
        lab: Where things are.
        name: Name of the table and of the folder of curves.
        benchmarks: Benchmarks to run.
        methods: Methods to search.
        rates: Learning rates of each method.
        seeds: Number of seeds, or the seeds themselves.
    """
    curves, tables = {}, []
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"{name}/{benchmark.name}"
        sweep = lab.sweep(folder, benchmark, {"learning_rate": rates}, methods, seeds)
        rows = ranking(sweep).join(ranking(sweep, best="any")["chosen"].rename("chosen_any"))
        rows.insert(0, "benchmark", benchmark.name)
        curves[benchmark.name] = sweep
        tables.append(rows)
    lab.write(name, pd.concat(tables), list(curves.values()))
    return curves
