"""Labeled results of training: a chunk for callbacks, and the curves of a whole run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from gainjax.curves import make_curves
from gainjax.runs.plan import Group, Plan
from gainjax.runs.spec import RunSpec
from gainjax.training import Chunk, Record
from gainjax.training.loop import abstract_states
from gainjax.training.step import gain_names

__all__ = ["Arrived"]  # of the API pages


class Arrived(NamedTuple):
    """The curves of one chunk, of R runs that are trained together.

    Losses, uncertainty and gain have one column per update of ``updates``, scores one per
    evaluated update.
    """

    settings: list[str]  # label of each run, (R,)
    seeds: list[int]  # seed of each run, (R,)
    updates: np.ndarray  # (n,)
    train_loss: np.ndarray  # (R, n)
    uncertainty: np.ndarray | None  # (R, n); None if the benchmark has none
    gain: np.ndarray  # (R, n)
    eval_updates: np.ndarray  # (m,)
    accuracy: np.ndarray  # (R, m, evaluated tasks)
    eval_loss: np.ndarray  # (R, m, evaluated tasks)
    seen_updates: np.ndarray  # (k,)
    seen_accuracy: np.ndarray  # (R, k)


def label(plan: Plan, group: Group, index: np.ndarray, chunk: Chunk) -> Arrived:
    """Return the curves of a chunk with their labels; runs that only pad the batch are left out.

    Args:
        plan: The plan of the run.
        group: The group that the runs belong to.
        index: Indices of these runs within the group.
        chunk: The chunk.
    """
    number = len(plan.spec.seeds)
    keep = np.unique(index, return_index=True)[1]
    record = jax.tree.map(lambda x: x[keep], chunk.records)
    updates = np.arange(chunk.start + 1, chunk.done + 1)
    tasks = len(plan.stream.task_end)
    evaluated = np.isin(updates, plan.spec.protocol.eval_updates(tasks))
    seen = np.isin(updates, plan.spec.protocol.seen_updates(tasks))
    return Arrived(
        settings=[group.rows[i // number].label for i in index[keep]],
        seeds=[plan.spec.seeds[i % number] for i in index[keep]],
        updates=updates,
        train_loss=record.train_loss,
        uncertainty=None if group.program.goal.uncertainty is None else record.uncertainty,
        gain=record.gain,
        eval_updates=updates[evaluated],
        accuracy=record.accuracy[:, evaluated],
        eval_loss=record.eval_loss[:, evaluated],
        seen_updates=updates[seen],
        seen_accuracy=record.seen_accuracy[:, seen],
    )


class Columns(NamedTuple):
    """Which optional curves there are."""

    uncertainty: bool  # whether it is measured
    gains: Mapping[str, Sequence[str]]  # for each label that has several gains, their names


def columns_of(plan: Plan) -> Columns:
    """Return which curves the runs of a plan have.

    Args:
        plan: The plan of the run.
    """
    gains: dict[str, list[str]] = {}
    for group in plan.groups:
        states = abstract_states(group.program, plan.stream, group.arguments)
        names = gain_names(states, group.program.model)
        if len(names) > 1:
            gains |= {row.label: names for row in group.rows}
    return Columns(plan.groups[0].program.goal.uncertainty is not None, gains)


def to_dataset(
    spec: RunSpec,
    by_label: Mapping[str, Record],
    columns: Columns,
    environment: Mapping[str, Any],
    seconds: float,
) -> xr.Dataset:
    """Return the labeled curves of all settings, in the order of the description.

    Args:
        spec: The description of the run.
        by_label: Curves of each setting, arrays of shape (seeds, updates, ...): of all updates, or
            of the first ones, up to an evaluation.
        columns: Which curves there are.
        environment: Further conditions that the numbers depend on.
        seconds: Duration of the training.
    """
    rows = [by_label[label] for label in spec.labels]
    number = rows[0].gain.shape[1]
    ends = spec.protocol.task_ends(spec.tasks)
    ends = np.append(ends[ends < number], number)
    evaluated, seen = spec.protocol.eval_updates(spec.tasks), spec.protocol.seen_updates(spec.tasks)
    evaluated, seen = evaluated[evaluated <= number], seen[seen <= number]
    arrays = {
        "train_loss": np.stack([row.train_loss for row in rows]),
        "gain": np.stack([row.gain for row in rows]),
        "accuracy": np.stack([row.accuracy[:, evaluated - 1] for row in rows]),
        "eval_loss": np.stack([row.eval_loss[:, evaluated - 1] for row in rows]),
        "seen_accuracy": np.stack([row.seen_accuracy[:, seen - 1] for row in rows]),
    }
    for name in ("accuracy", "seen_accuracy"):  # a score that overflowed is invalid
        arrays[name] = np.where(np.isfinite(arrays[name]), arrays[name], np.nan)
    if columns.uncertainty:
        arrays["uncertainty"] = np.stack([row.uncertainty for row in rows])
    attrs = {
        "benchmark": spec.benchmark,
        "spec": spec.to_json(),
        "environment": dict(environment),
        "score": spec.score,
        "wall_time_seconds": float(seconds),
    }
    if names := list(dict.fromkeys(name for each in columns.gains.values() for name in each)):
        arrays["gains"] = _by_name(by_label, spec.labels, columns.gains, names)
        attrs["gain_names"] = names
    return make_curves(
        spec.settings,
        arrays,
        seeds=spec.seeds,
        task_ends=ends.tolist(),
        eval_updates=evaluated.tolist(),
        seen_updates=seen.tolist(),
        attrs=attrs,
    )


def _by_name(
    by_label: Mapping[str, Record],
    labels: Sequence[str],
    names: Mapping[str, Sequence[str]],
    all_names: Sequence[str],
) -> np.ndarray:
    """Return the gains (settings, seeds, updates, names), NaN where a setting has no such gain."""
    shape = by_label[labels[0]].gain.shape
    gains = np.full((len(labels), *shape, len(all_names)), np.nan, np.float32)
    for i, row in enumerate(labels):
        for j, name in enumerate(names.get(row, [])):
            gains[i, ..., all_names.index(name)] = by_label[row].gains[..., j]
    return gains
