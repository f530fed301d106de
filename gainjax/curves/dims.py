"""The dimensions, coordinates and attributes of curves."""

from collections.abc import Mapping

FORMAT = 2  # of files

ROWS = ("setting", "seed")
TRAINING = ("train_loss", "uncertainty", "gain")
EVALUATION = ("accuracy", "eval_loss")
DIMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(TRAINING, (*ROWS, "update")),
    "gains": (*ROWS, "update", "group"),
    **dict.fromkeys(EVALUATION, (*ROWS, "eval_update", "eval_task")),
    "seen_accuracy": (*ROWS, "seen_update"),
}
COORDS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("setting", "seed", "update", "eval_update", "eval_task")},
    "seen_update": ("seen_update",),
    "task_end": ("task_end",),
    "method": ("setting",),
    "title": ("setting",),
    "task": ("update",),
}
ATTRS = ("format", "benchmark", "score", "spec", "environment", "wall_time_seconds")
# Names that a swept hyperparameter must not have: they are columns already.
RESERVED = {*DIMS, *COORDS, "diverged_update", "group", "seeds", "diverged", "chosen", "frontier"}
