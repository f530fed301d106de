"""Reading the labels and the description of curves."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

_ATTRIBUTES = ("spec", "score", "benchmark", "environment")
_VARIABLES = ("accuracy", "task_end", "diverged_update")


def check_rows(dataset: xr.Dataset) -> None:
    """Raise unless a dataset has the rows of curves: settings and seeds, each of them once.

    Args:
        dataset: The dataset to check.

    Raises:
        TypeError: If it is not a dataset.
        ValueError: If it has lost a dimension, attribute or variable, or a setting or seed occurs
            twice or is unknown.
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"curves must be an xarray.Dataset: got {type(dataset)}")
    for dim in ("setting", "seed"):
        if dim not in dataset.dims:
            raise ValueError(
                f"curves must have the dimension {dim}: select with a list, such as "
                f"curves.sel({dim}=[...])"
            )
    check_labels(dataset, "curves")
    lost = [name for name in _ATTRIBUTES if name not in dataset.attrs]
    lost += [name for name in _VARIABLES if name not in dataset.variables]
    if lost:
        raise ValueError(
            f"curves must have their attributes and variables: {', '.join(lost)} are missing. "
            "Arithmetic of xarray drops attributes: give them back with "
            "result.assign_attrs(curves.attrs)"
        )


def check_labels(dataset: xr.Dataset, where: str) -> None:
    """Raise unless settings and seeds are different ones that the description of the run has.

    Statistics would count a seed that occurs twice as two.

    Args:
        dataset: Curves.
        where: Where they come from, for the message.

    Raises:
        ValueError: If a label or seed occurs twice, none is there, or the description lacks one
            or is invalid. Without any description, whatever differs is accepted.
    """
    known: dict[str, set[Any]] = {}
    if "spec" in dataset.attrs:
        try:
            spec = spec_of(dataset)
            known = {
                "setting": {row["label"] for row in spec["settings"]},
                "seed": set(spec["seeds"]),
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{where} does not hold gainjax curves: its spec is invalid ({error})"
            ) from error
    for dim in ("setting", "seed"):
        there = dataset[dim].values.tolist()
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


def task_ends(dataset: xr.Dataset) -> np.ndarray:
    """Return the update after which each task ends.

    Args:
        dataset: Curves.

    Returns:
        Numbers of updates, shape (tasks,), ascending; the last is the length of the run.
    """
    return dataset["task_end"].values


def swept_names(dataset: xr.Dataset) -> list[str]:
    """Return the names of the hyperparameters that vary between settings, none for a plain run.

    Args:
        dataset: Curves. Each name is a coordinate over ``setting``, NaN (or empty, if there are
            schedules) where a setting's method does not vary it.

    Returns:
        The names, in the order in which the settings were described.
    """
    described = [name for row in settings_of(dataset) for name in row["swept"]]
    order = {name: place for place, name in enumerate(dict.fromkeys(described))}
    names = [
        str(name)
        for name, coord in dataset.coords.items()
        if coord.dims == ("setting",) and name not in ("setting", "method", "title")
        if (coord != "" if coord.dtype.kind in "UO" else coord.notnull()).any()
    ]
    return sorted(names, key=lambda name: order.get(name, len(order)))


def spec_of(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the description of the run stored with the curves.

    Args:
        dataset: Curves.
    """
    return json.loads(dataset.attrs["spec"])


def settings_of(dataset: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield the described settings that a dataset holds.

    Args:
        dataset: Curves.
    """
    there = set(dataset["setting"].values.tolist())
    yield from (row for row in spec_of(dataset)["settings"] if row["label"] in there)


def has(dataset: xr.Dataset, name: str) -> bool:
    """Return whether a variable was recorded for any setting and seed.

    Args:
        dataset: Curves.
        name: Name of a variable.
    """
    return name in dataset.data_vars and dataset[name].size > 0


def recorded(variable: xr.DataArray) -> np.ndarray:
    """Return which settings and seeds have a variable, shape (settings, seeds).

    In joined curves, a variable is NaN throughout where it was not recorded.

    Args:
        variable: A variable over ``setting``, ``seed`` and more.
    """
    values = variable.transpose("setting", "seed", ...).values
    return ~np.isnan(values).reshape(*values.shape[:2], -1).all(axis=-1)
