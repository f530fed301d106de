"""Reading the labels and the description of curves."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gainjax.curves.checks import check_evaluations, check_score
from gainjax.curves.dims import COORDS, ROWS
from gainjax.metrics.curves import check_updates

_ATTRIBUTES = ("spec", "score", "benchmark", "environment", "wall_time_seconds")
_VARIABLES = ("accuracy", "diverged_update", *COORDS)


def check_rows(curves: xr.Dataset, where: str = "curves") -> None:
    """Raise unless a dataset has all that readers of curves need; each of them calls this first.

    Updates may be a selection here: see ``check_every_update``.

    Args:
        curves: The dataset to check.
        where: Where it comes from, for the message.

    Raises:
        TypeError: If it is not a dataset.
        ValueError: If it has lost a dimension, attribute or variable, a setting or seed occurs
            twice or is unknown, evaluations are out of order or the end of a task was not
            evaluated, or a value is not possible.
    """
    if not isinstance(curves, xr.Dataset):
        raise TypeError(f"{where} must be an xarray.Dataset: got {type(curves)}")
    for dim in ROWS:
        if dim not in curves.dims:
            raise ValueError(
                f"{where} must have the dimension {dim}: select with a list, such as "
                f"curves.sel({dim}=[...])"
            )
    _check_labels(curves, where)
    lost = [name for name in _ATTRIBUTES if name not in curves.attrs]
    lost += [name for name in _VARIABLES if name not in curves.variables]
    if lost:
        raise ValueError(
            f"{where} must have their attributes and variables: {', '.join(lost)} are missing. "
            "Arithmetic of xarray drops attributes: give them back with "
            "result.assign_attrs(curves.attrs)"
        )
    try:
        _check_evaluated(curves)
        _check_values(curves)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} must be as they were recorded: {error}") from None


def check_every_update(curves: xr.Dataset, where: str = "curves") -> None:
    """Raise unless curves have every update of the run, as metrics, files and joining need.

    Args:
        curves: Curves.
        where: Where they come from, for the message.

    Raises:
        ValueError: If updates are missing or out of order.
    """
    last = int(task_ends(curves)[-1])
    if curves["update"].values.tolist() != list(range(1, last + 1)):
        raise ValueError(
            f"{where} must have every update from 1 to {last}: got {curves.sizes['update']} of "
            "them. Select updates of a single variable instead, such as curves.gain.sel(...)"
        )


def _check_labels(curves: xr.Dataset, where: str) -> None:
    """Raise unless settings and seeds are different ones that the description of the run has.

    Statistics would count a seed that occurs twice as two.
    """
    known: dict[str, set[Any]] = {}
    if "spec" in curves.attrs:  # that others are lost is told next
        try:
            spec = spec_of(curves)
            labels = {row["label"] for row in spec["settings"]}
            known = {"setting": labels, "seed": set(spec["seeds"])}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{where} does not hold gainjax curves: its spec is invalid ({error})"
            ) from error
    for dim in ROWS:
        there = curves[dim].values.tolist()
        counts = Counter(there)
        twice = next((label for label in there if counts[label] > 1), None)
        unknown = next((label for label in there if label not in known.get(dim, counts)), None)
        if not there or twice is not None or unknown is not None:
            fault = "got none" if not there else f"{unknown!r} is not among them"
            raise ValueError(
                f"{where} must hold different {dim}s that its spec describes: "
                f"{fault if twice is None else f'{twice!r} occurs twice'}. Join curves with "
                "gainjax.concat, and select with lists of different labels"
            )


def _check_evaluated(curves: xr.Dataset) -> None:
    """Raise unless evaluations are in order and those that metrics count from are there."""
    updates = {
        name: check_updates(
            f"{name}s",
            curves[name].values,
            least=1 if name == "task_end" else 0,
            may_be_empty=name == "seen_update",
        )
        for name in ("task_end", "eval_update", "seen_update")
    }
    check_evaluations(updates)
    tasks = curves["eval_task"].values
    if tasks[:1].tolist() != [1] or (np.diff(tasks) <= 0).any():
        raise ValueError(f"eval_task must be in order, from task 1 on: got {tasks.tolist()}")


def _check_values(curves: xr.Dataset) -> None:
    """Raise unless scores, where there are any, and the updates of divergence are possible."""
    scores, diverged = curves["accuracy"].values, curves["diverged_update"].values
    if scores.dtype.kind not in "buif" or diverged.dtype.kind not in "iuf":
        raise ValueError(f"accuracy and diverged_update must be numbers: got {scores.dtype}")
    check_score("accuracy", scores[~np.isnan(scores)], curves.attrs["score"])
    if not (diverged >= 0).all():
        raise ValueError(f"diverged_update must be 0 or an update: got {diverged.tolist()}")


def task_ends(curves: xr.Dataset) -> np.ndarray:
    """Return the update after which each task ends.

    Args:
        curves: Curves.

    Returns:
        Numbers of updates, shape (tasks,), ascending; the last is the length of the run.
    """
    return curves["task_end"].values


def swept_names(curves: xr.Dataset) -> list[str]:
    """Return the names of the hyperparameters that vary between settings, none for a plain run.

    Args:
        curves: Curves. Each name is a coordinate over ``setting``, NaN (or empty, if there are
            schedules) where a setting's method does not vary it.

    Returns:
        The names, in the order in which the settings were described.
    """
    described = [name for row in settings_of(curves) for name in row["swept"]]
    order = {name: place for place, name in enumerate(dict.fromkeys(described))}
    names = [
        str(name)
        for name, coord in curves.coords.items()
        if coord.dims == ("setting",) and name not in ("setting", "method", "title")
        if (coord != "" if coord.dtype.kind in "UO" else coord.notnull()).any()
    ]
    return sorted(names, key=lambda name: order.get(name, len(order)))


def spec_of(curves: xr.Dataset) -> dict[str, Any]:
    """Return the description of the run stored with the curves.

    Args:
        curves: Curves.
    """
    return json.loads(curves.attrs["spec"])


def settings_of(curves: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield the described settings that a dataset holds.

    Args:
        curves: Curves.
    """
    there = set(curves["setting"].values.tolist())
    yield from (row for row in spec_of(curves)["settings"] if row["label"] in there)


def has(curves: xr.Dataset, name: str) -> bool:
    """Return whether a variable was recorded for any setting and seed.

    Args:
        curves: Curves.
        name: Name of a variable.
    """
    return name in curves.data_vars and curves[name].size > 0


def recorded(variable: xr.DataArray) -> np.ndarray:
    """Return which settings and seeds have a variable, shape (settings, seeds).

    In joined curves, a variable is NaN throughout where it was not recorded.

    Args:
        variable: A variable over ``setting``, ``seed`` and more.
    """
    values = variable.transpose("setting", "seed", ...).values
    return ~np.isnan(values).reshape(*values.shape[:2], -1).all(axis=-1)
