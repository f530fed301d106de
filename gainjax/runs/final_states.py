"""Final states beside the curves of a finished run: an Orbax checkpoint of every setting."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gainjax.files import read_regular, write_file
from gainjax.runs import files, identity
from gainjax.runs.plan import Plan
from gainjax.runs.spec import RunSpec
from gainjax.training import TrainState
from gainjax.training.keys import as_data
from gainjax.training.loop import abstract_states

FOLDER = "states"
_SEAL = "states.sha256"


def save_states(directory: Path, spec: RunSpec, states: Mapping[str, TrainState]) -> None:
    """Write the final states of a run: ``states/I`` for setting I, and a checksum written last.

    Args:
        directory: Directory of the run.
        spec: What was run.
        states: States of each setting, with a leading axis of seeds.

    Raises:
        OSError: If they cannot be written.
    """
    from gainjax.runs.host_arrays import make_checkpointer  # late: the import takes a second

    folder = directory / FOLDER
    (directory / _SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    checkpointer = make_checkpointer()
    try:
        for i, label in enumerate(spec.labels):
            with files.os_errors(folder / str(i)):
                checkpointer.save(folder / str(i), states[label])
    finally:
        checkpointer.close()
    write_file(directory / _SEAL, _seal(folder, spec).encode())


def load_states(directory: Path, plan: Plan) -> dict[str, TrainState] | None:
    """Return the final states of a finished run by label, or None if they are not there or damaged.

    Args:
        directory: Directory of the run.
        plan: What was run.
    """
    from gainjax.runs.host_arrays import make_checkpointer

    folder, seal = directory / FOLDER, directory / _SEAL
    try:
        intact = read_regular(seal) == _seal(folder, plan.spec).encode()
    except (FileNotFoundError, ValueError):
        return None
    if not intact:
        return None
    kinds = {
        row.label: as_data(abstract_states(group.program, plan.stream, group.arguments))
        for group in plan.groups
        for row in group.rows
    }
    seeds = len(plan.spec.seeds)
    checkpointer = make_checkpointer()
    try:
        return {
            label: checkpointer.restore(
                folder / str(i),
                jax.tree.map(lambda x: np.empty((seeds, *x.shape), x.dtype), kinds[label]),
            )
            for i, label in enumerate(plan.spec.labels)
        }
    finally:
        checkpointer.close()


def _seal(folder: Path, spec: RunSpec) -> str:
    described: dict[str, Any] = spec.to_json() | {"files": files.checksum(folder)}
    return hashlib.sha256(identity.canonical(described)).hexdigest()
