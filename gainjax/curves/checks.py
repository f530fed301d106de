"""Checks of the inputs for curves: numbers of seeds and updates, shapes, scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from gainjax.curves.dims import DIMS, EVALUATION


def check_seeds(seeds: Sequence[int]) -> np.ndarray:
    """Return the seeds, or raise.

    Args:
        seeds: Different integers.

    Raises:
        ValueError: If they are anything else.
    """
    array = np.asarray(seeds)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise ValueError(f"seeds must be a list of integers: got {seeds!r}")
    if len(np.unique(array)) < len(array):
        raise ValueError(f"seeds must be different integers: got {seeds!r}")
    return array


def check_evaluations(updates: Mapping[str, np.ndarray]) -> None:
    """Raise unless the end of each task was evaluated, and nothing after the last one.

    Args:
        updates: ``task_end``, ``eval_update`` and ``seen_update``.

    Raises:
        ValueError: If this does not hold.
    """
    ends, evaluated, seen = (updates[k] for k in ("task_end", "eval_update", "seen_update"))
    if missing := np.setdiff1d(ends, evaluated).tolist():
        raise ValueError(
            f"task_ends must be among eval_updates: {missing} were not evaluated; evaluate at the "
            "end of each task"
        )
    for name, array in (("eval_updates", evaluated), ("seen_updates", seen)):
        if array.size and array[-1] > ends[-1]:
            raise ValueError(
                f"{name} must end with the last task, at {ends[-1]}: got {array[-1]}; task_ends "
                "has one entry per task, also for the last one"
            )


def check_records(
    arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int], tasks: int, score: str
) -> None:
    """Raise unless arrays have the shapes that the labels imply and scores are valid.

    Args:
        arrays: Records by name.
        sizes: Sizes by dimension.
        tasks: Number of tasks.
        score: Name of the score.

    Raises:
        ValueError: If this does not hold.
    """
    if unknown := sorted(set(arrays) - set(DIMS)):
        raise ValueError(f"records must be among {', '.join(DIMS)}: got {unknown[0]!r}")
    if "accuracy" not in arrays:
        raise ValueError("records must hold accuracy")
    for name, array in arrays.items():
        dims = DIMS[name]
        evaluated = array.shape[-1:] if "eval_task" in dims else ()
        if evaluated and evaluated[0] not in (1, tasks):
            raise ValueError(
                f"{name} must be of task 1 or of all {tasks} tasks on its last axis: got shape "
                f"{array.shape}"
            )
        wanted = tuple(sizes[dim] for dim in dims[: len(dims) - len(evaluated)]) + evaluated
        if array.shape != wanted or array.dtype.kind not in "buif":
            raise ValueError(
                f"{name} must be numbers of shape ({', '.join(dims)}) = {wanted}: got "
                f"{array.dtype} of shape {array.shape}"
            )
    shapes = {arrays[name].shape for name in EVALUATION if name in arrays}
    if len(shapes) > 1:
        raise ValueError(f"accuracy and eval_loss must have the same shape: got {sorted(shapes)}")
    for name in ("accuracy", "seen_accuracy"):
        if name in arrays:
            check_score(name, arrays[name], score)


def check_score(name: str, array: np.ndarray, score: str) -> None:
    """Raise unless values are valid scores.

    Args:
        name: Name of the array, for the message.
        array: Its values.
        score: Name of the score; "accuracy" means fractions.

    Raises:
        ValueError: If a value is not finite, or an accuracy is outside [0, 1].
    """
    wrong = array[~np.isfinite(array)]
    if score != "accuracy":  # a run that diverged has no score
        wrong = wrong[~np.isnan(wrong)]
    if wrong.size:
        raise ValueError(
            f"{name} must be finite: got {wrong[0]}; leave out the updates that were not evaluated"
        )
    if score != "accuracy" or not array.size:
        return
    low, high = array.min(), array.max()
    if low < 0 or high > 1:
        hint = "; divide percentages by 100" if low >= 0 and high <= 100 else ""
        raise ValueError(
            f"{name} must be fractions in [0, 1]: got {low if low < 0 else high}{hint}"
        )
