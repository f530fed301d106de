"""Curves: labelled results of runs, sweeps and other programs, in memory and on disk."""

from gainjax.curves.difference import difference
from gainjax.curves.disk import FILE, load, save
from gainjax.curves.joining import concat
from gainjax.curves.reading import swept_names, task_ends
from gainjax.curves.shape import Setting, check_settings, make_curves

__all__ = [
    "FILE",
    "Setting",
    "check_settings",
    "concat",
    "difference",
    "load",
    "make_curves",
    "save",
    "swept_names",
    "task_ends",
]
