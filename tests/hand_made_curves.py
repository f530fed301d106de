"""Curves of two settings, made of random numbers."""

import numpy as np

from gainjax.curves import Setting, make_curves

SETTINGS = [Setting("a", "a", "A", {"rate": 0.1}), Setting("b", "b", "B", {})]
WHEN = {
    "seeds": [3, 7],
    "task_ends": [4, 8],
    "eval_updates": [2, 4, 6, 8],
    "seen_updates": [4, 8],
    "attrs": {"benchmark": "mine", "wall_time_seconds": 2},
}


def records(**changes):
    """Arrays of 2 settings and seeds, 8 updates and 2 evaluated tasks."""
    rng = np.random.default_rng(0)
    shapes = {
        **dict.fromkeys(("train_loss", "uncertainty", "gain"), (2, 2, 8)),
        **dict.fromkeys(("accuracy", "eval_loss"), (2, 2, 4, 2)),
        "seen_accuracy": (2, 2, 2),
    }
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()} | changes


def make(rows=SETTINGS, arrays=None, **changes):
    return make_curves(rows, records() if arrays is None else arrays, **(WHEN | changes))
