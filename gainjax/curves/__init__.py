"""Curves: labelled results of runs, sweeps and other programs, in memory and on disk."""

from gainjax.curves.difference import difference
from gainjax.curves.disk import FILE, load, save
from gainjax.curves.foreign import from_curves
from gainjax.curves.joining import concat
from gainjax.curves.reading import swept_names, task_ends
from gainjax.curves.seeds import measure, per_seed
from gainjax.curves.shape import Setting, check_settings, make_curves

__all__ = [
    "FILE",
    "Setting",
    "check_settings",
    "concat",
    "difference",
    "from_curves",
    "load",
    "make_curves",
    "measure",
    "per_seed",
    "save",
    "swept_names",
    "task_ends",
]
