"""Files that are there completely or not at all, and are files when they are read."""

import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of ``~``.

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
    """Write a file completely or not at all; directories are made as needed.

    Args:
        path: Where to write. A file that is there is replaced in one step.
        content: All of it.

    Raises:
        OSError: If that fails, with the path. What was there before is intact.
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

    A named pipe would wait for ever for its other end, a device has no end.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, a pipe, a device or a socket, or may not be read.

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
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # exchanged in between
        file.close()
        raise ValueError(f"{path} must be a file")
    return file


def check_regular(path: Path) -> None:
    """Raise unless a path is a regular file or a link to one; nothing is opened.

    Args:
        path: The file.

    Raises:
        ValueError: If it is something else.
        OSError: If there is nothing, or it cannot be looked at.
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
