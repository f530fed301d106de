"""Reader of ``.npz`` files with Keras array names, without unpickling."""

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gainjax.data.safe import check_claim
from gainjax.files import open_regular

KEYS = ("x_train", "y_train", "x_test", "y_test")
COARSE_KEYS = ("y_train_coarse", "y_test_coarse")
_CHUNK = 2**20
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> dict[str, Any]:
    """Read the arrays of an ``.npz`` file with Keras array names.

    Args:
        path: The file.

    Returns:
        The arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``, and ``y_train_coarse`` and
        ``y_test_coarse`` if present, unchanged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ``.npz`` file, is damaged, holds pickled objects, lacks an
            array or has one twice, or claims to need more memory than there is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.npz"
        >>> np.savez(path, **{key: np.arange(3) for key in KEYS})
        >>> read_npz(path)["y_test"]
        array([0, 1, 2])
    """
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is not an .npz file, or it is truncated")
        try:
            return _read_archive(file)
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds
            reason = str(error) or type(error).__name__
            raise ValueError(f"{path} cannot be read as a data set: {reason}") from error


def _read_archive(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        members = dict(zip(names, archive.infolist(), strict=True))
        if twice := [key for key in KEYS + COARSE_KEYS if names.count(key) > 1]:
            raise ValueError(f"it holds {twice[0]} twice: write the arrays again with numpy.savez")
        missing = [key for key in KEYS if key not in members]
        if missing:
            raise ValueError(
                f"no array {', '.join(missing)}; it needs {', '.join(KEYS)} and holds "
                f"{', '.join(members) or 'nothing'}"
            )
        wanted = {key: members[key] for key in KEYS + COARSE_KEYS if key in members}
        check_claim(sum(info.file_size for info in wanted.values()))
        return {key: _read_array(archive, key, info) for key, info in wanted.items()}


def _read_array(archive: zipfile.ZipFile, key: str, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, whose size must match both its header and the archive."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise ValueError(f"{key} has the unknown format {version}")
        shape, fortran, dtype = _HEADERS[version](member)
        if dtype.hasobject:
            raise ValueError(
                f"{key} holds pickled Python objects, which could run any code. Save it as an "
                "array of numbers"
            )
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or member.tell() + size != info.file_size:
            raise ValueError(
                f"{key} claims {dtype} of shape {shape}, which does not match its size of "
                f"{info.file_size} bytes"
            )
        raw = np.empty(size, np.uint8)
        for start in range(0, size, _CHUNK):
            part = member.read(min(_CHUNK, size - start))
            raw[start : start + _CHUNK] = np.frombuffer(part, np.uint8)
        member.read(1)  # reach the end, where the checksum is verified
    return raw.view(dtype).reshape(shape, order="F" if fortran else "C")
