"""How wrong are anytime accuracy and gap if not measured after every update?

    python -m experiments sampling

Measured after every update on two of the digits benchmarks, then from a subset of these values:
after every 10th or 20th update, with and without each of the first 16 updates of a task; for the
gap, after every 5th update.
"""

import itertools
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import METHODS, Lab
from gainjax.curves import measure
from gainjax.metrics import anytime_accuracy
from gainjax.training import Protocol


def sampling(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-digits", "rotated-digits"),
    seeds: int = 5,
) -> None:
    """Measure the error of anytime accuracy due to sampling.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    rows, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        curves = lab.run(
            f"sampling/{benchmark.name}", benchmark, METHODS, seeds, eval_examples=None,
            seen_every=1,
        )  # fmt: skip
        every.append(curves)
        for method in curves["setting"].values.tolist():
            seen = curves["seen_accuracy"].sel(setting=method).values
            ends = curves["task_end"].values
            errors = _errors(seen, ends) | _gaps(curves.sel(setting=[method]))
            rows.append({"benchmark": benchmark.name, "method": method, **errors})
    lab.write("sampling", pd.DataFrame(rows), every)


def _errors(seen: np.ndarray, ends: np.ndarray) -> dict[str, float]:
    """Return the mean of curves (seeds, updates), and the deviation of their samples from it."""
    mean = seen.mean()
    row = {"every_update": mean}
    for distance, dense in itertools.product((10, 20), (0, 16)):
        protocol = Protocol(
            np.diff(ends, prepend=0).tolist(), 1, seen_every=distance, dense_updates=dense
        )
        updates = protocol.seen_updates(len(ends))
        part = seen[:, updates - 1]
        row[f"every_{distance}_dense_{dense}"] = anytime_accuracy(part, updates, ends).mean() - mean
        if not dense:
            row[f"every_{distance}_unweighted"] = part.mean() - mean
    return row


def _gaps(curves: xr.Dataset) -> dict[str, float]:
    """Return the mean gap of one setting, and the error due to fewer evaluations."""
    mean = measure(curves)["avg_sg"].mean()
    ends = curves["task_end"].values
    found = {"gap": mean}
    for dense in (0, 16):
        protocol = Protocol(np.diff(ends, prepend=0).tolist(), 1, eval_every=5, dense_updates=dense)
        due = np.intersect1d(protocol.eval_updates(len(ends)), curves["eval_update"])
        fewer = measure(curves.sel(eval_update=due))["avg_sg"].mean()
        found[f"gap_every_5_dense_{dense}"] = fewer - mean
    return found
