"""Where does the drop at a switch come from?

    python -m experiments drop --data-dir DIR

Snapshots around the first switch of each benchmark, for all seeds of a method together: which part
of the drop on task 1 is due to the outputs of new classes, to the features and to the head
(:func:`gainjax.analysis.drop_parts`); whether the gradients of old tasks and the new one agree; and
how the curvature changes. The results are described in ``drop.md``.
"""

from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.analysis.first_switch import FirstSwitch, first_switch, loss_on
from experiments.lab import Lab
from experiments.league.claim import RULE, SETTING
from gainjax import get_gain, get_method
from gainjax.analysis import (
    PARTS,
    curvature,
    drop_parts,
    gradient_angles,
    networks,
    plot_drop,
)
from gainjax.statistics import mean_interval

BENCHMARKS = ("split-digits", "rotated-digits", "split-mnist", "rotated-mnist")
METHODS = ("ngm-sgd", "sgd", "msgd", "adam", "adagrad-ema", RULE)
_SMOKE_METHODS = 2
_EXAMPLES, _SAMPLES = 1000, 10  # for the loss whose curvature is measured, and for its trace
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
    methods = METHODS[-_SMOKE_METHODS:] if lab.smoke else METHODS
    drops, angles, bends, every = [], [], [], []
    for whole in lab.benchmarks(benchmarks):
        run = first_switch(lab, "drop", whole, methods, seeds, hyperparameters={RULE: SETTING})
        every.append(run.curves)
        parts = drop_parts(run.subject, run.states, run.at)
        lab.draw(f"drop-{whole.name}", plot_drop(parts))
        drops.append(_rows(parts, _MEASURED).assign(benchmark=whole.name))
        found = gradient_angles(run.subject, run.states, run.at)
        angles.append(_rows(found, list(found.data_vars)).assign(benchmark=whole.name))
        bends.append(_curvature(run).assign(benchmark=whole.name))
        jax.clear_caches()
    lab.write("drop", pd.concat(drops), every)
    lab.write("drop-gradients", pd.concat(angles), every)
    lab.write("drop-curvature", pd.concat(bends), every)


def _rows(parts: xr.Dataset, names: Any) -> pd.DataFrame:
    """Return means over seeds with their intervals, one row per method and snapshot."""
    rows = []
    for method in parts["setting"].values.tolist():
        for update in parts["snapshot"].values.tolist():
            row = {"method": method, "since": update - int(parts["snapshot"][0])}
            for name in names:
                values = parts[name].sel(setting=method, snapshot=update).values
                finite = np.isfinite(values).all()
                found = mean_interval(values) if finite else (np.nan,) * 3
                keys = (name, f"{name}_low", f"{name}_high")
                row |= dict(zip(keys, map(float, found), strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def _curvature(run: FirstSwitch) -> pd.DataFrame:
    """Return the largest eigenvalue and the trace for the first seed.

    All weights of these networks are modulated, so in raw coordinates both are larger by the
    squared gain.
    """
    rows, loss = [], loss_on(run.subject, run.subject.train(range(2), _EXAMPLES))
    for method, network in networks(run.states, "trained").items():
        for i, update in enumerate(run.at):
            one = jax.tree.map(lambda x, i=i: x[0, i], network.params)
            bend, gain = (
                curvature(loss, one, samples=_SAMPLES),
                _gain(method, run.states[method], i),
            )
            rows.append(
                {
                    "method": method,
                    "since": update - run.at[0],
                    "gain": gain,
                    "eigenvalue": bend.eigenvalues[0],
                    "raw_eigenvalue": gain**2 * bend.eigenvalues[0],
                    "trace": bend.trace,
                    "trace_error": bend.trace_error,
                }
            )
    return pd.DataFrame(rows)


def _gain(method: str, state: Any, snapshot: int) -> float:
    """Return the gain of the first seed at a snapshot; 1 for a method without one."""
    if get_method(method).gain is None:
        return 1.0
    return float(get_gain(jax.tree.map(lambda x: x[0, snapshot], state.opt_state)))
