"""How the digits benchmarks got their learning rates: one search, the same for every method.

    python experiments/digits_learning_rates.py

Every method gets the same seven learning rates, its other hyper-parameters at their defaults, and
five seeds that no other run uses. Of the rates whose anytime accuracy on all seen tasks is within
half a point of the method's best, the one with the smallest gap is taken: so each method shows the
smallest gap that does not cost it learning. Took 7 minutes on two cores
that were busy with other work (4.6 minutes of CPU time).
"""

from typing import NamedTuple

import numpy as np
import tyro

from gainjax import metrics
from gainjax.benchmarks import get_benchmark
from gainjax.methods import get_method
from gainjax.training import train

RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
TOLERANCE = 0.005


class Score(NamedTuple):
    """Means over seeds at one learning rate."""

    rate: float
    anytime: float
    gap: float


def search(benchmark_name: str, method_name: str, seeds: range) -> list[Score]:
    """Return the scores of all learning rates, trained as one program."""
    benchmark = get_benchmark(benchmark_name)
    stream = benchmark.load()
    program = benchmark.program(get_method(method_name))
    rates = np.repeat(RATES, len(seeds))
    values = benchmark.defaults(method_name) | {"learning_rate": rates}
    records = train(program, stream, np.tile(seeds, len(RATES)), values)

    updates = np.arange(1, records.gain.shape[1] + 1)
    per_task = program.protocol.updates_per_task
    ends = updates[per_task - 1 :: per_task]
    gaps = metrics.average_stability_gap(records.accuracy[..., 0], updates, ends)
    anytime = np.nanmean(records.seen_accuracy, axis=1)
    by_rate = (len(RATES), len(seeds))
    return [
        Score(*row)
        for row in zip(
            RATES, anytime.reshape(by_rate).mean(1), gaps.reshape(by_rate).mean(1), strict=True
        )
    ]


def choose(scores: list[Score]) -> Score:
    """Return the smallest gap within the tolerance of the best anytime accuracy."""
    best = max(score.anytime for score in scores)
    return min((s for s in scores if s.anytime >= best - TOLERANCE), key=lambda s: s.gap)


def main(
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits", "rotated-digits"),
    methods: tuple[str, ...] = ("ngm-sgd", "sgd", "msgd", "adam"),
    seeds: int = 5,
) -> None:
    """Print all scores as a Markdown table, the chosen rate marked.

    Args:
        benchmarks: Benchmarks on the embedded digits.
        methods: Methods to search.
        seeds: Number of seeds, counted from 1000.
    """
    print("| benchmark | method | learning rate | anytime accuracy (%) | avg-SG | chosen |")
    print("|---|---|---|---|---|---|")
    for benchmark in benchmarks:
        for method in methods:
            scores = search(benchmark, method, range(1000, 1000 + seeds))
            chosen = choose(scores)
            for score in scores:
                mark = "yes" if score is chosen else ""
                print(
                    f"| {benchmark} | {method} | {score.rate:g} | {100 * score.anytime:.2f} "
                    f"| {score.gap:.3f} | {mark} |"
                )


if __name__ == "__main__":
    tyro.cli(main)
