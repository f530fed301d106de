"""The numbers that are told about a run or a sweep: every one is computed from its curves.

A run has one row per method, a sweep one per setting. :mod:`gainjax.report` shows these tables to
readers, :mod:`gainjax.show.plots` draws them.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves.dataset import rows_dimension, swept_names, task_ends
from gainjax.metrics import Convention, mean_curve_metrics, summarize
from gainjax.statistics import bootstrap_interval, frontier, holm, paired_difference

Best = Literal["method", "any"]

COMPARED = ("avg_sg", "min_acc", "anytime_accuracy", "final_accuracy")
TOLERANCE = 0.005
_ROUNDING = 1e-12


def table(dataset: xr.Dataset, convention: Convention | None = None) -> pd.DataFrame:
    """Return the metrics of each method or setting: mean and 95 % bootstrap interval over seeds.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them, or a sweep.
        convention: "rodriguez-garcia" for the metrics of task 1, "de-lange" for those of all tasks,
            None for whatever was evaluated.

    Returns:
        One row per method; of a sweep one row per setting, with its ``method`` and swept
        hyper-parameters first. For each metric M of :func:`gainjax.metrics.summarize` the columns
        M, M_low and M_high (NaN for a single seed), accuracies as fractions; ``recovered``, the
        fraction of switches after which accuracy on task 1 came back; ``avg_sg_mean_curve`` and
        ``avg_sg_mean_curve_error``, the gap of the seed-averaged curve; ``frontier``, whether no
        seed diverged and no other row has both a smaller avg_sg and a higher anytime accuracy;
        ``seeds`` and ``diverged``, their numbers. A diverged seed counts with the accuracy that it
        has, 0, which may leave it no gap, and as one that never recovered.

    Raises:
        ValueError: If there is no switch, or the convention needs curves that are not there.

    Example:
        >>> from gainjax import run
        >>> rows = table(run("split-digits", ["sgd"], seeds=2, updates_per_task=10))
        >>> print(list(rows.index), *rows.columns[:3])
        ['sgd'] avg_sg avg_sg_low avg_sg_high

    Source:
        See :mod:`gainjax.metrics`.
    """
    dimension = rows_dimension(dataset)
    columns: dict[str, np.ndarray] = {}
    if dimension == "setting":
        columns |= {name: dataset[name].values for name in ("method", *swept_names(dataset))}
    diverged = dataset.diverged_update.transpose(dimension, "seed").values > 0
    for name, values in _per_seed(dataset, convention).items():
        if name == "recovered":
            columns[name] = np.where(diverged, 0, values).mean(axis=-1)
        else:
            interval = bootstrap_interval(values)
            columns |= {
                name: interval.mean,
                f"{name}_low": interval.low,
                f"{name}_high": interval.high,
            }
    if "avg_sg" in columns:
        first = dataset.accuracy.sel(eval_task=1).transpose(dimension, "seed", "eval_update")
        of_mean = mean_curve_metrics(first.values, dataset.eval_update.values, task_ends(dataset))
        columns["avg_sg_mean_curve"] = of_mean["avg_sg"].value
        columns["avg_sg_mean_curve_error"] = of_mean["avg_sg"].error
    if {"avg_sg", "anytime_accuracy"} <= columns.keys():
        gap = np.where(diverged.any(axis=-1), np.nan, columns["avg_sg"])
        columns["frontier"] = frontier(gap, columns["anytime_accuracy"])
    columns["seeds"] = np.full(dataset.sizes[dimension], dataset.sizes["seed"])
    columns["diverged"] = diverged.sum(axis=-1)
    return pd.DataFrame(columns, index=pd.Index(dataset[dimension].values.tolist(), name=dimension))


def comparison(
    dataset: xr.Dataset, reference: str | None = None, metrics: Sequence[str] = COMPARED
) -> pd.DataFrame:
    """Return the differences of methods to a reference, paired by seed.

    Args:
        dataset: Curves of at least two methods as :func:`gainjax.load` or :func:`gainjax.run`
            returns them, or a sweep.
        reference: Name of a method (of a sweep, a setting), or None for the first of "ngm-sgd", or
            the very first if there is none.
        metrics: Names of metrics of :func:`gainjax.metrics.summarize`.

    Returns:
        One row per other method. ``reference``, its name; for each metric M the columns M, the mean
        of method - reference, M_low and M_high, its 95 % bootstrap interval (NaN for a single
        seed), M_p, the p-value of the exact paired test, and M_p_holm, the same corrected for all
        tests of this table.

    Raises:
        ValueError: If there is nothing to compare with, or the reference or a metric is not there.

    Example:
        >>> from gainjax import run
        >>> curves = run("split-digits", ["sgd", "ngm-sgd"], seeds=2, updates_per_task=10)
        >>> rows = comparison(curves, metrics=["avg_sg"])
        >>> print(*rows.index, *rows.columns)
        sgd reference avg_sg avg_sg_low avg_sg_high avg_sg_p avg_sg_p_holm

    Source:
        See :mod:`gainjax.statistics`.
    """
    dimension = rows_dimension(dataset)
    names = dataset[dimension].values.tolist()
    if len(names) < 2:
        raise ValueError(f"dataset must hold at least two {dimension}s to compare: got {names}")
    if reference is None:
        methods = dataset.method.values.tolist()
        reference = names[methods.index("ngm-sgd") if "ngm-sgd" in methods else 0]
    if reference not in names:
        raise ValueError(f"reference must be one of {', '.join(names)}: got {reference!r}")
    per_seed = _per_seed(dataset, None)
    if isinstance(metrics, str) or not metrics or not set(metrics) <= per_seed.keys():
        raise ValueError(f"metrics must be a list of {', '.join(per_seed)}: got {metrics!r}")
    chosen = names.index(reference)
    others = np.arange(len(names)) != chosen
    differences = {
        name: paired_difference(per_seed[name][others], per_seed[name][chosen]) for name in metrics
    }
    corrected = holm(np.stack([difference.p_value for difference in differences.values()]))
    columns: dict[str, object] = {"reference": reference}
    for (name, difference), p_holm in zip(differences.items(), corrected, strict=True):
        columns |= {
            name: difference.mean,
            f"{name}_low": difference.low,
            f"{name}_high": difference.high,
            f"{name}_p": difference.p_value,
            f"{name}_p_holm": p_holm,
        }
    return pd.DataFrame(columns, index=pd.Index(np.array(names)[others], name=dimension))


def ranking(
    dataset: xr.Dataset, tolerance: float = TOLERANCE, best: Best = "method"
) -> pd.DataFrame:
    r"""Return the settings of a sweep, and which one of each method to take.

    .. math:: \arg\min_s \text{avg-SG}(s) \quad\text{subject to}\quad
        \text{anytime}(s) \ge \text{best anytime} - \text{tolerance}

    A small gap alone says nothing, since a network that does not learn has none: a setting must
    first reach the accuracy that can be had. One with a diverged seed is never chosen. Choice and
    numbers come from the same seeds, so the gap of a chosen setting is a little optimistic, the
    more so the more settings a method has.

    Args:
        dataset: A sweep.
        tolerance: How far, as a fraction, anytime accuracy may be below the best.
        best: "method": the best of the setting's own method; "any": the best of any method, so that
            a method may have no setting that is good enough, and none is chosen.

    Returns:
        One row per setting with ``method``, its hyper-parameters, then ``avg_sg``, ``min_acc``,
        ``anytime_accuracy`` and ``final_accuracy``, each with _low and _high, as in :func:`table`,
        ``chosen``, ``frontier``, ``seeds`` and ``diverged``. Methods keep their order; of each, the
        settings within the tolerance come first, by avg_sg, then the others, by accuracy.

    Raises:
        ValueError: If the dataset is no sweep, has no accuracy on seen tasks or no switch, or an
            option is out of its range.

    Source:
        The choice at equal accuracy is ours.
    """
    if rows_dimension(dataset) != "setting":
        raise ValueError("dataset must be a sweep: got a run without settings; use table instead")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a fraction in [0, 1): got {tolerance!r}")
    if best not in get_args(Best):
        raise ValueError(f"best must be one of {get_args(Best)}: got {best!r}")
    if not dataset.sizes["seen_update"]:
        raise ValueError("dataset must hold seen_accuracy, which settings are chosen by: got none")
    rows = table(dataset, "rodriguez-garcia")
    gap, accuracy = rows["avg_sg"], rows["anytime_accuracy"].where(rows["diverged"] == 0, 0.0)
    reached = accuracy.groupby(rows["method"]).transform("max")
    if best == "any":
        reached[:] = accuracy.max()
    within = (reached - accuracy <= tolerance + _ROUNDING) & (rows["diverged"] == 0)
    order = np.lexsort(
        (-accuracy, gap.where(within, -accuracy), ~within, pd.factorize(rows["method"])[0])
    )
    rows, within = rows.iloc[order], within.iloc[order]
    rows = rows.assign(chosen=within & ~rows["method"].duplicated())
    shown = [f"{name}{end}" for name in COMPARED for end in ("", "_low", "_high")]
    settings = ["method", *swept_names(dataset)]
    return rows[[*settings, *shown, "chosen", "frontier", "seeds", "diverged"]]


def _per_seed(dataset: xr.Dataset, convention: Convention | None) -> dict[str, np.ndarray]:
    """Return the metrics of :func:`gainjax.metrics.summarize`, each of shape (rows, seeds)."""
    rows = (rows_dimension(dataset), "seed")
    seen = dataset.seen_accuracy.transpose(*rows, "seen_update").values
    return summarize(
        dataset.accuracy.transpose(*rows, "eval_update", "eval_task").values,
        dataset.eval_update.values,
        task_ends(dataset),
        seen if seen.size else None,
        convention=convention,
    )
