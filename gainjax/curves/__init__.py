"""Curves: labeled results of runs, sweeps and other programs, in memory and on disk."""

from gainjax.curves.difference import difference
from gainjax.curves.disk import FILE, load, save
from gainjax.curves.foreign import from_curves
from gainjax.curves.joining import Dimension, concat, narrowed
from gainjax.curves.reading import check_rows, has, settings_of, spec_of, swept_names, task_ends
from gainjax.curves.seeds import measure, per_seed
from gainjax.curves.shape import Setting, check_settings, make_curves

__all__ = [
    "FILE",
    "Dimension",
    "Setting",
    "check_rows",
    "check_settings",
    "concat",
    "difference",
    "from_curves",
    "has",
    "load",
    "make_curves",
    "measure",
    "narrowed",
    "per_seed",
    "save",
    "settings_of",
    "spec_of",
    "swept_names",
    "task_ends",
]
