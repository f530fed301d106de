"""The command line: a thin layer over the Python interface."""

import os

os.environ["MPLBACKEND"] = "agg"  # files are all that it draws, whatever is set elsewhere

from gainjax.cli.app import main

__all__ = ["main"]
