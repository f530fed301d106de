"""Finished runs in a directory: check whether they are the requested one."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from gainjax.curves import FILE, difference, load
from gainjax.files import expanded
from gainjax.runs import identity
from gainjax.runs.part_store import CheckpointWarning
from gainjax.runs.python_code import IF_IT_CHANGES
from gainjax.runs.spec import DESCRIPTIVE, RunSpec

# Fingerprints, which cannot be compared across versions or devices.
_OF_CODE = ("programs", "common")


def find_finished(
    directory: str | Path, spec: RunSpec, environment: Mapping[str, Any]
) -> xr.Dataset | None:
    """Return the finished run in a directory if it is the one described, None if there is none.

    Args:
        directory: Directory of a run, which need not exist.
        spec: The description of the run.
        environment: Further conditions that the numbers depend on.

    Raises:
        ValueError: If there is another run, which must not be overwritten by accident, with the
            difference; or one of the same description but another program.
    """
    path = expanded(directory) / FILE
    if not path.exists():
        return None
    found = load(directory)
    stored = json.loads(found.attrs["spec"])
    check_same(path, stored, spec.to_json(), json.loads(found.attrs["environment"]), environment)
    return found


def check_same(
    where: Path,
    stored: Mapping[str, Any],
    wanted: Mapping[str, Any],
    theirs: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> None:
    """Raise unless a stored run has the wanted description, code and numeric environment.

    Args:
        where: Where it is stored.
        stored: Its description.
        wanted: The description to compare with.
        theirs: The environment in which it was made.
        environment: The present environment.

    Raises:
        ValueError: If they differ, with the difference.
    """
    remedy = "\nChoose another directory, or remove that file"
    wanted = json.loads(json.dumps(wanted))  # as it comes back from a file
    old, new = (
        {name: value for name, value in each.items() if name not in (*DESCRIPTIVE, *_OF_CODE)}
        for each in (stored, wanted)
    )
    if old != new:
        if {name for name in new if old.get(name) != new[name]} <= {"seeds", "settings"}:
            remedy += ".\nTo add seeds or methods to it, give extend=True, or --extend"
        raise ValueError(f"{where} holds another run: it differs in {difference(old, new)}{remedy}")
    if decisive := identity.decisive_difference(theirs, environment):
        raise ValueError(
            f"{where} holds this run from another environment, where the same program gives other "
            f"numbers: {decisive}{remedy}"
        )
    if not identity.comparable(theirs, environment):
        warnings.warn(
            f"{where} holds this run, made with other versions or on another device: whether its "
            "code is the same could not be checked",
            CheckpointWarning,
            stacklevel=3,
        )
        return
    before, now = stored.get("programs", {}), wanted.get("programs", {})
    if changed := [label for label in now if before.get(label) != now[label]]:
        raise ValueError(
            f"{where} holds a run of this description, but of another program: the code of model, "
            f"method, loss, augmentation or benchmark has changed for {', '.join(changed)}{remedy}"
            f"\n{IF_IT_CHANGES}"
        )
    if stored.get("common") != wanted.get("common"):
        raise ValueError(
            f"{where} holds a run of this description, but of another program: the code of model, "
            f"loss, augmentation or benchmark has changed{remedy}\n{IF_IT_CHANGES}"
        )
