"""The metrics of labeled curves, for each setting and seed."""

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves.reading import (
    check_every_update,
    check_rows,
    has,
    recorded,
    swept_names,
    task_ends,
)
from gainjax.metrics import Convention, Metric
from gainjax.metrics.registry import of_convention


def per_seed(curves: xr.Dataset) -> pd.DataFrame:
    """Return the metrics of each setting and seed, for custom statistics.

    Args:
        curves: Curves of a run, a sweep or from elsewhere.

    Returns:
        One row per setting and seed: ``setting``, ``method``, the swept hyperparameters, ``seed``,
        then each metric of :data:`gainjax.metrics.METRICS` that the curves allow, NaN where a
        required variable was not recorded, and ``diverged_update``, 0 if the seed did not
        diverge.

    Raises:
        ValueError: If there is no switch.

    Example:
        >>> from gainjax.curves import from_curves
        >>> accuracy = np.array([[[0.9], [0.3], [0.8]], [[0.8], [0.6], [0.8]]])  # two seeds
        >>> curves = from_curves({"er": accuracy}, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> print(per_seed(curves)[["setting", "seed", "avg_sg"]].round(3).to_string(index=False))
        setting  seed  avg_sg
             er     0   0.667
             er     1   0.250
    """
    check_rows(curves)
    settings, seeds = curves.sizes["setting"], curves.sizes["seed"]
    of_setting = {
        name: np.repeat(curves[name].values, seeds)
        for name in ("setting", "method", *swept_names(curves))
    }
    diverged = curves["diverged_update"].transpose("setting", "seed").values
    return pd.DataFrame(
        {
            **of_setting,
            "seed": np.tile(curves["seed"].values, settings),
            **{name: values.ravel() for name, values in measure(curves).items()},
            "diverged_update": diverged.ravel(),
        }
    )


def measure(curves: xr.Dataset, convention: Convention | None = None) -> dict[str, np.ndarray]:
    """Return every metric that curves allow, each of shape (settings, seeds).

    Args:
        curves: Curves.
        convention: Leave out the metrics of the other convention; None for all.

    Returns:
        Arrays by the name of the metric, NaN where a required variable was not recorded.

    Raises:
        ValueError: If there is no switch, the convention is unknown, or it needs all tasks and only
            the first was evaluated.
    """
    check_rows(curves)
    check_every_update(curves)
    ends = task_ends(curves)
    if len(ends) < 2:
        raise ValueError(
            "curves must have at least 2 tasks: with one task there is no switch, and no gap"
        )
    metrics = of_convention(convention)
    if convention == "de-lange" and curves.sizes["eval_task"] < len(ends):
        raise ValueError(
            f"accuracy must be of all {len(ends)} tasks for the convention de-lange: got "
            f"{curves.sizes['eval_task']}; evaluate all tasks (eval_tasks='all')"
        )
    arrays, known = _inputs(curves)
    shared = {
        "eval_updates": curves["eval_update"].values,
        "task_ends": ends,
        "seen_updates": curves["seen_update"].values,
    }
    diverged = curves["diverged_update"].transpose("setting", "seed").values > 0
    if curves.attrs["score"] != "accuracy":  # its worst value is unknown
        known["first_accuracy"] = known["first_accuracy"] & ~diverged
    found = {}
    for name, metric in metrics.items():
        values = _measure(metric, arrays, known, shared, diverged)
        if values is None:
            continue
        if metric.when_diverged is not None:
            values = np.where(diverged & ~np.isnan(values), metric.when_diverged, values)
        found[name] = values
    return found


def _inputs(curves: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return arrays (settings, seeds, ...) by name, and the rows in which they were recorded."""
    names = ("eval_loss", "seen_accuracy", "train_loss", "uncertainty", "gain")
    variables = {name: curves[name] for name in names if has(curves, name)}
    variables["first_accuracy"] = curves["accuracy"].sel(eval_task=1)
    if curves.sizes["eval_task"] == curves.sizes["task_end"]:
        variables["accuracy"] = curves["accuracy"]
    arrays = {
        name: variable.transpose(
            "setting", "seed", *(dim for dim in variable.dims if str(dim).endswith("update")), ...
        ).values
        for name, variable in variables.items()
    }
    return arrays, {name: recorded(variable) for name, variable in variables.items()}


def _measure(
    metric: Metric,
    arrays: dict[str, np.ndarray],
    known: dict[str, np.ndarray],
    shared: dict[str, np.ndarray],
    diverged: np.ndarray,
) -> np.ndarray | None:
    """Return a metric of all rows with everything that it needs; None if nobody recorded that."""
    needed = [name for name in metric.needs if name not in shared]
    if not all(name in arrays for name in needed):
        return None
    complete = np.logical_and.reduce([known["first_accuracy"], *(known[name] for name in needed)])
    if not complete.any():
        # A seed that diverged may have no value although it was recorded: then it is unknown.
        there = np.logical_and.reduce([known[name] | diverged for name in needed])
        return np.full(complete.shape, np.nan) if there.any() else None
    if complete.all():
        return metric({**arrays, **shared})
    rows = {name: array[complete] for name, array in arrays.items()}
    values = np.full(complete.shape, np.nan)
    values[complete] = metric({**rows, **shared})
    return values
