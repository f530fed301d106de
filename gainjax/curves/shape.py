"""The common form of curves: a labeled dataset for runs, sweeps and curves from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
import xarray as xr

from gainjax.curves.checks import check_evaluations, check_records, check_seeds
from gainjax.curves.dims import DIMS, FORMAT, RESERVED, ROWS
from gainjax.metrics import METRICS
from gainjax.metrics.curves import check_updates


class Setting(NamedTuple):
    """One row of results: a method with values for all its hyperparameters.

    Args:
        label: Name of the row, such as ``"sgd"`` or ``"lion learning_rate=0.1"``.
        method: Label of the method in this run: rows of one method belong together.
        title: How tables and figures name the method.
        hyperparameters: All of them by name; None stands for "no bound".
        swept: Names of those that vary between the rows of the method.
    """

    label: str
    method: str
    title: str
    hyperparameters: Mapping[str, Any]
    swept: tuple[str, ...] = ()


def make_curves(
    settings: Sequence[Setting],
    records: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    task_ends: Sequence[int],
    eval_updates: Sequence[int],
    seen_updates: Sequence[int] = (),
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Label curves as a dataset.

    Args:
        settings: The rows of the results, with different labels.
        records: Arrays by name; omit what was not recorded. ``accuracy``, the score after
            each evaluated update, and ``eval_loss``, shape (settings, seeds, evaluated updates,
            evaluated tasks); ``seen_accuracy``, the score on the tasks seen so far, shape
            (settings, seeds, seen updates); ``train_loss``, ``uncertainty`` (nats) and ``gain`` of
            each update's forward pass, shape (settings, seeds, updates); ``gains``, several gains,
            shape (settings, seeds, updates, groups), NaN where a setting has no such gain. Only
            ``accuracy`` is required.
        seeds: Seeds, different integers.
        task_ends: Last update of each task, shape (tasks,), ascending. The last one is the length
            of the curves.
        eval_updates: Evaluated updates, from 1, ascending; each task end is among them.
        seen_updates: Updates of ``seen_accuracy``, likewise.
        attrs: ``benchmark``, its name; ``spec``, the description of the run, and ``environment``,
            further conditions, both JSON-serializable; ``score``, what ``accuracy`` holds
            ("accuracy": fractions in [0, 1]; any other name: finite numbers, higher is better);
            ``wall_time_seconds``; with ``gains`` also ``gain_names``, a list.

    Returns:
        A dataset with these variables and ``diverged_update`` over (setting, seed): the first
        update whose loss is not finite, 0 if none or no loss was recorded. The coordinates are the
        labels, seeds and 1-based numbers of updates and tasks; ``method`` and ``title`` over
        ``setting``; one over ``setting`` for each swept hyperparameter: NaN for methods without
        it, infinity for "no bound", names (text) if there are schedules among its values;
        ``task``, the task that is trained at each update; ``task_end``. The attributes are those
        given, the nested ones as JSON text.

    Raises:
        TypeError: If updates are not integers.
        ValueError: If shapes, names or values do not fit together.

    Example:
        >>> curves = make_curves(
        ...     [Setting("sgd", "sgd", "SGD", {"learning_rate": 0.1})],
        ...     {"accuracy": np.full((1, 2, 3, 1), 0.5)},
        ...     seeds=[0, 1],
        ...     task_ends=[10, 15],
        ...     eval_updates=[5, 10, 15],
        ...     attrs={"benchmark": "mine"},
        ... )
        >>> dict(curves.accuracy.sizes)
        {'setting': 1, 'seed': 2, 'eval_update': 3, 'eval_task': 1}
    """
    updates = {
        "task_end": check_updates("task_ends", task_ends, least=1),
        "eval_update": check_updates("eval_updates", eval_updates),
        "seen_update": check_updates("seen_updates", seen_updates, may_be_empty=True),
    }
    ends = updates["task_end"]
    check_evaluations(updates)
    check_settings(settings)
    score = attrs.get("score", "accuracy")
    arrays = {name: np.asarray(array) for name, array in records.items() if array is not None}
    sizes = {
        "setting": len(settings),
        "seed": len(check_seeds(seeds)),
        "update": int(ends[-1]),
        "eval_update": len(updates["eval_update"]),
        "seen_update": len(updates["seen_update"]),
        "group": len(attrs.get("gain_names", ())),
    }
    check_records(arrays, sizes, len(ends), score)

    update = np.arange(1, ends[-1] + 1)
    coords: dict[str, Any] = {
        "setting": [row.label for row in settings],
        "seed": np.asarray(seeds, np.int64),
        "update": update,
        **updates,
        "eval_task": np.arange(1, arrays["accuracy"].shape[-1] + 1),
        "method": ("setting", [row.method for row in settings]),
        "title": ("setting", [row.title for row in settings]),
        "task": ("update", np.searchsorted(ends, update) + 1),
        **swept_coordinates(settings),
    }
    if "gains" in arrays:
        coords["group"] = list(attrs["gain_names"])
    diverged = (ROWS, _diverged_update(arrays, updates["eval_update"]))
    return xr.Dataset(
        {name: (DIMS[name], array) for name, array in arrays.items()}
        | {"diverged_update": diverged},
        coords=coords,
        attrs=_attributes(attrs, settings, seeds, score),
    )


