"""Which learning rate does each method need, and what gap remains at equal accuracy?

    python -m experiments learning-rates --data-dir DIR
    python -m experiments digits-learning-rates

A slow learner has a small gap trivially, so methods are compared where they learn equally well:
every method gets the same rates, and a method's smallest gap is taken among the rates whose anytime
accuracy is within half a point of a bar. The bar is the best of the method itself (``chosen``), or
the best that any method reaches (``chosen_any``), which a method may miss at every rate. The second
program is the search for the rates of the digits benchmarks (the ``chosen`` ones).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

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
    seeds: int = 10,
) -> None:
    """Compare methods over learning rates, at equal accuracy.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        methods: Methods to compare.
        rates: Learning rates of each method.
        seeds: Number of seeds.
    """
    for name, sweep in search(lab, "learning-rates", benchmarks, methods, rates, seeds):
        lab.draw(name, plot_frontier(sweep))
        lab.draw(f"{name}-min-acc", plot_frontier(sweep, "min_acc"))


def digits_learning_rates(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits", "rotated-digits"),
    methods: tuple[str, ...] = METHODS,
    rates: tuple[float, ...] = (1.0, 0.3, *RATES),
    seeds: int = 5,
) -> None:
    """Find the learning rates of the digits benchmarks, on seeds that no other run uses.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        methods: Methods to search.
        rates: Learning rates of each method.
        seeds: Number of seeds, counted from 1000.
    """
    fresh = range(1000, 1000 + seeds)
    name = "digits-learning-rates"
    for _ in search(lab, name, benchmarks, methods, rates, fresh, seen_every=10):
        pass


def search(
    lab: Lab,
    name: str,
    benchmarks: Sequence[str],
    methods: Sequence[str],
    rates: Sequence[float],
    seeds: int | Sequence[int],
    **options: Any,
) -> Iterator[tuple[str, xr.Dataset]]:
    """Train all methods at all rates, benchmark by benchmark, and write a table for each.

    Args:
        lab: Folders and options.
        name: Name of the folder of curves; with the benchmark's name, that of the table.
        benchmarks: Benchmarks to run.
        methods: Methods to search.
        rates: Learning rates of each method.
        seeds: Number of seeds, or the seeds themselves.
        **options: Further options of :func:`gainjax.sweep`.

    Yields:
        The name of each table and the curves that it comes from.
    """
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"{name}/{benchmark.name}"
        sweep = lab.sweep(folder, benchmark, {"learning_rate": rates}, methods, seeds, **options)
        chosen_any = ranking(sweep, best="any")["chosen"].rename("chosen_any")
        lab.write(f"{name}-{benchmark.name}", ranking(sweep).join(chosen_any), [sweep])
        yield f"{name}-{benchmark.name}", sweep
