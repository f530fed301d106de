"""Give curves the same variables and coordinates, with NaN where something was not recorded."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from gainjax.curves.dims import DIMS
from gainjax.curves.reading import swept_names


def aligned(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Return datasets that can be joined: all have the variables and coordinates of any.

    Args:
        parts: Curves of one protocol.
    """
    parts = _with_all_swept([_without_empty(part) for part in parts])
    groups = dict.fromkeys(g for part in parts if "gains" in part for g in part["group"].values)
    parts = [part.reindex(group=list(groups)) if "gains" in part else part for part in parts]
    names = dict.fromkeys(str(name) for part in parts for name in part.data_vars)
    donors = {name: next(part for part in parts if name in part) for name in names}
    return [_with_all(part, donors) for part in parts]


def _without_empty(part: xr.Dataset) -> xr.Dataset:
    empty = [name for name in part.data_vars if name in DIMS and not part[name].size]
    return part.drop_vars(empty)


def _with_all(part: xr.Dataset, donors: dict[str, xr.Dataset]) -> xr.Dataset:
    """Add the variables that other parts have."""
    for name, donor in donors.items():
        if name in part:
            continue
        own = DIMS[name][2:]
        like = donor[name].transpose(*DIMS[name])
        dtype = like.dtype if like.dtype.kind == "f" else np.float64
        values = np.full(
            (part.sizes["setting"], part.sizes["seed"], *like.shape[2:]), np.nan, dtype
        )
        part = part.drop_vars([dim for dim in own if dim in part.coords and not part.sizes[dim]])
        part = part.assign_coords({dim: donor[dim] for dim in own if dim not in part.coords})
        part = part.assign({name: (DIMS[name], values)})
    order = [name for name in donors if name in part]
    return part[order] if list(part.data_vars) != order else part


def _with_all_swept(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Add the swept hyperparameters that other parts have, with the same type in all."""
    names = dict.fromkeys(name for part in parts for name in swept_names(part))
    for name in names:
        is_text = any(name in part.coords and part[name].dtype.kind in "UO" for part in parts)
        parts = [
            part.assign_coords({name: ("setting", _column(part, name, is_text))}) for part in parts
        ]
    return list(parts)


def _column(part: xr.Dataset, name: str, is_text: bool) -> list[float] | list[str]:
    if name not in part.coords:
        return [""] * part.sizes["setting"] if is_text else [np.nan] * part.sizes["setting"]
    values = part[name].values.tolist()
    if not is_text or part[name].dtype.kind in "UO":
        return values
    return ["" if np.isnan(value) else f"{value:g}" for value in values]
