"""Files of strangers: opened only if they are regular files, and not believed beyond memory.

Nothing that a reader of this package finds in a file is executed, or leads it to another file.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

_MOST_JSON = 2**26  # bytes of a description


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
    except FileNotFoundError:
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


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of moderate size.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, too large, or no JSON.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "info.json"
        >>> _ = path.write_text("[1, 2]")
        >>> read_json(path)
        [1, 2]
    """
    with open_regular(path) as file:
        raw = file.read(_MOST_JSON + 1)
    if len(raw) > _MOST_JSON:
        raise ValueError(f"{path} must be at most {_MOST_JSON >> 20} MB: it is larger")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


def check_claim(claim: int) -> None:
    """Raise if data claim to need more memory than there is, before any of it is used.

    Args:
        claim: Bytes that the data need once they are unpacked.

    Raises:
        ValueError: If there is less.

    Example:
        >>> check_claim(10**18)
        Traceback (most recent call last):
        ValueError: its data claim to need 1e+09 GB, and this machine has ... GB of memory
    """
    most = memory_bytes()
    if claim > most:
        raise ValueError(
            f"its data claim to need {claim / 1e9:.3g} GB, and this machine has {most / 1e9:.3g} "
            "GB of memory"
        )


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that limits this process, in bytes.

    Example:
        >>> memory_bytes() > 10**8
        True
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit
        return memory
