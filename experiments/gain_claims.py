"""Which claims about the gain hold on the digits, every method at its own learning rate?

    python -m experiments gain-claims

A claim is a number per seed that is above 0 where it holds; its interval over seeds says whether it
holds, fails or stays open (:mod:`gainjax.analysis.claims`). The digits benchmarks have a tuned
learning rate for each method, so that gaps are compared at about equal accuracy.
"""

from typing import Annotated, Any

import pandas as pd
import tyro

from experiments.controls import joined
from experiments.lab import Lab
from gainjax import get_method
from gainjax.analysis import CLAIMS, claims


def gain_claims(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "rotated-digits", "permuted-digits"),
    seeds: int = 8,
) -> None:
    """Judge each claim about the gain by the curves of the methods that it names.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    tables, every = [], []
    methods = dict.fromkeys(method for claim in CLAIMS.values() for method in claim.methods)
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"gain-claims/{benchmark.name}"
        curves = []
        for method in methods:  # the first has the gain that others borrow
            options: dict[str, Any] = {"eval_examples": None}
            if get_method(method).borrows_gain:
                options["gain_from"] = lab.runs / folder / next(iter(methods))
            curves.append(lab.run(f"{folder}/{method}", benchmark, [method], seeds, **options))
        table = claims(joined(curves))
        table.insert(0, "benchmark", benchmark.name)
        tables.append(table)
        every += curves
    lab.write("gain-claims", pd.concat(tables, ignore_index=True), every)
