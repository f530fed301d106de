"""Where does the drop at a switch come from?

    python -m experiments drop --data-dir DIR

Snapshots around the first switch of each benchmark, all seeds of a method at once: which part of
the drop on task 1 is due to the outputs of new classes, to the features and to the head
(:func:`gainjax.analysis.drop_parts`); whether old tasks and the new one pull the same way; and how
the curvature changes. What came out is told in ``drop.md``.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import Lab, first_tasks
from gainjax import Benchmark, get_gain, get_method, run
from gainjax.analysis import (
    PARTS,
    Network,
    Subject,
    curvature,
    drop_parts,
    gradient_angles,
    in_raw_coordinates,
    networks,
    plot_drop,
    snapshots_around,
)
from gainjax.statistics import mean_interval

BENCHMARKS = ("split-digits", "rotated-digits", "split-mnist", "rotated-mnist")
METHODS = ("ngm-sgd", "sgd", "msgd", "adam", "adagrad-ema", "fixed-gain-ema")
AFTER = (1, 2, 5, 10, 20, 50, 100)
_LEVEL = {"learning_rate": 0.03, "level": 2.5, "average_decay": 0.9}  # the claim's setting
_SMOKE_AFTER = (1, 2)
_EXAMPLES, _SAMPLES = 1000, 10  # of the loss whose curvature is taken, and of its trace
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
    """Take the drop at the first switch of each benchmark apart.

    Args:
        lab: Where things are.
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
    """Return curves and snapshots of the first two tasks; weights are too many to be kept."""
    subject = Subject(bench, None if lab.smoke else lab.data_dir, lab.eval_examples)
    if lab.smoke:
        bench = bench.replace(updates_per_task=4, batch_size=8)
    at = snapshots_around(bench, 1, _SMOKE_AFTER if lab.smoke else AFTER)
    curves, states = run(
        bench,
        METHODS,
        2 if lab.smoke else seeds,
        data_dir=None if lab.smoke else lab.data_dir,
        eval_examples=lab.eval_examples,
        hyperparameters={"fixed-gain-ema": _LEVEL},
        snapshots=at,
        progress=not lab.smoke,
    )
    return curves, states, at, subject


def _rows(parts: xr.Dataset, names: Any) -> pd.DataFrame:
    """Return means over seeds with their intervals, a row per method and snapshot."""
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
    """Return the largest eigenvalue and the trace for the first seed, in both coordinates."""
    examples = subject.train(range(2), _EXAMPLES)
    rows = []
    for method, network in networks(states, "trained").items():
        for i, update in enumerate(at):
            one = jax.tree.map(lambda x, i=i: x[0, i], network)
            gain = _gain(method, states[method].opt_state, i)

            def loss(params: Any, state: Any = one.state) -> jax.Array:
                outputs = subject.outputs(Network(params, state), examples.inputs)
                return subject.bench.goal.loss(outputs, examples.targets).mean()

            mask = subject.model.modulated(one.params)
            raw = jax.tree.map(lambda on, p, g=gain: p / g if on else p, mask, one.params)
            found = {
                "effective": curvature(loss, one.params, samples=_SAMPLES),
                "raw": curvature(in_raw_coordinates(loss, gain, mask), raw, samples=_SAMPLES),
            }
            for name, bend in found.items():
                rows.append(
                    {
                        "method": method,
                        "since": update - at[0],
                        "coordinates": name,
                        "gain": gain,
                        "eigenvalue": bend.eigenvalues[0],
                        "trace": bend.trace,
                        "trace_error": bend.trace_error,
                    }
                )
    return pd.DataFrame(rows)


def _gain(method: str, opt_state: Any, snapshot: int) -> float:
    """Return the gain of the first seed at a snapshot; 1 for a method without one."""
    if get_method(method).gain is None:
        return 1.0
    return float(get_gain(jax.tree.map(lambda x: x[0, snapshot], opt_state)))
