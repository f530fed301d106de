"""Snapshots stored with the curves of a finished run: one Orbax checkpoint per update and setting.

The final states are the snapshot after the last update.
"""

import hashlib
import numbers
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gainjax.files import read_regular, write_file
from gainjax.runs import files, identity
from gainjax.runs.plan import How, Plan
from gainjax.runs.spec import RunSpec
from gainjax.training import TrainState
from gainjax.training.keys import as_data
from gainjax.training.loop import abstract_states

FOLDER = "states"


def wanted_updates(how: How, total: int) -> tuple[int, ...]:
    """Return the updates after which states are kept, in ascending order.

    Args:
        how: How a run is carried out.
        total: Updates of the whole run.

    Raises:
        ValueError: If they are not different updates of the run in ascending order, or final
            states are also requested.
    """
    if how.snapshots is None:
        return (total,) if how.return_states else ()
    if how.return_states:
        raise ValueError(
            f"snapshots and return_states both request states: give snapshots only, including "
            f"{total} for the final ones"
        )
    updates = how.snapshots
    whole = all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in updates)
    if not (len(updates) and whole and list(updates) == sorted(set(updates))):
        raise ValueError(
            f"snapshots must be different updates in ascending order: got {list(updates)}"
        )
    if updates[0] < 0 or updates[-1] > total:
        raise ValueError(
            f"snapshots must be from 0, before the first update, to {total}, after the last one: "
            f"got {updates[0] if updates[0] < 0 else updates[-1]}"
        )
    return tuple(map(int, updates))


def save_states(
    directory: Path, spec: RunSpec, updates: Sequence[int], states: Mapping[str, TrainState]
) -> None:
    """Write snapshots of a run: ``states/N/I`` for update N and setting I, then a checksum for N.

    Existing snapshots of other updates are kept.

    Args:
        directory: Directory of the run.
        spec: The description of the run.
        updates: Updates after which the states were taken.
        states: States of each setting, with leading axes of seeds and snapshots.

    Raises:
        OSError: If they cannot be written.
    """
    from gainjax.runs.host_arrays import make_checkpointer  # late: the import takes a second

    checkpointer = make_checkpointer()
    try:
        for n, update in enumerate(updates):
            folder = directory / FOLDER / str(update)
            _seal_file(folder).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            for i, label in enumerate(spec.labels):
                with files.os_errors(folder / str(i)):
                    here = jax.tree.map(lambda x, n=n: x[:, n], states[label])
                    checkpointer.save(folder / str(i), here)
            write_file(_seal_file(folder), _seal(folder, spec).encode())
    finally:
        checkpointer.close()


def fault_of(directory: Path, spec: RunSpec, updates: Sequence[int]) -> str:
    """Return what is wrong with the first snapshot of a finished run that is not intact.

    Args:
        directory: Directory of the run.
        spec: The description of the run.
        updates: Updates after which the states were taken.

    Returns:
        A phrase that names the folder, empty if all snapshots are as they were written.
    """
    for folder in (directory / FOLDER / str(update) for update in updates):
        try:
            if read_regular(_seal_file(folder)) != _seal(folder, spec).encode():
                return f"the requested states are damaged, in {folder} or its checksum"
        except FileNotFoundError:
            return f"the requested states are missing: there is no {_seal_file(folder)}"
        except ValueError as error:
            return f"the requested states are damaged: {error}"
    return ""


def load_states(directory: Path, plan: Plan, updates: Sequence[int]) -> dict[str, TrainState]:
    """Return intact snapshots of a finished run by label.

    Args:
        directory: Directory of the run.
        plan: The plan of the run.
        updates: Updates after which the states were taken.
    """
    from gainjax.runs.host_arrays import make_checkpointer, restored

    folders = [directory / FOLDER / str(update) for update in updates]
    kinds = {
        row.label: as_data(abstract_states(group.program, plan.stream, group.arguments))
        for group in plan.groups
        for row in group.rows
    }
    seeds = len(plan.spec.seeds)
    found = {}
    checkpointer = make_checkpointer()
    try:
        for i, label in enumerate(plan.spec.labels):
            like = jax.tree.map(lambda x: np.empty((seeds, *x.shape), x.dtype), kinds[label])
            each = [restored(checkpointer, folder / str(i), like) for folder in folders]
            found[label] = stacked(each, axis=1)
    finally:
        checkpointer.close()
    return found


def stacked(states: Sequence[TrainState], axis: int) -> TrainState:
    """Return stacked states, with a new axis.

    Args:
        states: States of the same shapes, NumPy arrays.
        axis: Position of the new axis.
    """
    joined: TrainState = jax.tree.map(lambda *x: np.stack(x, axis), *states)
    return joined


def _seal_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")


def _seal(folder: Path, spec: RunSpec) -> str:
    described: dict[str, Any] = spec.replace(borrowed_from=None).to_json()
    described["files"] = files.checksum(folder)
    return hashlib.sha256(identity.canonical(described)).hexdigest()
