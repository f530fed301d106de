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
import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import Lab, first_tasks
from gainjax import Benchmark, get_gain, get_method
from gainjax.analysis import (
    PARTS,
    Network,
    Subject,
    curvature,
    drop_parts,
    gradient_angles,
    networks,
    plot_drop,
    snapshots_around,
)
from gainjax.statistics import mean_interval

BENCHMARKS = ("split-digits", "rotated-digits", "split-mnist", "rotated-mnist")
METHODS = ("ngm-sgd", "sgd", "msgd", "adam", "adagrad-ema", "fixed-gain-ema")
AFTER = (1, 2, 5, 10, 20, 50, 100)
_LEVEL = {"learning_rate": 0.03, "level": 2.5, "average_decay": 0.9}  # the claim's setting
_SMOKE_AFTER, _SMOKE_UPDATES, _SMOKE_METHODS = (1, 2), 4, 2
_EXAMPLES, _SAMPLES = 1000, 10  # for the loss whose curvature is measured, and for its trace
_MEASURED = ("accuracy", "old_accuracy", "ncm_accuracy", "loss", *PARTS)


def drop(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = (
        "split-digits",
        "rotated-digits",
        "split-mnist",
        "rotated-mnist",
    ),
    seeds: int = 5,
) -> None:
    """Decompose the drop at the first switch of each benchmark.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    drops, angles, bends, every = [], [], [], []
    for whole in lab.benchmarks(benchmarks):
        bench = whole if lab.smoke else first_tasks(whole, 2)
        curves, states, at, subject = _runs(lab, bench, seeds)
        every.append(curves)
        parts = drop_parts(subject, states, at)
        lab.draw(f"drop-{whole.name}", plot_drop(parts))
        drops.append(_rows(parts, _MEASURED).assign(benchmark=whole.name))
        found = gradient_angles(subject, states, at)
        angles.append(_rows(found, list(found.data_vars)).assign(benchmark=whole.name))
        bends.append(_curvature(subject, states, at).assign(benchmark=whole.name))
        jax.clear_caches()
    lab.write("drop", pd.concat(drops), every)
    lab.write("drop-gradients", pd.concat(angles), every)
    lab.write("drop-curvature", pd.concat(bends), every)


def _runs(
    lab: Lab, bench: Benchmark, seeds: int
) -> tuple[xr.Dataset, Mapping[str, Any], list[int], Subject]:
    """Return curves and snapshots of the first two tasks, with their updates and the benchmark."""
    subject = Subject(bench, None if lab.smoke else lab.data_dir, lab.eval_examples)
    short = bench.replace(updates_per_task=_SMOKE_UPDATES) if lab.smoke else bench
    at = snapshots_around(short, 1, _SMOKE_AFTER if lab.smoke else AFTER)
    curves, states = lab.run(
        f"drop/{bench.name}",
        bench,
        METHODS[-_SMOKE_METHODS:] if lab.smoke else METHODS,
        seeds,
        hyperparameters={"fixed-gain-ema": _LEVEL},
        snapshots=at,
    )
    return curves, states, at, subject


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


def _curvature(subject: Subject, states: Mapping[str, Any], at: list[int]) -> pd.DataFrame:
    """Return the largest eigenvalue and the trace for the first seed.

    All weights of these networks are modulated, so in raw coordinates both are larger by the
    squared gain.
    """
    examples, rows = subject.train(range(2), _EXAMPLES), []

    def loss(params: Any) -> jax.Array:  # these networks have no state
        outputs = subject.outputs(Network(params, {}), examples.inputs)
        return subject.bench.goal.loss(outputs, examples.targets).mean()

    for method, network in networks(states, "trained").items():
        for i, update in enumerate(at):
            one = jax.tree.map(lambda x, i=i: x[0, i], network.params)
            bend, gain = curvature(loss, one, samples=_SAMPLES), _gain(method, states[method], i)
            rows.append(
                {
                    "method": method,
                    "since": update - at[0],
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
