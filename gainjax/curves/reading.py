"""Reading the labels and the description of curves."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr


def check_rows(dataset: xr.Dataset) -> None:
    """Raise unless a dataset has the rows of curves: settings and seeds.

    Args:
        dataset: The dataset to check.

    Raises:
        TypeError: If it is not a dataset.
        ValueError: If it has lost a dimension.
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"curves must be an xarray.Dataset: got {type(dataset)}")
    for dim in ("setting", "seed"):
        if dim not in dataset.dims:
            raise ValueError(
                f"curves must have the dimension {dim}: select with a list, such as "
                f"curves.sel({dim}=[...])"
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
