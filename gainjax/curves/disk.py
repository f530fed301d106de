"""Curves on disk: netCDF 4, followed by a checksum of every byte."""

import hashlib
import io
import json
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from gainjax.curves.dims import ATTRS, COORDS, DIMS, FORMAT
from gainjax.curves.format1 import from_format_1
from gainjax.curves.joining import narrowed
from gainjax.curves.reading import check_every_update, check_rows
from gainjax.files import expanded, read_regular, write_file

FILE = "curves.nc"
_MARK = b"gainjax-sha256:"
_TRAILER = len(_MARK) + 64 + 1  # with a newline; netCDF readers ignore anything after the data
_MOST_DENSE = 1100  # largest compression ratio that is believed


def save(curves: xr.Dataset, path: str | Path) -> Path:
    """Write curves to disk atomically.

    Args:
        curves: Curves as :func:`gainjax.curves.make_curves` returns them, or a selection of their
            settings and seeds.
        path: A directory, created if needed, for ``curves.nc``; or a path that ends in ``.nc``.

    Returns:
        The path of the file: netCDF 4, then a line with the SHA-256 of everything before it.

    Raises:
        ValueError: If the dataset is not of the described form.
        OSError: If the file cannot be written. An existing file is left intact.
    """
    check_form(curves, "the dataset passed as curves")
    encoding = {"zlib": True, "complevel": 4, "_FillValue": None}  # NaN needs no fill value
    # Into memory first: HDF5 does not survive a full disk. At once into bytes: the traceback of a
    # failed write would keep a view alive that outlives its buffer.
    body = bytes(
        narrowed(curves)
        .drop_encoding()
        .to_netcdf(
            engine="h5netcdf",
            encoding={name: encoding for name, array in curves.data_vars.items() if array.size},
        )
    )
    path = _file(path)
    write_file(path, body + _MARK + hashlib.sha256(body).hexdigest().encode() + b"\n")
    return path


def load(path: str | Path) -> xr.Dataset:
    """Read curves from disk into memory.

    Args:
        path: The directory of a run, or its ``curves.nc``. Files of format 1, whose checksum does
            not cover everything, are converted to the present format.

    Returns:
        The dataset as it was saved. The file is closed.

    Raises:
        FileNotFoundError: If there are no curves.
        ValueError: If the file is damaged, of another kind or of another format number.
    """
    path = _file(path)
    body, is_sealed = _opened(_read(path), path)
    try:
        with h5py.File(io.BytesIO(body)) as file:  # h5netcdf leaves a half-open file if this fails
            _check_storage(file, len(body))
        curves = xr.load_dataset(io.BytesIO(body), engine="h5netcdf", phony_dims="access")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:  # HDF5 raises any
        raise ValueError(f"{path} is damaged or not a netCDF 4 file: {error}") from error
    curves = curves.drop_encoding()
    # netCDF numbers come as NumPy scalars.
    curves.attrs = {k: getattr(v, "item", lambda v=v: v)() for k, v in curves.attrs.items()}
    if curves.attrs.get("format") == 1 and not is_sealed:
        curves = from_format_1(curves, str(path))
    elif not is_sealed and curves.attrs.get("format") == FORMAT:
        raise ValueError(
            f"{path} is damaged: the checksum that gainjax.save writes after the data is missing"
        )
    check_form(curves, str(path))
    return curves


def check_form(curves: xr.Dataset, where: str) -> None:
    """Raise unless a dataset has the form of :func:`gainjax.curves.make_curves`.

    Args:
        curves: The dataset to check.
        where: Where it comes from, for the message.

    Raises:
        ValueError: If something is missing, or labels differ from those of the description.
    """
    if not isinstance(curves, xr.Dataset):
        raise TypeError(f"{where} must be an xarray.Dataset of curves: got {type(curves)}")
    found = curves.attrs.get("format", FORMAT)
    if found != FORMAT:
        raise ValueError(
            f"{where} has format {found}, and this version of gainjax knows format {FORMAT}: use "
            "the version that wrote it"
        )
    if missing := [name for name in ATTRS if name not in curves.attrs]:
        raise ValueError(f"{where} does not hold gainjax curves: no attribute {missing[0]!r}")
    wanted = {"accuracy": DIMS["accuracy"], "diverged_update": ("setting", "seed"), **COORDS}
    wanted |= {name: dims for name, dims in DIMS.items() if name in curves.variables}
    for name, dims in wanted.items():
        if name not in curves.variables or curves[name].dims != dims:
            raise ValueError(
                f"{where} does not hold gainjax curves: no {name} over {', '.join(dims)}"
            )
    try:
        json.loads(curves.attrs["environment"])
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{where} does not hold gainjax curves: its environment is invalid ({error})"
        ) from error
    check_rows(curves, where)
    check_every_update(curves, where)


def _file(path: str | Path) -> Path:
    path = expanded(path)
    return path if path.suffix == ".nc" and not path.is_dir() else path / FILE


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"no curves at {path}: give the directory of a finished run, or its {FILE}"
        ) from None


def _opened(content: bytes, path: Path) -> tuple[bytes, bool]:
    """Return the data of a file, and whether it has a checksum; raise if the checksum is wrong."""
    body, trailer = content[:-_TRAILER], content[-_TRAILER:]
    if not trailer.startswith(_MARK):
        return content, False
    if trailer != _MARK + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    return body, True


def _check_storage(file: h5py.File, size: int) -> None:
    """Raise if a file takes values from elsewhere, or claims more than it can hold."""
    total = 0

    def visit(group: h5py.Group) -> None:
        nonlocal total
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is a link")
            item = group[name]
            if isinstance(item, h5py.Group):
                raise ValueError(f"{name} is a group")
            if item.is_virtual or item.external:
                raise ValueError(f"{name} takes its values from another file")
            total += int(np.prod(item.shape, dtype=object)) * item.dtype.itemsize

    visit(file)
    if total > _MOST_DENSE * size:
        raise ValueError(f"it claims {total} bytes, more than a file of {size} can hold")
