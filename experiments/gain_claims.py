"""Which claims about the gain hold on the digits, every method at its own best setting?

    python -m experiments gain-claims

A claim is a number per seed that is above 0 where it holds; its interval over seeds says whether it
holds, fails or stays open (:mod:`gainjax.analysis.claims`). Settings are those that the league
found best on other seeds; a constant gain, which is not in it, has the learning rate of NGM-SGD.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from experiments.controls import joined
from experiments.lab import Lab
from gainjax import Benchmark, get_method
from gainjax.analysis import CLAIMS, judge_claims

OWNER = "ngm-sgd"  # of the gain that others borrow
LEAGUE = Path(__file__).parent / "results"


def gain_claims(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "permuted-digits"),
    seeds: int = 10,
) -> None:
    """Judge each claim about the gain by the curves of the methods that it names.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    tables, every = [], []
    named = (method for claim in CLAIMS.values() for method in claim.methods)
    methods = dict.fromkeys((OWNER, *named))
    for benchmark in lab.benchmarks(benchmarks):
        folder = f"gain-claims/{benchmark.name}"
        curves = []
        for method in methods:
            best = _best_setting(benchmark, method)
            options: dict[str, Any] = {"eval_examples": None, "hyperparameters": {method: best}}
            if get_method(method).borrows_gain:
                options["gain_from"] = lab.runs / folder / OWNER
            curves.append(lab.run(f"{folder}/{method}", benchmark, [method], seeds, **options))
        table = judge_claims(joined(curves))
        table.insert(0, "benchmark", benchmark.name)
        tables.append(table)
        every += curves
    lab.write("gain-claims", pd.concat(tables, ignore_index=True), every)


def _best_setting(benchmark: Benchmark, method: str) -> dict[str, Any]:
    """Return the setting that the league found best, or of what is not in it the defaults."""
    path = LEAGUE / f"league-{benchmark.name}.csv.gz"
    if not path.exists():
        return {}
    rows = pd.read_csv(path).query("stage == 'final'").groupby("method")["setting"].first()
    if method in rows:
        return json.loads(rows[method])
    return {"learning_rate": json.loads(rows[OWNER])["learning_rate"]}
