"""Finished runs in a directory: whether they are the one that is asked for; runs in progress."""

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
from gainjax.runs.spec import OF_FINDING, RunSpec


def find_finished(
    directory: str | Path, spec: RunSpec, environment: Mapping[str, Any]
) -> xr.Dataset | None:
    """Return the finished run in a directory if it is the one described, None if there is none.

    Args:
        directory: Directory of a run, which need not exist.
        spec: The description of the run.
        environment: What its numbers depend on besides.

    Raises:
        ValueError: If there is another run, so that nobody overwrites it unawares, with the
            difference; or the same description stands for another program.
    """
    path = expanded(directory) / FILE
    if not path.exists():
        return None
    found = load(directory)
    old, new = json.loads(found.attrs["spec"]), json.loads(json.dumps(spec.decisive()))
    old = {name: value for name, value in old.items() if name not in OF_FINDING}
    theirs = json.loads(found.attrs.get("environment", "{}"))
    remedy = "\nChoose another directory, or remove that file"
    programs = old.pop("programs", {}), new.pop("programs", {})
    common = old.pop("common", None), new.pop("common", None)
    if old != new:
        if {name for name in new if old.get(name) != new[name]} <= {"seeds", "settings"}:
            remedy += ".\nTo add seeds or methods to it, give extend=True, or --extend"
        raise ValueError(f"{path} holds another run: it differs in {difference(old, new)}{remedy}")
    if decisive := identity.decisive_difference(theirs, environment):
        raise ValueError(
            f"{path} holds this run from another environment, where the same program gives other "
            f"numbers: {decisive}{remedy}"
        )
    if not identity.comparable(theirs, environment):
        warnings.warn(
            f"{path} holds this run, made with other versions or on another device: whether its "
            "code is the same could not be checked",
            CheckpointWarning,
            stacklevel=2,
        )
    elif (programs[0], common[0]) != (programs[1], common[1]):
        changed = sorted(k for k in programs[1] if programs[0].get(k) != programs[1][k])
        raise ValueError(
            f"{path} holds a run of this description, but of another program: the code of model, "
            f"method, loss, augmentation or benchmark has changed for {', '.join(changed)}{remedy}"
        )
    return found
