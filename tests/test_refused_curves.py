"""Curves that are not as they were recorded are refused by every function that reads them."""

import numpy as np
import pytest
import xarray as xr
from synthetic import synthetic_curves

import gainjax
from gainjax.show import tables

READERS = (
    tables.comparison,
    tables.table,
    gainjax.per_seed,
    gainjax.show.print_table,
    gainjax.plot_accuracy,
    gainjax.plot_curves,
    gainjax.plot_frontier,
    lambda found: gainjax.concat([found, found], "seed"),
)


def _with(name, change):
    return lambda found: found.assign({name: change(found[name])})


NOT_AS_RECORDED = {
    "no attributes": (
        lambda found: found.drop_attrs(),
        "attributes .*: spec, score, .*assign_attrs",
    ),
    "no accuracy": (lambda found: found.drop_vars("accuracy"), "variables: accuracy are missing"),
    "no task ends": (lambda found: found.drop_vars("task_end"), "task_end are missing"),
    "no evaluation": (lambda found: found.isel(eval_update=[]), "eval_updates must be a list"),
    "cut": (lambda found: found.isel(eval_update=slice(0, 40)), r"\[60\] were not evaluated"),
    "reversed": (lambda found: found.isel(eval_update=slice(None, None, -1)), "strictly increas"),
    "repeated": (lambda found: found.isel(eval_update=[0, 0, 29, 59]), "strictly increasing"),
    "other task": (lambda found: found.isel(eval_task=[1]), r"from task 1 on: got \[2"),
    "tasks reversed": (lambda found: found.isel(eval_task=[1, 0]), "eval_task must be in order"),
    "percent": (_with("accuracy", lambda x: 100 * x), r"fractions in \[0, 1\].*by 100"),
    "infinite": (_with("accuracy", lambda x: x / 0), "accuracy must be finite: got inf"),
    "objects": (_with("accuracy", lambda x: x.astype(object)), "must be numbers: got object"),
    "unknown": (_with("diverged_update", lambda x: x * np.nan), "must be 0 or an update"),
}


@pytest.mark.parametrize("case", NOT_AS_RECORDED)
def test_curves_that_are_not_as_recorded_are_refused_by_every_reader(case, tmp_path):
    change, message = NOT_AS_RECORDED[case]
    with np.errstate(all="ignore"):
        found = change(synthetic_curves(seeds=2, tasks=2, updates_per_task=30, eval_tasks=2))
    for read in READERS:
        with pytest.raises(ValueError, match=message):
            read(found)
    with pytest.raises(ValueError, match=f"{message}|does not hold gainjax curves"):
        gainjax.save(found, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_counts_updates_needs_all_of_them(tmp_path):
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=30)
    late = curves.isel(update=slice(10, None))
    gainjax.plot_accuracy(late)
    for read in (*READERS[:4], READERS[-1], lambda found: gainjax.save(found, tmp_path)):
        with pytest.raises(ValueError, match="must have every update from 1 to 60: got 50 of them"):
            read(late)


def test_seeds_or_settings_that_occur_twice_are_refused_by_every_reader(tmp_path):
    """Statistics would take each occurrence of a seed for a seed of its own."""
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=30)
    alike = xr.concat([curves] * 4, "seed", combine_attrs="override")
    for read in (*READERS, lambda found: gainjax.save(found, tmp_path)):
        with pytest.raises(
            ValueError, match="different seeds that its spec describes: 0 occurs tw"
        ):
            read(alike)
        with pytest.raises(ValueError, match=r"different settings .*: 'sgd' occurs twice\. Join"):
            read(curves.sel(setting=["sgd", "adam", "sgd"]))
        with pytest.raises(ValueError, match=r"different seeds .* describes: 7 is not among them"):
            read(curves.assign_coords(seed=[0, 7]))
        with pytest.raises(ValueError, match=r"different seeds .* describes: got none"):
            read(curves.isel(seed=slice(0)))
    bare = alike.drop_attrs().assign_attrs(score="accuracy")
    with pytest.raises(ValueError, match="0 occurs twice"):
        gainjax.per_seed(bare)
    assert not list(tmp_path.iterdir())
