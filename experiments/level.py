"""A raised level with averaging: the gain, its ramp, temperature, initial weights or steps?

    python -m experiments level

A gain that stays at a level multiplies initial weights by it and steps by its square; in a network
without biases it is also a temperature. Each of these alone, at one setting (learning rate .03,
level 2.5, in three layers a temperature of 1/2.5**3), evaluated at the weights and at their moving
average (decay .9). A ramp reaches the same level from 1: larger steps from usual initial weights.
"""

import json
from typing import Annotated

import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab
from experiments.league.contest import DIGITS, FRESH_SEEDS, evaluation
from gainjax import averaged, get_method
from gainjax.show import with_bounds

RATE, LEVEL, DECAY, LAYERS = 0.03, 2.5, 0.9, 3
METRICS = ("avg_sg", "anytime_accuracy", "final_accuracy")
SETTINGS = {  # label: the method and its hyperparameters
    "neither": ("sgd", {"learning_rate": RATE}),
    "constant gain": ("fixed-gain", {"learning_rate": RATE, "level": LEVEL}),
    "ramped gain": ("ramped-gain", {"learning_rate": RATE, "level": LEVEL}),
    "temperature": ("temperature", {"learning_rate": RATE, "level": LEVEL**LAYERS}),
    "larger initial weights": ("larger-init", {"learning_rate": RATE, "level": LEVEL}),
    "larger steps": ("sgd", {"learning_rate": RATE * LEVEL**2}),
}


def level(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = DIGITS,
    seeds: int = len(FRESH_SEEDS),
) -> None:
    """Separate the effects of a raised level of the gain, with averaging and without.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    rows, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        for average in (True, False):
            end = ", averaged" if average else ""
            methods, numbers = {}, {}
            for label, (name, setting) in SETTINGS.items():
                method = get_method(name)
                methods[label + end] = averaged(method) if average else method
                numbers[label + end] = setting | ({"average_decay": DECAY} if average else {})
            curves = lab.run(
                f"level/{benchmark.name}{'-averaged' if average else ''}",
                benchmark,
                methods,
                seeds,
                hyperparameters=numbers,
                **evaluation(benchmark),
            )
            every.append(curves)
            rows.append(_rows(benchmark.name, curves, f"constant gain{end}", average))
    lab.write("level", pd.concat(rows), every)


def _rows(benchmark: str, curves: xr.Dataset, reference: str, average: bool) -> pd.DataFrame:
    columns = with_bounds(METRICS)
    rows = gainjax.table(curves)[[*columns, "diverged"]]
    against = gainjax.comparison(curves, reference, METRICS[:2]).drop(columns="reference")
    rows = rows.join(against.add_prefix("minus_constant_"))
    rows.insert(0, "benchmark", benchmark)
    rows.insert(1, "variant", [label.removesuffix(", averaged") for label in rows.index])
    rows.insert(2, "averaged", average)
    settings = [SETTINGS[variant][1] for variant in rows["variant"]]
    rows.insert(3, "hyperparameters", [json.dumps(setting) for setting in settings])
    return rows
