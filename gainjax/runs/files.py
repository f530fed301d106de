"""The files of an unfinished run: curves and checkpoints, each with a checksum."""

import contextlib
import errno
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from gainjax.files import read_regular, write_file
from gainjax.training import Record


def curve_files(folder: Path) -> list[tuple[int, int, Path]]:
    """Return start, end and path of the curves of a part, in order."""
    files = []
    for path in folder.glob("[0-9]*-[0-9]*.npz"):
        start, end = path.stem.split("-")
        if start.isdigit() and end.isdigit():
            files.append((int(start), int(end), path))
    return sorted(files)


def write_curves(path: Path, parts: list[Record], seconds: float) -> None:
    """Write the curves of consecutive chunks as one file, with their duration."""
    records = joined(parts)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **records._asdict(), seconds=seconds)
    content = buffer.getvalue()
    # The checksums of a zip file cover neither its index nor its names.
    write_file(path, content + zlib.crc32(content).to_bytes(4, "big"))


def read_curves(path: Path) -> tuple[Record, float] | None:
    """Return curves and their duration in seconds, or None if they are damaged."""
    try:
        stored = read_regular(path)
    except ValueError:  # not a regular file
        return None
    content, crc = stored[:-4], stored[-4:]
    if zlib.crc32(content).to_bytes(4, "big") != crc:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            record = Record(*(arrays[name] for name in Record._fields))
            return record, float(arrays["seconds"])
    except Exception:  # zipfile, zlib and NumPy raise many kinds
        return None


def joined(parts: list[Record]) -> Record:
    """Return the curves of consecutive chunks, concatenated."""
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


def seal(path: Path) -> Path:
    """Return the path of the file with a checkpoint's checksum."""
    return path.with_name(f"{path.name}.crc32")


def sealed_steps(folder: Path) -> list[int]:
    """Return the updates that have a checkpoint, in ascending order."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.crc32") if path.stem.isdigit())


def checksum(folder: Path) -> str:
    """Return a checksum of names and contents of all files in a folder."""
    crc = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        crc = zlib.crc32(path.relative_to(folder).as_posix().encode(), crc)
        crc = zlib.crc32(path.read_bytes(), crc)
    return f"{crc:08x}"


def is_intact(folder: Path) -> bool:
    """Return whether a checkpoint matches its checksum.

    Args:
        folder: The checkpoint.
    """
    try:
        sealed = read_regular(seal(folder))
    except (FileNotFoundError, ValueError):
        return False
    return sealed == checksum(folder).encode()


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its checksum."""
    seal(path).unlink(missing_ok=True)  # first: a half-removed checkpoint must not count
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn any error that Orbax raises on writing into an OSError with the path."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "errno", None) or errno.EIO
        if "No space left" in str(error):
            code = errno.ENOSPC
        told = "" if getattr(error, "errno", None) else f": {type(error).__name__}: {error}"
        reason = f"cannot write the checkpoint: {os.strerror(code)}{told}"
        raise OSError(code, reason, str(path)) from error