def check_settings(settings: Sequence[Setting]) -> None:
    """Raise unless settings are valid rows of curves.

    Args:
        settings: The rows.

    Raises:
        ValueError: If there is none, labels repeat, or a swept hyperparameter has a name that is
            reserved in curves.
    """
    labels = [row.label for row in settings]
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"settings must have different labels, at least one: got {labels}")
    texts = [text for row in settings for text in row[:3]]
    if wrong := [text for text in texts if not isinstance(text, str) or not text]:
        raise ValueError(f"label, method and title of a setting must be text: got {wrong[0]!r}")
    if unfit := [text for text in texts if any(category(c) == "Cc" for c in text)]:
        raise ValueError(f"labels must have no control characters: got {unfit[0]!r}")
    columns = {f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")}
    if taken := sorted((RESERVED | columns) & {name for row in settings for name in row.swept}):
        raise ValueError(
            f"a swept hyperparameter must not be called {taken[0]!r}, which is reserved "
            "in curves: give the argument of the method another name"
        )


def swept_coordinates(settings: Sequence[Setting]) -> dict[str, tuple[str, list[Any]]]:
    """Return a coordinate over settings for each swept hyperparameter.

    Args:
        settings: The rows.
    """
    names = dict.fromkeys(name for row in settings for name in row.swept)
    columns: dict[str, list[Any]] = {
        name: [
            _number(row.hyperparameters[name]) if name in row.swept else np.nan for row in settings
        ]
        for name in names
    }
    for name, values in columns.items():
        if any(isinstance(value, str) for value in values):
            columns[name] = [_as_text(value) for value in values]
    return {name: ("setting", values) for name, values in columns.items()}


def _number(value: Any) -> float | str:
    """Return a hyperparameter as a coordinate: "no bound" is infinite, a schedule its name."""
    if value is None:
        return np.inf
    if isinstance(value, Mapping):
        return str(value["schedule"])
    return str(value.name) if hasattr(value, "name") else float(value)


def _as_text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:g}"


def _attributes(
    attrs: Mapping[str, Any], settings: Sequence[Setting], seeds: Sequence[int], score: str
) -> dict[str, Any]:
    benchmark = attrs.get("benchmark")
    if not isinstance(benchmark, str) or not isinstance(score, str):
        raise ValueError(f"benchmark and score must be names: got {benchmark!r} and {score!r}")
    rows = [{**row._asdict(), "swept": list(row.swept)} for row in settings]
    given = {"benchmark": benchmark, "settings": rows, "seeds": list(map(int, seeds))}
    spec = {**given, **attrs.get("spec", {})}
    labels = [row["label"] for row in spec["settings"]]
    if labels != [row.label for row in settings] or list(spec["seeds"]) != given["seeds"]:
        raise ValueError(
            f"spec must describe these curves: it has the settings {labels} and the seeds "
            f"{spec['seeds']}"
        )
    return {
        "format": FORMAT,
        "benchmark": benchmark,
        "score": score,
        "spec": to_json("spec", spec),
        "environment": to_json("environment", attrs.get("environment", {})),
        "wall_time_seconds": float(attrs.get("wall_time_seconds", 0)),
    }


def to_json(name: str, value: Mapping[str, Any]) -> str:
    """Return JSON text, with NumPy numbers and arrays as plain numbers and lists.

    Args:
        name: Name of the value, for the message.
        value: The value to write.

    Raises:
        ValueError: If it is not JSON-serializable.
    """

    def plain(item: Any) -> Any:
        if hasattr(item, "tolist"):
            return item.tolist()
        raise ValueError(f"{name} must be JSON-serializable: got {item!r}")

    return json.dumps(value, default=plain)


def _diverged_update(arrays: Mapping[str, np.ndarray], eval_updates: np.ndarray) -> np.ndarray:
    """Return the first update (settings, seeds) with a non-finite loss, or 0."""
    found = np.zeros(arrays["accuracy"].shape[:2], np.int32)
    if "eval_loss" in arrays:
        bad = ~np.isfinite(arrays["eval_loss"]).all(axis=-1)
        if "train_loss" in arrays:
            # The training loss precedes its update, so divergence at the last update shows in the
            # last evaluation only; at any other, it shows in the training loss, too.
            bad[..., :-1] = False
        found = np.where(bad.any(axis=-1), np.maximum(eval_updates[bad.argmax(axis=-1)], 1), 0)
    if "train_loss" in arrays:
        bad = ~np.isfinite(arrays["train_loss"])
        found = np.where(bad.any(axis=-1), bad.argmax(axis=-1) + 1, found)
    bad = np.isnan(arrays["accuracy"]).any(axis=-1) & (found == 0)[..., None]
    found = np.where(bad.any(axis=-1), np.maximum(eval_updates[bad.argmax(axis=-1)], 1), found)
    return found.astype(np.int32)
