"""Curves of a run that is still in progress, from the files stored so far."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from gainjax import curves
from gainjax.curves import FILE
from gainjax.files import expanded
from gainjax.runs import files
from gainjax.runs.arrived import to_dataset
from gainjax.runs.parts import Part, split
from gainjax.runs.plan import group_settings
from gainjax.runs.spec import RunSpec
from gainjax.runs.store import FOLDER, Header, stored_header
from gainjax.training import Record

_ATTEMPTS = 5  # files may be replaced while they are read


def load(path: str | Path, *, partial: bool = False) -> xr.Dataset:
    """Read curves from disk into memory, of a finished run or of one in progress.

    Args:
        path: The directory of a run, or its ``curves.nc``.
        partial: Whether the run may be unfinished. If so, the first of these that exists is
            returned: the settings whose seeds are all finished; all settings, with the seeds that
            are finished in every one; the settings that have begun, up to the last evaluated update
            that all their seeds have stored. The attribute ``unfinished`` states, as JSON text, the
            number of updates that each other setting has, and the total. Curves are stored together
            with checkpoints, so a running job is ahead of the returned curves.

    Returns:
        The dataset that :func:`gainjax.curves.make_curves` describes. If curves are cut off, their
        last task is shorter than the protocol's.

    Raises:
        FileNotFoundError: If there are no curves, or none yet.
        ValueError: If the file is damaged, of another kind or of another format number.

    Example:
        >>> import tempfile
        >>> from gainjax.runs.api import run
        >>> with tempfile.TemporaryDirectory() as out:
        ...     curves = run("split-digits", ["sgd"], seeds=2, updates_per_task=10, out=out)
        ...     load(out, partial=True).identical(curves)
        True
    """
    folder = expanded(path)
    for attempt in range(_ATTEMPTS):
        if not partial or (folder / FILE).exists():
            break
        header = stored_header(folder)
        if header is None:
            break
        try:
            return _so_far(folder, header)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2)
    if partial and not folder.exists():
        raise FileNotFoundError(f"there is no file or folder {folder}")
    return curves.load(path)


class _Stored(NamedTuple):
    """The stored part of one run of a setting and a seed."""

    record: Record | None
    updates: int


def _so_far(folder: Path, header: Header) -> xr.Dataset:
    spec, seconds = header.spec, 0.0
    total = int(spec.protocol.task_ends(spec.tasks)[-1])
    stored: dict[tuple[str, int], _Stored] = {}
    groups = group_settings(spec.settings)
    runs = {name: len(rows) * len(spec.seeds) for name, (_, rows) in groups.items()}
    for process in range(header.processes):
        progress = folder / (f"{FOLDER}-{process}" if process else FOLDER)
        for part in split(runs, header.batches, process, header.processes):
            record, took = _curves_of(progress, part)
            seconds += took
            for i, run in enumerate(part.runs):
                row, seed = divmod(int(run), len(spec.seeds))
                own = None if record is None else jax.tree.map(lambda x, i=i: x[i], record)
                updates = 0 if own is None else len(own.gain)
                stored[groups[part.group][1][row].label, seed] = _Stored(own, updates)
    shown, seeds, until = _choose(spec, {run: each.updates for run, each in stored.items()}, total)
    if not shown:
        raise FileNotFoundError(
            f"no curves in {folder} yet: the run there has stored no evaluation so far. A first "
            "checkpoint takes some seconds; try again then"
        )
    by_label = {label: _stacked([stored[label, i] for i in seeds], until) for label in shown}
    part_of_it = spec.part(
        tuple(row for row in spec.settings if row.label in shown),
        tuple(spec.seeds[i] for i in seeds),
    )
    dataset = to_dataset(part_of_it, by_label, header.columns, header.environment, seconds)
    done = {
        label: min(stored[label, i].updates for i in range(len(spec.seeds)))
        for label in spec.labels
    }
    return _described(dataset, done, until, total)


def _choose(
    spec: RunSpec, updates: Mapping[tuple[str, int], int], total: int
) -> tuple[list[str], list[int], int]:
    """Choose what to return: settings, their seeds, and the last update.

    Args:
        spec: The description of the run.
        updates: Number of stored updates of each setting and seed.
        total: Number of all updates.
    """
    every = list(range(len(spec.seeds)))

    def least(label: str, seeds: Sequence[int]) -> int:
        return min(updates[label, i] for i in seeds)

    if finished := [label for label in spec.labels if least(label, every) == total]:
        return finished, every, total
    if whole := [i for i in every if min(updates[label, i] for label in spec.labels) == total]:
        return list(spec.labels), whole, total
    evaluated = spec.protocol.eval_updates(spec.tasks)
    begun = [label for label in spec.labels if least(label, every) >= evaluated[0]]
    if not begun:
        return [], [], 0
    most = min(least(label, every) for label in begun)
    return begun, every, int(evaluated[evaluated <= most][-1])


def _described(dataset: xr.Dataset, done: Mapping[str, int], until: int, total: int) -> xr.Dataset:
    """Record what is missing; curves that are cut off are not those of the whole run."""
    if until < total:
        spec = json.loads(dataset.attrs["spec"]) | {"cut_off_after": until}
        dataset = dataset.assign_attrs(spec=json.dumps(spec))
    unfinished = {label: [n, total] for label, n in done.items() if n < total}
    return dataset.assign_attrs(unfinished=json.dumps(unfinished))


def _curves_of(progress: Path, part: Part) -> tuple[Record | None, float]:
    """Return the stored curves of a part, and how long they took."""
    path = progress / f"{part.name}.npz"
    if path.exists() and (found := files.read_curves(path)) is not None:
        return found
    chunks, complete, seconds = [], 0, 0.0
    for start, end, path in files.curve_files(progress / part.name):
        found = files.read_curves(path) if start == complete else None
        if found is None:  # damaged; resuming the run reports it
            break
        chunks.append(found[0])
        complete, seconds = end, seconds + found[1]
    return (files.joined(chunks) if chunks else None), seconds


def _stacked(runs: Sequence[_Stored], until: int) -> Record:
    """Return the curves of all seeds of a setting, up to an update."""
    return jax.tree.map(
        lambda *x: np.stack([each[:until] for each in x]), *(run.record for run in runs)
    )
