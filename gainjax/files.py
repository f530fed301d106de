"""Atomic writes, and reads that accept regular files only."""

import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` expanded to the home folder.

    Args:
        path: Any path.

    Raises:
        ValueError: If there is no such user.

    Example:
        >>> expanded("runs/mine").as_posix()
        'runs/mine'
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a path must be text or a pathlib.Path: got {path!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home folder for {str(path)!r}: {error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically; parent directories are created as needed.

    Args:
        path: Where to write. An existing file is replaced in one step.
        content: The whole content.

    Raises:
        OSError: If writing fails, with the path. An existing file is left intact.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = f"cannot write: {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading if it is a regular file or a link to one.

    A named pipe would block until its other end opens, and a device never ends.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, a pipe, a device or a socket, or is not readable.

    Example:
        >>> open_regular(Path("/dev/null"))
        Traceback (most recent call last):
        ValueError: /dev/null must be a file: it is a device
    """
    try:
        check_regular(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # replaced since the check
        file.close()
        raise ValueError(f"{path} must be a file")
    return file


def check_regular(path: Path) -> None:
    """Raise unless a path is a regular file or a link to one, without opening it.

    Args:
        path: The file.

    Raises:
        ValueError: If it is something else.
        OSError: If it does not exist or cannot be inspected.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    raise ValueError(f"{path} must be a file: it is a {kinds.get(stat.S_IFMT(mode), 'device')}")


def read_regular(path: Path) -> bytes:
    """Return the content of a file; see :func:`open_regular`.

    Args:
        path: The file.
    """
    with open_regular(path) as file:
        return file.read()
