"""Add seeds and settings to a finished run, whose own curves do not change."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import xarray as xr

from gainjax.curves import (
    FILE,
    Dimension,
    Setting,
    concat,
    load,
    narrowed,
    save,
    spec_of,
)
from gainjax.files import expanded
from gainjax.runs import guard, identity
from gainjax.runs.execution import execute
from gainjax.runs.finished import check_same
from gainjax.runs.plan import How, Plan
from gainjax.runs.spec import setting_from_json

MakePlan = Callable[[Sequence[Setting], Sequence[int]], Plan]


def extend_run(
    make_plan: MakePlan, settings: Sequence[Setting], seeds: Sequence[int], how: How
) -> xr.Dataset:
    """Train what a finished run lacks, and join it to the run.

    First come the new seeds of existing settings, then the new settings with all seeds. Results are
    stored after each of the two, so an extension that is killed in between continues with the same
    call.

    Args:
        make_plan: Returns the plan for settings and seeds.
        settings: All settings of the extended run; existing ones are kept.
        seeds: All seeds of the extended run; existing ones are kept.
        how: How to carry it out; the run is in ``how.out``.

    Raises:
        ValueError: If there is no such directory, the run there differs in anything else, or
            states are requested.
    """
    if how.out is None or how.wants_states:
        raise ValueError(
            "extend adds to the run in a directory: give out=DIR, and no snapshots or return_states"
        )
    directory = expanded(how.out)
    if not (directory / FILE).exists():
        return execute(make_plan(settings, seeds), how)[0]
    with guard.lock(directory):  # until all is joined, or two extensions would overwrite each other
        curves = _without_leftovers(load(directory), directory)
        there = [setting_from_json(row) for row in json.loads(curves.attrs["spec"])["settings"]]
        present = {row.label for row in there}
        old_seeds = curves.seed.values.tolist()
        layout = json.loads(curves.attrs["environment"]).get("layout")
        how = dataclasses.replace(how, layout=how.layout or layout)
        _check_belongs(curves, make_plan(settings, old_seeds), directory, how)
        new_seeds = [seed for seed in seeds if seed not in old_seeds]
        new_settings = [row for row in settings if row.label not in present]
        asked = {row.method for row in settings}
        if new_seeds and (missing := sorted({row.method for row in there} - asked)):
            raise ValueError(
                f"{directory} also holds {', '.join(missing)}: name all its methods to add seeds, "
                "so that every setting has the same seeds"
            )
        missing_parts: tuple[tuple[list[Setting], list[int], Dimension], ...] = (
            (there, new_seeds, "seed"),
            (new_settings, [*old_seeds, *new_seeds], "setting"),
        )
        for rows, part_seeds, dim in missing_parts:
            if rows and part_seeds:
                part = _part(directory, dim)
                added = execute(make_plan(rows, part_seeds), dataclasses.replace(how, out=part))[0]
                curves = concat([curves, added], dim)
                save(curves, directory)
                shutil.rmtree(part)
    return curves


def is_interrupted(directory: Path) -> bool:
    """Return whether a directory holds an extension that was interrupted.

    Args:
        directory: Directory of a run.
    """
    return any(_part(directory, dim).exists() for dim in get_args(Dimension))


def _part(directory: Path, dim: Dimension) -> Path:
    return directory / f"extension-{dim}"


def _without_leftovers(curves: xr.Dataset, directory: Path) -> xr.Dataset:
    """Remove results that were already joined when an extension was killed."""
    for dim in get_args(Dimension):
        part = _part(directory, dim)
        if (part / FILE).exists() and set(load(part)[dim].values) <= set(curves[dim].values):
            shutil.rmtree(part)
    return curves


def _check_belongs(curves: xr.Dataset, plan: Plan, directory: Path, how: How) -> None:
    """Raise, before anything is trained, unless the request belongs to the same run.

    Args:
        curves: The finished run.
        plan: All requested settings, with the existing seeds.
        directory: Where the run is.
        how: How it will be carried out.
    """
    asked = {row.label: row for row in plan.spec.settings}
    shared = [label for label in curves["setting"].values.tolist() if label in asked]
    stored = spec_of(narrowed(curves.sel(setting=shared)) if shared else curves)
    wanted = plan.spec.part(tuple(asked[label] for label in shared), plan.spec.seeds).to_json()
    ignored = set() if shared else {"settings", "programs"}
    if not (stored.get("borrowed") and wanted["borrowed"]):  # only one of them has a borrower
        ignored.add("borrowed")
    stored, wanted = (
        {name: value for name, value in each.items() if name not in ignored}
        for each in (stored, wanted)
    )
    theirs = json.loads(curves.attrs["environment"])
    check_same(directory / FILE, stored, wanted, theirs, identity.environment(how.layout))
