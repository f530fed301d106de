"""Reading untrusted files: only regular files are opened, and claimed sizes are limited by memory.

Nothing that a reader finds in a file is executed, or leads it to another file.
"""

import json
import os
from pathlib import Path
from typing import Any

from gainjax.files import open_regular

_MOST_JSON = 2**26  # bytes of a description


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of moderate size.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a regular file, too large, or not JSON.

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
    """Raise if data claim to need more memory than there is, before they are unpacked.

    Args:
        claim: Bytes that the unpacked data need.

    Raises:
        ValueError: If that exceeds the memory.

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
    """Return the memory of this machine, or the limit of this process's container, in bytes.

    Example:
        >>> memory_bytes() > 10**8
        True
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit
        return memory
