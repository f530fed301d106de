"""Reader of IDX files, the format in which MNIST and its relatives were published."""

import gzip
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gainjax.data.dataset import Dataset
from gainjax.data.safe import check_claim
from gainjax.files import open_regular

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 2**20
_PATTERNS = {
    "x_train": r"train-(images|data)[-.]idx\d",
    "y_train": r"train-labels[-.]idx\d",
    "x_test": r"(t10k|test)-(images|data)[-.]idx\d",
    "y_test": r"(t10k|test)-labels[-.]idx\d",
}


def find_idx(folder: Path) -> dict[str, Path] | None:
    """Find the four IDX files of a data set, such as ``train-images-idx3-ubyte.gz``.

    Args:
        folder: The folder that holds them. A file takes precedence over its ``.gz`` form.

    Returns:
        The files by ``x_train``, ``y_train``, ``x_test`` and ``y_test``; None if there are none.

    Raises:
        ValueError: If one is missing, or there are several.

    Example:
        >>> print(find_idx(Path(".")))
        None
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    found = {
        key: [name for name in names if re.search(pattern, name)]
        for key, pattern in _PATTERNS.items()
    }
    if not any(found.values()):
        return None
    result = {}
    for key, files in found.items():
        plain = [name for name in files if name.removesuffix(".gz") not in {*files} - {name}]
        if len(plain) != 1:
            wanted = "no file" if not plain else f"{', '.join(plain)}, and needs one,"
            example = {"x": "images-idx3-ubyte", "y": "labels-idx1-ubyte"}[key[0]]
            part = "train" if key.endswith("train") else "t10k"
            raise ValueError(f"{folder} has {wanted} for {key}, such as {part}-{example} or .gz")
        result[key] = folder / plain[0]
    return result


def read_idx(files: dict[str, Path]) -> Dataset:
    """Read a data set from four IDX files.

    Args:
        files: What :func:`find_idx` returns.

    Returns:
        The data set.

    Raises:
        ValueError: If a file is damaged or not an IDX file.
    """
    arrays: dict[str, Any] = {key: read_idx_file(path) for key, path in files.items()}
    return Dataset(**arrays, name=str(files["x_train"].parent))


def read_idx_file(path: Path) -> np.ndarray:
    """Read one IDX file: four bytes for type and number of axes, the axis lengths, the numbers.

    Args:
        path: The file, compressed if its name ends in ``.gz``.

    Returns:
        The array, in the byte order of this machine.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an IDX file, truncated, longer than its header says, or claims to
            need more memory than there is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train-labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> read_idx_file(path)
        array([7, 9], dtype=uint8)
    """
    with open_regular(path) as raw:
        try:
            if path.suffix != ".gz":
                return _parse(raw)
            with gzip.open(raw) as file:
                return _parse(file)  # type: ignore[arg-type]  # only `read` is needed
        except Exception as error:  # gzip and zlib raise several kinds
            raise ValueError(f"{path} cannot be read as an IDX file: {error}") from error


def _parse(file: BinaryIO) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise ValueError(f"it begins with {magic.hex(' ')}, unlike any IDX file")
    dtype = np.dtype(_TYPES[magic[2]])
    shape = np.frombuffer(_exactly(file, 4 * magic[3]), ">u4").tolist()
    size = math.prod(shape) * dtype.itemsize
    if not size:
        raise ValueError(f"it holds no numbers: its shape is {tuple(shape)}")
    check_claim(size)
    array = np.frombuffer(_exactly(file, size), dtype).reshape(shape)
    if file.read(1):
        raise ValueError(f"it is longer than its shape {tuple(shape)} says")
    return array.astype(dtype.newbyteorder("="))


def _exactly(file: BinaryIO, size: int) -> bytearray:
    """Return the next `size` bytes; memory grows with the actual content, not the claimed size."""
    result = bytearray()
    while len(result) < size:
        part = file.read(min(_CHUNK, size - len(result)))
        if not part:
            raise ValueError(f"it is truncated: {size - len(result)} bytes are missing")
        result += part
    return result
