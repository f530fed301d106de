"""Files that are there completely or not at all."""

import os
import uuid
from pathlib import Path


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
