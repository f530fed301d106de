"""A lock that protects an output directory from other processes, and orderly stops of a run."""

import contextlib
import errno
import fcntl
import os
import signal
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from gainjax.files import open_regular

_TRIES, _PAUSE = 3, 0.05  # to get the lock; seconds in between


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM stopped a run, which is stored and can be resumed.

    Args:
        message: Where it stopped and how to resume it.
        signum: Number of the signal; by convention, a program then exits with code 128 + signum.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Stop:
    """Whether a signal has requested a stop."""

    signum: int | None = None


@contextlib.contextmanager
def lock(directory: Path, name: str = ".lock") -> Iterator[Callable[[], None]]:
    """Keep other processes out of a directory while the block runs.

    The system releases the lock when the process ends, however it ends.

    Args:
        directory: Created if needed.
        name: File in it that is locked and contains the process number.

    Yields:
        A function that raises OSError if the lock has been removed or replaced meanwhile.

    Raises:
        BlockingIOError: If another process has the lock.
        OSError: If the directory cannot be written to, or the lock is not a regular file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out, lock(Path(out)):
        ...     print((Path(out) / ".lock").read_text() == str(os.getpid()))
        True
    """
    path = directory / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Never follow a symbolic link, whose target is somebody else's, nor read from a pipe.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no file")
        file = os.fdopen(descriptor, "r+")
    except OSError as error:
        reason = f"cannot write: {error.strerror}"
        if path.is_symlink():
            reason = "the lock is a symbolic link: remove it"
        elif path.exists() and not path.is_file():
            reason = "the lock is not a file: remove it"
        elif directory.exists() and not directory.is_dir():
            reason, path = "the output directory is a file: choose another one", directory
        raise OSError(error.errno, reason, str(path)) from error
    with file:
        _acquire(file, directory)
        with contextlib.suppress(OSError):  # on a full disk the lock has no number, but it holds
            # Unbuffered: a buffer would try again when the file is closed, and fail then.
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())

        def still_ours() -> None:
            mine = os.fstat(file.fileno())
            try:
                there = os.stat(path, follow_symlinks=False)
            except FileNotFoundError:
                there = None
            if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
                raise OSError(
                    errno.ESTALE,
                    "the output directory was moved or cleaned during the run, which therefore "
                    "stops: give the same command again",
                    str(directory),
                )

        yield still_ours


def is_locked(directory: Path, name: str = ".lock") -> bool:
    """Return whether a process is running in a directory.

    Args:
        directory: Directory of a run.
        name: As for :func:`lock`.
    """
    try:
        with open_regular(directory / name) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ValueError):  # ValueError: no regular file
        return False
    return False


def _acquire(file: IO[str], directory: Path) -> None:
    """Lock an open file, or raise with the process that has locked it."""
    try:
        for _ in range(_TRIES - 1):  # a look at the lock holds it for a moment
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(_PAUSE)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = file.read(64).strip()
        owner = owner if owner.isdigit() else "(unknown)"
        raise BlockingIOError(
            error.errno,
            f"process {owner} is running in this directory: wait until it ends, or choose "
            "another directory",
            str(directory),
        ) from None
    except OSError as error:  # some network file systems
        warnings.warn(
            f"{directory} cannot be locked ({error.strerror}): make sure that no other process "
            "runs there",
            stacklevel=5,
        )


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Record SIGINT or SIGTERM while the block runs, instead of stopping immediately.

    A second signal acts as usual, and so does one that the block did not handle. Only the main
    thread can catch signals; elsewhere this does nothing.

    Yields:
        An object whose ``signum`` becomes the number of the signal.

    Example:
        >>> with contextlib.suppress(KeyboardInterrupt), stoppable() as stop:
        ...     signal.raise_signal(signal.SIGINT)
        ...     print(stop.signum)
        2
    """
    stop = Stop()
    previous: dict[int, Any] = {}

    def release() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    def remember(signum: int, frame: Any) -> None:
        stop.signum = signum
        release()

    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(signum)
            if handler not in (signal.SIG_IGN, None):  # nohup and the like stay in effect
                previous[signum] = handler
                signal.signal(signum, remember)
    try:
        yield stop
    finally:
        release()
    if stop.signum is not None:
        signal.raise_signal(stop.signum)
