"""The command line: a thin layer over the Python interface."""

from gainjax.cli.app import main

__all__ = ["main"]
