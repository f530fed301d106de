"""Does the comparison hold up when the protocol changes?

    python -m experiments protocols --data-dir DIR

Split MNIST with fewer and more updates per task, with batches that grow with the number of tasks
(so that each task keeps its share of examples per update), and with a gain on the head alone. In
that case, the hidden layers are trained by SGD with momentum ``backbone_momentum``: 0, so that only
the gain differs, or .9, as in the authors' CIFAR protocol.
"""

from typing import Annotated, Any, NamedTuple

import pandas as pd
import tyro

from experiments.lab import METHODS, Lab
from gainjax import comparison, table
from gainjax.show import with_bounds

METRICS = ("avg_sg", "min_acc", "anytime_accuracy", "final_accuracy")


class Variant(NamedTuple):
    """A protocol, and the methods to try with it."""

    name: str
    methods: tuple[str, ...]
    options: dict[str, Any]


VARIANTS = (
    Variant("200 updates per task", METHODS, {}),
    Variant("50 updates per task", METHODS, {"updates_per_task": 50}),
    Variant("growing batches", METHODS, {"batch_growth": "linear"}),
    Variant(
        "gain on the head",
        ("ngm-sgd",),
        {"modulate": "head", "hyperparameters": {"backbone_momentum": 0.0}},
    ),
    Variant(
        "gain on the head, momentum below",
        ("ngm-sgd",),
        {"modulate": "head", "hyperparameters": {"backbone_momentum": 0.9}},
    ),
    Variant("800 updates per task", METHODS, {"updates_per_task": 800}),
)


def protocols(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmark: str = "split-mnist",
    seeds: int = 10,
) -> None:
    """Repeat the comparison under other protocols.

    Args:
        lab: Folders and options.
        benchmark: Benchmark to run.
        seeds: Number of seeds.
    """
    (chosen,) = lab.benchmarks([benchmark])
    curves = {}
    for variant in VARIANTS:
        folder = f"protocols/{variant.name.replace(', ', '-').replace(' ', '-')}"
        curves[variant.name] = lab.run(folder, chosen, variant.methods, seeds, **variant.options)
    columns = with_bounds(METRICS)
    tables = []
    for name, runs in curves.items():
        rows = table(runs)[["method", *columns]]
        if len(rows) > 1:
            differences = comparison(runs, "ngm-sgd", METRICS).drop(columns="reference")
            rows = rows.join(differences.add_prefix("minus_ngm_"))
        rows.insert(0, "protocol", name)
        tables.append(rows)
    lab.write("protocols", pd.concat(tables), list(curves.values()))
