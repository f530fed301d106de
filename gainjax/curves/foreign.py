"""Curves from elsewhere: arrays of any other program, labeled like those of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from gainjax.curves.dims import DIMS
from gainjax.curves.shape import Setting, make_curves


class Recorded(TypedDict, total=False):
    """Optional recordings besides accuracy, by label; None if absent."""

    seen_accuracy: Mapping[str, ArrayLike] | None
    eval_loss: Mapping[str, ArrayLike] | None
    train_loss: Mapping[str, ArrayLike] | None
    uncertainty: Mapping[str, ArrayLike] | None
    gain: Mapping[str, ArrayLike] | None


def from_curves(
    accuracy: Mapping[str, ArrayLike],
    *,
    eval_updates: Sequence[int],
    task_ends: Sequence[int],
    seeds: Sequence[int] | None = None,
    seen_updates: Sequence[int] | None = None,
    benchmark: str = "curves",
    score: str = "accuracy",
    **recorded: Unpack[Recorded],
) -> xr.Dataset:
    """Return curves of any program as a dataset for all tables, figures, metrics and tests.

    Args:
        accuracy: For each label, such as a method, its accuracy on each evaluated task after each
            evaluated update: fractions of shape (seeds, evaluations, tasks), or for one seed
            (evaluations, tasks). Either task 1 alone or all tasks are evaluated.
        eval_updates: The evaluated updates, counted from 1 over all tasks, including each task end.
            0 stands for an evaluation before the first update.
        task_ends: Last update of each task. Tasks may be of unequal length.
        seeds: Numbers of the seeds; 0, 1, ... if None.
        seen_updates: Updates of ``seen_accuracy``, if they are not ``eval_updates``.
        benchmark: Name of the benchmark, for titles; curves are only joined with those of
            the same benchmark (:func:`gainjax.concat`).
        score: Name of the score, if not accuracy: then any finite numbers, higher is better.
        **recorded: Mappings with the same labels, for anything else that was recorded:

            seen_accuracy: Accuracy on all tasks seen so far, shape (seeds, evaluations).

            eval_loss: Loss, of the shape of ``accuracy``.

            train_loss, uncertainty, gain: Of every update, shape (seeds, updates).

    Returns:
        The dataset that :func:`gainjax.curves.make_curves` describes, without what was not
        recorded; a seed counts as diverged only if a recorded loss is not finite.

    Raises:
        TypeError: If ``accuracy`` is not a mapping, or updates are not integers.
        ValueError: If shapes, labels or values do not fit together, or accuracies are percentages.

    Example:
        >>> accuracy = np.array([[0.5], [0.9], [0.3], [0.8]])  # one seed, task 1
        >>> curves = from_curves({"er": accuracy}, eval_updates=[5, 10, 12, 20], task_ends=[10, 20])
        >>> float(curves.accuracy.sel(setting="er", seed=0, eval_update=12, eval_task=1))
        0.3
    """
    if not isinstance(accuracy, Mapping):
        raise TypeError(
            f"accuracy must map labels to arrays, such as {{'er': array}}: got {type(accuracy)}"
        )
    labels = list(accuracy)
    given: dict[str, Any] = {
        name: arrays for name, arrays in recorded.items() if arrays is not None
    }
    known = {"accuracy", *Recorded.__annotations__}
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"{unknown[0]} cannot be recorded; these can: {', '.join(sorted(known))}")
    records = {
        name: _stacked(name, arrays, labels, len(np.atleast_1d(eval_updates)))
        for name, arrays in {"accuracy": accuracy, **given}.items()
    }
    count = records["accuracy"].shape[1]
    seeds = list(range(count)) if seeds is None else list(seeds)
    if len(seeds) != count:
        raise ValueError(f"seeds must be as many as in accuracy, {count}: got {seeds}")
    if "seen_accuracy" in records:
        seen_updates = eval_updates if seen_updates is None else seen_updates
    elif seen_updates is not None:
        raise ValueError("seen_updates are given, but no seen_accuracy")
    return make_curves(
        [Setting(label, label, label, {}) for label in labels],
        records,
        seeds=seeds,
        task_ends=task_ends,
        eval_updates=eval_updates,
        seen_updates=() if seen_updates is None else seen_updates,
        attrs={"benchmark": benchmark, "score": score, "spec": {"elsewhere": labels}},
    )


def _stacked(name: str, arrays: Any, labels: list[str], evaluations: int) -> np.ndarray:
    """Return one array of all labels, shape (labels, seeds, ...)."""
    if not isinstance(arrays, Mapping) or set(arrays) != set(labels):
        found = sorted(arrays) if isinstance(arrays, Mapping) else type(arrays)
        raise ValueError(
            f"{name} must map the labels {', '.join(map(str, labels))} to arrays: got {found}; "
            "join curves of which different things were recorded with gainjax.concat"
        )
    ndim = len(DIMS[name]) - 1
    parts = []
    for label in labels:
        array = np.asarray(arrays[label])
        if np.ma.is_masked(arrays[label]):
            raise ValueError(f"{name} of {label!r} must not be masked: leave out what is missing")
        if array.dtype.kind not in "buif" or array.ndim not in (ndim - 1, ndim):
            raise ValueError(
                f"{name} of {label!r} must be numbers with the axes {_axes(name)}: got "
                f"{array.dtype} of shape {array.shape}"
            )
        if name in ("accuracy", "eval_loss") and array.shape[-2] != evaluations:
            raise ValueError(
                f"{name} of {label!r} must have the axes {_axes(name)}, with {evaluations} "
                f"evaluations: got shape {array.shape}; give curves of task 1 alone an axis of "
                "one task, array[..., None]"
            )
        parts.append(array if array.ndim == ndim else array[None])
    if len({part.shape for part in parts}) > 1:
        shapes = {label: part.shape for label, part in zip(labels, parts, strict=True)}
        raise ValueError(
            f"{name} must have the same shape {_axes(name)} for all labels: got {shapes}"
        )
    return np.stack(parts)


def _axes(name: str) -> str:
    words = {"eval_update": "evaluations", "eval_task": "tasks", "seen_update": "evaluations"}
    return f"(seeds, {', '.join(words.get(dim, 'updates') for dim in DIMS[name][2:])})"
