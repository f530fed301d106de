"""The command line: a thin layer over the Python interface."""

import os
import signal
from typing import Any

os.environ["MPLBACKEND"] = "agg"  # only files are drawn, whatever the environment says


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: The arguments after ``gainjax``, or None for those of the process.
    """
    _load()
    from gainjax.cli.app import main as run

    run(args)


def _load() -> None:
    """Import what commands need; an interrupt during the import just ends the process."""
    import threading

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread().name != "MainThread":
        return  # the caller handles interrupts

    def leave(*_: Any) -> None:
        os.write(2, b"interrupted\n")
        os._exit(130)  # an exception could be swallowed or shown by the module being imported

    signal.signal(signal.SIGINT, leave)
    try:
        import gainjax.cli.app  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, before)


__all__ = ["main"]
