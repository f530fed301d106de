"""Tables of metrics computed from curves, with one row per setting.

:mod:`gainjax.show.sheets` formats these tables for readers, :mod:`gainjax.show.plots` draws them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves import (
    check_rows,
    difference,
    has,
    measure,
    spec_of,
    swept_names,
    task_ends,
)
from gainjax.metrics import ACCURACY, GAP, Convention, mean_curve_metrics
from gainjax.metrics.registry import of_convention
from gainjax.statistics import (
    BOUNDS,
    frontier,
    holm,
    mean_interval,
    paired_difference,
)

Best = Literal["method", "any"]

TOLERANCE = 0.005
LEAST_SEEDS = 6  # with fewer the exact paired test cannot reach 5 %
OF_MEAN = f"{GAP}_mean_curve"
FLOOR, EXCESS = f"{GAP}_floor", f"{GAP}_excess"
_ROUNDING = 1e-12


def scale(score: str, values: pd.Series) -> float:
    """Return the unit of tolerances: 1 for fractions, else the range of the values.

    Args:
        score: Name of the score.
        values: The score of each setting.
    """
    return 1.0 if score == "accuracy" else float(values.max() - values.min())


def tolerated(tolerance: float, score: str) -> str:
    """Return a tolerance in words.

    Args:
        tolerance: As for :func:`gainjax.ranking`.
        score: Name of the score.
    """
    unit = "points" if score == "accuracy" else f"% of the range of {score}"
    return f"{100 * tolerance:g} {unit}"


def with_bounds(names: Iterable[str]) -> list[str]:
    """Return the columns of metrics with those of the bounds of their intervals.

    Args:
        names: The metrics.
    """
    return [f"{name}{end}" for name in names for end in BOUNDS]


def compared(convention: Convention) -> list[str]:
    """Return the metrics that comparisons and rankings include.

    Args:
        convention: The convention; metrics that belong to no convention are always included.
    """
    return [name for name, metric in of_convention(convention).items() if metric.compared]


def table(
    curves: xr.Dataset, convention: Convention | None = None, floor: xr.Dataset | None = None
) -> pd.DataFrame:
    """Return the metrics of each setting: mean and 95 % confidence interval over seeds.

    Args:
        curves: Curves of a run, a sweep or from elsewhere.
        convention: "rodriguez-garcia" for the metrics of task 1, "de-lange" for those of all tasks,
            None for whatever was evaluated.
        floor: Curves of the same settings and seeds under ``regime="no-switch"``, or None.

    Returns:
        One row per setting, with its ``method`` and swept hyperparameters first. For each metric M
        of :data:`gainjax.metrics.METRICS` that the curves allow, the columns M, M_low and M_high
        (NaN for a single seed, or where a required variable was not recorded), accuracies as
        fractions; ``avg_sg_mean_curve`` and ``avg_sg_mean_curve_error``, the gap of the
        seed-averaged curve; with ``floor``, ``avg_sg_floor``, the gap without a switch, and
        ``avg_sg_excess``, the gap above it, paired by seed, both with their intervals;
        ``frontier``, whether no seed diverged and no other row has both a smaller avg_sg and a
        higher anytime accuracy; ``seeds`` and ``diverged``, the numbers of all and of diverged
        seeds. A diverged seed counts with its recorded accuracy, 0 in a run, which may leave it no
        gap, and as one that never recovered; with another score it is left out.

    Raises:
        ValueError: If there is no switch, the convention needs missing curves, or the floor has
            other settings, seeds or task lengths.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = np.array([[[0.9], [0.3], [0.8]], [[0.8], [0.6], [0.8]]])  # two seeds
        >>> curves = from_curves({"er": accuracy}, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> print(table(curves)[["avg_sg", "avg_sg_low", "avg_sg_high"]].round(3))
                 avg_sg  avg_sg_low  avg_sg_high
        setting
        er        0.458      -2.189        3.105

    References:
        See :mod:`gainjax.metrics`.
    """
    check_rows(curves)
    columns: dict[str, Any] = {
        name: curves[name].values for name in ("method", *swept_names(curves))
    }
    diverged = curves.diverged_update.transpose("setting", "seed").values > 0
    for name, values in measure(curves, convention).items():
        mean, low, high = _by_row(mean_interval, 3, values)
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    if GAP in columns:
        first = curves.accuracy.sel(eval_task=1).transpose("setting", "seed", "eval_update")
        accuracy = np.nan_to_num(first.values)
        of_mean = mean_curve_metrics(accuracy, curves.eval_update.values, task_ends(curves))[GAP]
        unknown = np.isnan(first.values).any(axis=(1, 2))
        columns[OF_MEAN] = np.where(unknown, np.nan, of_mean.value)
        columns[f"{OF_MEAN}_error"] = np.where(unknown, np.nan, of_mean.error)
        if floor is not None:
            columns |= _over_floor(curves, floor)
    if {GAP, ACCURACY} <= columns.keys():
        gap = np.where(diverged.any(axis=-1), np.nan, columns[GAP])
        columns["frontier"] = frontier(gap, columns[ACCURACY])
    columns["seeds"] = np.full(curves.sizes["setting"], curves.sizes["seed"])
    columns["diverged"] = diverged.sum(axis=-1)
    return pd.DataFrame(columns, index=pd.Index(curves["setting"].values.tolist(), name="setting"))


def _over_floor(curves: xr.Dataset, floor: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the gap without a switch, and the excess of the gap over it."""
    check_rows(floor)
    for dim in ("setting", "seed"):
        missing = sorted(set(curves[dim].values.tolist()) - set(floor[dim].values.tolist()))
        if missing:
            raise ValueError(
                f"floor must have the {dim}s of the curves: {', '.join(map(str, missing))} is "
                'missing. Run the same with regime="no-switch"'
            )
    ends, found = (task_ends(one).tolist() for one in (curves, floor))
    if ends != found:
        raise ValueError(f"floor must have tasks of the same length, up to {ends}: got {found}")
    _check_without_switch(curves, floor)
    same = floor.sel(setting=curves["setting"].values, seed=curves["seed"].values)
    gap, without = (measure(one)[GAP] for one in (curves, same))
    columns: dict[str, np.ndarray] = {}
    for name, values in ((FLOOR, without), (EXCESS, gap - without)):
        mean, low, high = _by_row(mean_interval, 3, values)
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return columns


def _check_without_switch(curves: xr.Dataset, floor: xr.Dataset) -> None:
    """Raise if runs describe themselves and one is not the other without switches."""
    specs = spec_of(curves), spec_of(floor)
    if not all("protocol" in spec for spec in specs):  # curves from elsewhere know little
        return
    if specs[1]["protocol"]["regime"] != "no-switch":
        raise ValueError(
            'floor must be of a run with regime="no-switch": got '
            f"regime={specs[1]['protocol']['regime']!r}"
        )
    labels = set(curves["setting"].values.tolist())
    ours, theirs = (
        {name: spec.get(name) for name in ("benchmark", "model", "data", "modulate")}
        | {"protocol": {k: v for k, v in spec["protocol"].items() if k != "regime"}}
        | {
            row["label"]: {"method": row["method"], **row["hyperparameters"]}
            for row in spec["settings"]
            if row["label"] in labels
        }
        for spec in specs
    )
    if ours != theirs:
        raise ValueError(
            'floor must be of the same run with regime="no-switch": they differ in '
            f"{difference(ours, theirs)}"
        )


def comparison(
    curves: xr.Dataset, reference: str | None = None, metrics: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the differences of settings from a reference, paired by seed.

    Args:
        curves: Curves of at least two settings.
        reference: Label of a setting, or None for the first one.
        metrics: Names of metrics of :data:`gainjax.metrics.METRICS`, or None for the compared ones
            of task 1 and of seen tasks.

    Returns:
        One row per other setting, with ``reference``, its label, and for each metric M the columns
        M, the mean of setting - reference, M_low and M_high, its 95 % confidence interval (NaN for
        one seed), M_p, the p-value of the paired test, and M_p_holm, the same corrected for all
        tests of this table. With fewer than 6 seeds the p-values are NaN: such a test cannot
        reach 5 %, whatever the difference.

    Raises:
        ValueError: If there is nothing to compare with, or the reference or a metric is missing.

    Example:
        >>> from gainjax import from_curves
        >>> er, ewc = [[0.9], [0.3], [0.8]], [[0.9], [0.6], [0.9]]
        >>> when = {"eval_updates": [10, 12, 20], "task_ends": [10, 20]}
        >>> rows = comparison(from_curves({"er": er, "ewc": ewc}, **when), metrics=["avg_sg"])
        >>> print(*rows.index, *rows.columns)
        ewc reference avg_sg avg_sg_low avg_sg_high avg_sg_p avg_sg_p_holm

    References:
        See :mod:`gainjax.statistics`.
    """
    check_rows(curves)
    names = curves["setting"].values.tolist()
    if len(names) < 2:
        raise ValueError(f"curves must hold at least two settings to compare: got {names}")
    reference = names[0] if reference is None else reference
    if reference not in names:
        raise ValueError(f"reference must be one of {', '.join(names)}: got {reference!r}")
    values = measure(curves)
    if metrics is None:
        metrics = [name for name in compared("rodriguez-garcia") if name in values]
    if isinstance(metrics, str) or not metrics or not set(metrics) <= values.keys():
        raise ValueError(f"metrics must be a list of {', '.join(values)}: got {metrics!r}")
    chosen = names.index(reference)
    others = np.arange(len(names)) != chosen
    found = {
        name: _by_row(
            paired_difference,
            4,
            values[name][others],
            np.broadcast_to(values[name][chosen], values[name][others].shape),
        )
        for name in metrics
    }
    for name, parts in found.items():
        pairs = (~np.isnan(values[name][others] - values[name][chosen])).sum(axis=-1)
        found[name] = (*parts[:3], np.where(pairs < LEAST_SEEDS, np.nan, parts[3]))
    corrected = holm(np.stack([p_value for *_, p_value in found.values()]))
    columns: dict[str, Any] = {"reference": reference}
    for (name, (mean, low, high, p_value)), p_holm in zip(found.items(), corrected, strict=True):
        columns |= {
            name: mean,
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_p": p_value,
            f"{name}_p_holm": p_holm,
        }
    return pd.DataFrame(columns, index=pd.Index(np.array(names)[others], name="setting"))


def ranking(
    curves: xr.Dataset, tolerance: float = TOLERANCE, best: Best = "method"
) -> pd.DataFrame:
    r"""Return the settings of a sweep, with one chosen for each method.

    .. math:: \arg\min_s \text{avg-SG}(s) \quad\text{subject to}\quad
        \text{anytime}(s) \ge \text{best anytime} - \text{tolerance}

    A small gap alone means nothing, since a network that does not learn has none: a setting must
    first reach an attainable accuracy. A setting with a diverged seed is never chosen. The choice
    and the numbers come from the same seeds, so the gap of a chosen setting is slightly
    optimistic, and more so for methods with more settings.

    Args:
        curves: A sweep.
        tolerance: How far, as a fraction, anytime accuracy may be below the best; for another
            score, whose unit is unknown, as a fraction of its range over the settings.
        best: "method": the best of the setting's own method; "any": the best of any method, so that
            a method may have no sufficiently accurate setting, and none is chosen.

    Returns:
        One row per setting with ``method``, its hyperparameters, then the metrics of comparisons
        (avg_sg, min_acc, anytime_accuracy, ...), each with _low and _high, as in :func:`table`,
        ``chosen``, ``frontier``, ``seeds`` and ``diverged``. Methods keep their order; in each, the
        settings within the tolerance come first, by avg_sg, then the others, by accuracy.

    Raises:
        ValueError: If the dataset is not a sweep, has no accuracy on seen tasks or no switch, or an
            option is out of range.

    References:
        The choice at equal accuracy is ours.
    """
    check_rows(curves)
    if not (swept := swept_names(curves)):
        raise ValueError("curves must be a sweep: nothing varies in it; use table instead")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a fraction in [0, 1): got {tolerance!r}")
    if best not in get_args(Best):
        raise ValueError(f"best must be one of {get_args(Best)}: got {best!r}")
    if not has(curves, "seen_accuracy"):
        raise ValueError("curves must hold seen_accuracy, by which settings are chosen: got none")
    rows = table(curves, "rodriguez-garcia")
    worst = 0.0 if curves.attrs["score"] == "accuracy" else -np.inf
    accuracy = rows[ACCURACY].where(rows["diverged"] == 0, worst)
    gap = rows[GAP].fillna(np.inf)  # without a score, or with a negative one
    reached = accuracy.groupby(rows["method"]).transform("max")
    if best == "any":
        reached[:] = accuracy.max()
    allowed = tolerance * scale(curves.attrs["score"], rows[ACCURACY])
    within = (reached - accuracy <= allowed + _ROUNDING) & (rows["diverged"] == 0)
    order = np.lexsort(
        (-accuracy, gap.where(within, -accuracy), ~within, pd.factorize(rows["method"])[0])
    )
    rows, within = rows.iloc[order], within.iloc[order]
    rows = rows.assign(chosen=within & ~rows["method"].duplicated())
    names = [name for name in compared("rodriguez-garcia") if name in rows]
    shown = with_bounds(names)
    return rows[["method", *swept, *shown, "chosen", "frontier", "seeds", "diverged"]]


def _by_row(
    statistic: Callable[..., Any], parts: int, *samples: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the parts of a statistic for rows of seeds; seeds without a value are left out."""
    known = np.logical_and.reduce([~np.isnan(sample) for sample in samples])
    if known.all():
        return tuple(statistic(*samples))
    found = np.full((parts, len(known)), np.nan)
    for row, seeds in enumerate(known):
        if seeds.any():
            found[:, row] = statistic(*(sample[row, seeds] for sample in samples))
    return tuple(found)
