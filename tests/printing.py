"""Tables as they are printed."""

import io

from rich.console import Console

from gainjax import show as report


def printed(curves, width=100, **options):
    console = Console(width=width, file=io.StringIO())
    report.print_table(curves, console, **options)
    return console.file.getvalue()


def ranked(sweep, width=100, **options):
    console = Console(width=width, file=io.StringIO())
    report.print_ranking(sweep, console, **options)
    return console.file.getvalue()
