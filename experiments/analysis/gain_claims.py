"""Which claims about the gain hold on the digits, every method at its own best setting?

    python -m experiments gain-claims

A claim is a number per seed that is above 0 if it holds; its interval over seeds tells whether it
holds, fails or stays open (:mod:`gainjax.analysis.claims`). Settings are those that the league
found best on other seeds; a constant gain, which is not in the league, has NGM-SGD's learning rate.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from experiments.lab import Lab
from experiments.league.contest import settings_of_league
from gainjax import concat, get_method
from gainjax.analysis import CLAIMS, judge_claims

OWNER = "ngm-sgd"  # the method whose gain others borrow
LEAGUE = Path(__file__).parents[1] / "results"


def gain_claims(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits"),
    seeds: int = 10,
) -> None:
    """Judge each claim about the gain by the curves of the methods that it names.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    tables, every = [], []
    named = (method for claim in CLAIMS.values() for method in claim.methods)
    methods = dict.fromkeys((OWNER, *named))
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"gain-claims/{benchmark.name}"
        best, curves = settings_of_league(LEAGUE, benchmark.name), []
        if best:  # methods outside the league have the learning rate of NGM-SGD
            others = {"learning_rate": best[OWNER]["learning_rate"]}
            best = {method: best.get(method, others) for method in methods}
        for method in methods:
            own = {method: best.get(method, {})}
            options: dict[str, Any] = {"eval_examples": None, "hyperparameters": own}
            if get_method(method).borrows_gain:
                options["gain_from"] = lab.runs / folder / OWNER
            curves.append(lab.run(f"{folder}/{method}", benchmark, [method], seeds, **options))
        table = judge_claims(concat(curves, "setting"))
        table.insert(0, "benchmark", benchmark.name)
        tables.append(table)
        every += curves
    lab.write("gain-claims", pd.concat(tables, ignore_index=True), every)
