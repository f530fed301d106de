"""What guards a run in an output directory: a lock against other processes, and orderly stops."""

import contextlib
import fcntl
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM stopped a run, which is stored and can go on.

    Args:
        message: Where it stopped and how to go on.
        signum: Number of the signal; by custom a program then exits with code 128 + signum.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Stop:
    """Whether a signal has asked to stop."""

    signum: int | None = None


@contextlib.contextmanager
def lock(directory: Path, name: str = ".lock") -> Iterator[None]:
    """Keep other processes out of a directory while the block runs.

    The system lifts the lock when the process ends, however it ends.

    Args:
        directory: Made if needed.
        name: File in it that is locked and names the process.

    Raises:
        BlockingIOError: If another process has the lock.
        OSError: If the directory cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out, lock(Path(out)):
        ...     print((Path(out) / ".lock").read_text() == str(os.getpid()))
        True
    """
    path = directory / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "(unknown)"
            raise BlockingIOError(
                error.errno,
                f"process {owner} is running in this directory: wait for its end, or choose "
                "another directory",
                str(directory),
            ) from None
        except OSError as error:  # some network file systems
            warnings.warn(
                f"{directory} cannot be locked ({error.strerror}): take care that no other process "
                "runs there",
                stacklevel=4,
            )
        with contextlib.suppress(OSError):  # on a full disk the lock has no name, but it holds
            path.write_text(str(os.getpid()))
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Remember SIGINT or SIGTERM while the block runs, instead of stopping at once.

    A second signal acts as if nobody caught it, and so does one that the block did not heed. Only
    the main thread can catch signals; elsewhere this does nothing.

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
            if handler not in (signal.SIG_IGN, None):  # nohup and the like stay in force
                previous[signum] = handler
                signal.signal(signum, remember)
    try:
        yield stop
    finally:
        release()
    if stop.signum is not None:
        signal.raise_signal(stop.signum)
