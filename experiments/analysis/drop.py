"""Where does the drop at a switch come from?

    python -m experiments drop --data-dir DIR

Snapshots around the first switch of each benchmark, for all seeds of a method together: which part
of the drop on task 1 is due to the outputs of new classes, to the features and to the head
(:func:`gainjax.analysis.drop_parts`); whether the gradients of old tasks and the new one agree; and
how the curvature changes. The results are described in ``drop.md``.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import pandas as pd
import tyro
import xarray as xr

from experiments.analysis.first_switch import first_switch
from experiments.lab import Lab
from experiments.league.claim import RULE, SETTING
from gainjax.analysis import (
    PARTS,
    curvature_along,
    drop_parts,
    gradient_angles,
    plot_curvature,
    plot_drop,
    plot_gradients,
    plot_loss_and_accuracy,
)
from gainjax.statistics import interval_columns

BENCHMARKS = ("split-digits", "rotated-digits", "split-mnist", "rotated-mnist")
METHODS = ("ngm-sgd", "sgd", "msgd", "adam", "adagrad-ema", RULE)
_SMOKE_METHODS = ("ngm-sgd", RULE)
_BENT = ("ngm-sgd", "sgd", "msgd")  # whose curvature is measured
_CURVATURE_SEEDS, _SAMPLES = 3, 100  # the first seeds, and random vectors for the trace
_MEASURED = ("accuracy", "old_accuracy", "ncm_accuracy", "loss", *PARTS)


def drop(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = BENCHMARKS,
    seeds: int = 5,
) -> None:
    """Decompose the drop at the first switch of each benchmark.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    methods = _SMOKE_METHODS if lab.smoke else METHODS
    for whole in lab.benchmarks(benchmarks):
        run = first_switch(lab, "drop", whole, methods, seeds, hyperparameters={RULE: SETTING})
        name, curves = f"drop-{whole.name}", [run.curves]
        parts = drop_parts(run.subject, run.states, run.at)
        lab.write(name, _rows(parts, _MEASURED), curves)
        lab.draw(name, plot_drop(parts))
        lab.draw(f"{name}-loss", plot_loss_and_accuracy(parts))
        angles = gradient_angles(run.subject, run.states, run.at)
        lab.write(f"{name}-gradients", _rows(angles, list(angles.data_vars)), curves)
        lab.draw(f"{name}-gradients", plot_gradients(angles))
        bend = curvature_along(
            run.subject, _measured_ones(run.states), run.at, samples=2 if lab.smoke else _SAMPLES
        )
        lab.write(f"{name}-curvature", _curvature_rows(bend), curves)
        lab.draw(f"{name}-curvature", plot_curvature(bend))
        jax.clear_caches()


def _measured_ones(states: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states whose curvature is measured."""
    return {
        label: jax.tree.map(lambda x: x[:_CURVATURE_SEEDS], state)
        for label, state in states.items()
        if label in _BENT
    }


def _rows(parts: xr.Dataset, names: Any) -> pd.DataFrame:
    """Return means over seeds with their intervals, one row per method and snapshot."""
    rows = []
    for method in parts["setting"].values.tolist():
        for update in parts["snapshot"].values.tolist():
            row = {"method": method, "since": update - int(parts["snapshot"][0])}
            for name in names:
                values = parts[name].sel(setting=method, snapshot=update).values
                row |= interval_columns(name, values)
            rows.append(row)
    return pd.DataFrame(rows)


def _curvature_rows(found: xr.Dataset) -> pd.DataFrame:
    """Return curvatures, each a variable of its own, over (setting, seed, snapshot).

    ``rise`` is the eigenvalue relative to that before the switch, of the same seed.
    """
    top = found["eigenvalue"].sel(rank=1)
    measured = {"gain": found["gain"]}
    for weights, prefix in (("effective", ""), ("raw", "raw_")):
        one = top.sel(weights=weights, drop=True)
        measured |= {
            f"{prefix}eigenvalue": one,
            f"{prefix}rise": one / one.isel(snapshot=0),
            f"{prefix}trace": found["trace"].sel(weights=weights, drop=True),
        }
    rows = _rows(xr.Dataset(measured), list(measured))
    # The error of the random vectors, of the mean over seeds, beside the interval over seeds.
    error = found["trace_error"].sel(weights="effective")
    of_mean = (error**2).sum("seed", skipna=False) ** 0.5 / found.sizes["seed"]
    return rows.assign(trace_error=of_mean.transpose("setting", "snapshot").values.ravel())
