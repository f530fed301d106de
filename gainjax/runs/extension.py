"""Seeds and settings that are added to a finished run, whose own curves are not touched."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import xarray as xr

from gainjax.curves import FILE, Setting, concat, load, save
from gainjax.runs.execution import execute
from gainjax.runs.plan import How, Plan
from gainjax.runs.spec import setting_from_json

MakePlan = Callable[[Sequence[Setting], Sequence[int]], Plan]


def extend_run(
    make_plan: MakePlan, settings: Sequence[Setting], seeds: Sequence[int], how: How
) -> xr.Dataset:
    """Train what a finished run lacks and join it to that.

    First the new seeds of the settings that are there, then the new settings with all seeds. What
    was trained is stored after each of the two, so a run that is killed meanwhile is extended the
    rest of the way by the same call.

    Args:
        make_plan: Returns what to train for settings and seeds.
        settings: All settings that there shall be; those that are there are kept.
        seeds: All seeds that there shall be; those that are there are kept.
        how: How to carry it out; the run is in ``how.out``.

    Raises:
        ValueError: If there is no such directory, the run there differs in something else, or
            states are asked for.
    """
    if how.out is None or how.return_states:
        raise ValueError(
            "extend adds to the run in a directory: give out=DIR, and no return_states"
        )
    directory = Path(how.out).expanduser()
    if not (directory / FILE).exists():
        return execute(make_plan(settings, seeds), how)[0]
    curves = load(directory)
    there = [setting_from_json(row) for row in json.loads(curves.attrs["spec"])["settings"]]
    present = {row.label: row for row in there}
    for row in settings:
        if row.label in present and present[row.label] != row:
            raise ValueError(
                f"{directory} holds {row.label!r} with other hyper-parameters, "
                f"{dict(present[row.label].hyperparameters)}: give it another label"
            )
    old_seeds = curves.seed.values.tolist()
    new_seeds = [seed for seed in seeds if seed not in old_seeds]
    new_settings = [row for row in settings if row.label not in present]
    asked = {row.method for row in settings}
    if new_seeds and (missing := sorted({row.method for row in there} - asked)):
        raise ValueError(
            f"{directory} also holds {', '.join(missing)}: name all its methods to add seeds, so "
            "that the run stays whole"
        )
    missing_parts: tuple[tuple[list[Setting], list[int], Literal["seed", "setting"]], ...] = (
        (there, new_seeds, "seed"),
        (new_settings, [*old_seeds, *new_seeds], "setting"),
    )
    for rows, part_seeds, dim in missing_parts:
        if rows and part_seeds:
            part = directory / f"extension-{dim}"
            added = execute(make_plan(rows, part_seeds), dataclasses.replace(how, out=part))[0]
            curves = concat([curves, added], dim)
            save(curves, directory)
            for path in (part / FILE, part / ".lock"):
                path.unlink(missing_ok=True)
            part.rmdir()
    return curves
