"""Do the best of the league stay ahead on fresh seeds, and with a bounded memory?

    python -m experiments replay

The best methods of the league and those that they are compared with, each at the setting that the
league chose for it in joint training, on ten seeds that no choice has used: with all examples so
far (joint), and with half of each batch from a memory of ``buffer`` earlier examples, uniform over
the past (reservoir) or balanced by class. The methods of ``CONFIRMED`` were named before the runs.
In each benchmark and regime, they are tested against NGM-SGD, in gap and anytime accuracy, with
Holm's correction for these ten tests.
"""

from typing import Annotated, Any

import jax
import pandas as pd
import tyro

import gainjax
from experiments.lab import Lab, against_first
from experiments.league.contest import DIGITS, evaluation, network, settings_of_league
from experiments.league.entries import ENTRIES

REFERENCE = "ngm-sgd"
CONFIRMED = (
    *("adagrad-ema+cosine-head", "sgd-ema+cosine-head", "msgd+cosine-head"),
    *("adagrad-ema", "fixed-gain-ema"),
)
METHODS = (REFERENCE, *CONFIRMED, "ngm-sgd-ema", "sgd-ema", "adagrad", "sgd", "msgd", "adam")
REGIMES: dict[str, dict[str, Any]] = {
    "joint": {},
    "reservoir": {"regime": "replay", "buffer": "reservoir"},
    "balanced": {"regime": "replay", "buffer": "balanced"},
}
SEEDS = tuple(range(310, 320))
TESTED = ("avg_sg", "anytime_accuracy")
METRICS = (*TESTED, "final_accuracy")
_SMOKE = 2  # methods


def replay(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = DIGITS,
    buffer: int = 200,
) -> None:
    """Repeat the comparison of the best methods on fresh seeds and with a bounded memory.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        buffer: Examples that the memory holds.
    """
    entries = {entry.name: entry for entry in ENTRIES}
    rows, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        settings = settings_of_league(lab.results, benchmark.name)
        for regime, options in REGIMES.items():
            size = {"buffer_size": buffer} if options else {}
            per_seed = {}
            for name in METHODS[:_SMOKE] if lab.smoke else METHODS:
                curves = lab.run(
                    f"replay/{benchmark.name}-{regime}/{name}",
                    network(benchmark, entries[name]),
                    {name: entries[name].method},
                    SEEDS,
                    hyperparameters={name: settings[name]} if name in settings else None,
                    **options,
                    **size,
                    **evaluation(benchmark),
                )
                every.append(curves)
                per_seed[name] = gainjax.per_seed(curves).set_index("seed")
                jax.clear_caches()  # compiled programs of all methods would not fit into memory
            found = against_first(per_seed, METRICS, TESTED, CONFIRMED)
            rows.append(found.assign(benchmark=benchmark.name, regime=regime))
    table = pd.concat(rows)
    places = ["benchmark", "regime", "method"]
    lab.write("replay", table[places + [c for c in table if c not in places]], every)
