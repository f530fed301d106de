"""A progress bar for runs, on the host and independent of compiled code."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Updates per second, where all seeds of a method together count as one update."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("compiling" if speed is None else f"{speed:.0f} updates/s", "dim")


Report = Callable[[str, int], None]


@contextlib.contextmanager
def progress_bar(
    total: int, *, shown: bool = True, console: Console | None = None
) -> Iterator[Report]:
    """Show the progress of a run, with rate and remaining time.

    Args:
        total: Updates of all methods together.
        shown: Whether to show anything.
        console: Where to draw, or None for standard error.

    Yields:
        A function to call with a label and the number of updates finished since the last call.

    Example:
        >>> with progress_bar(100, shown=False) as report:
        ...     report("sgd", 100)
    """
    with Progress(
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        disable=not shown,
    ) as bar:
        row = bar.add_task("starting", total=total)

        def report(label: str, advance: int) -> None:
            bar.update(row, description=label, advance=advance)

        yield report
