r"""The tonic level of the gain: where it settles in each task, and whether it follows complexity.

At rest the gain is at its fixed point for the mean uncertainty,

.. math:: g^* = g_0 + \frac{\eta\, \bar H}{1 - \gamma}

so a tonic level that rises with the number of classes only shows that the entropy of the trained
network does: the level contains no information beyond uncertainty. :func:`tonic_levels` returns
both.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import page_trend_test

from gainjax.analysis.networks import Network, Subject
from gainjax.analysis.recorded import ends_of_whole, recorded_gains
from gainjax.curves import task_ends
from gainjax.statistics import mean_interval, paired_permutation_test

LAST_PART = 0.25  # fraction of a task whose mean is its tonic level
_LEAST_TASKS = 3  # for Page's test


def tonic_levels(curves: xr.Dataset, part: float = LAST_PART) -> pd.DataFrame:
    """Return where the gain settled in each task, one row per setting, seed and task.

    Args:
        curves: Curves with a gain, as for :func:`gainjax.analysis.recorded_gains`.
        part: Last part of each task to average, in (0, 1]; 1 for the mean over the task, as in the
            paper, which includes the burst.

    Returns:
        ``setting``, ``seed``, ``task`` (from 1), ``level``, the mean gain; ``uncertainty``, the
        mean over the updates that drove it, each one update earlier, in nats; and
        ``steady_state``, the fixed point for that uncertainty.

    Raises:
        ValueError: If ``part`` is out of range, or as :func:`gainjax.analysis.recorded_gains`.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run(
        ...     "split-digits", ["ngm-sgd"], 2, updates_per_task=40, progress=False
        ... )
        >>> rows = tonic_levels(curves)
        >>> len(rows), bool((rows["level"] / rows["steady_state"]).between(0.9, 1.1).all())
        (10, True)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: tonic gain and task complexity.
    """
    if not 0 < part <= 1:
        raise ValueError(f"part must be in (0, 1]: got {part!r}")
    ends = ends_of_whole(curves)
    starts = np.append(0, ends[:-1])
    rows = []
    for label, recorded in recorded_gains(curves).items():
        for task, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
            first = end - max(1, int(part * (end - start)))
            level = recorded.gain[:, first:end].mean(axis=1)
            drive = recorded.uncertainty[:, max(0, first - 1) : max(1, end - 1)].mean(axis=1)
            columns = {
                "setting": label,
                "seed": recorded.seeds,
                "task": task,
                "level": level,
                "uncertainty": drive,
                "steady_state": np.asarray(recorded.dynamics.fixed_point(drive), np.float64),
            }
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def tonic_trend(levels: pd.DataFrame, margin: float = 0.1, measure: str = "level") -> pd.DataFrame:
    r"""Test whether the tonic level rises over the tasks, and whether it is flat.

    The statistic is the fitted change from the first to the last task relative to the mean level,
    one number per seed j:

    .. math:: c_j = \frac{(K - 1)\, \mathrm{slope}_j}{\bar g_j}

    Args:
        levels: Rows of :func:`tonic_levels`, or of :func:`tonic_comparison`, with at least 2 tasks.
        margin: Largest change that counts as flat, > 0: .1 is 10 % of the level over the stream.
        measure: Column to test.

    Returns:
        One row per setting, and per benchmark if that is a column: ``change`` with its 95 %
        interval; ``p_change``, of the exact two-sided sign-flip test of no change, at least .0625
        with 5 seeds; ``p_rising``, of Page's exact test that levels rise in the order of the tasks
        against any order within a seed, NaN with fewer than 3 tasks; ``flat``, whether the change
        lies within the margin by two one-sided t tests at 5 % each (its 90 % interval does). The
        result may be neither flat nor rising, or both.

    Raises:
        ValueError: If there are fewer than 2 tasks, or the margin is not above 0.

    Example:
        >>> rows = [
        ...     {"setting": "ngm", "seed": s, "task": k, "level": 1 + 0.2 * k + 0.01 * s}
        ...     for s in range(5)
        ...     for k in range(1, 6)
        ... ]
        >>> row = tonic_trend(pd.DataFrame(rows)).iloc[0]
        >>> print(f"{row.change:.2f}, p = {row.p_rising:.1g}, flat: {row.flat}")
        0.49, p = 4e-11, flat: False

    References:
        Page 1963, Ordered hypotheses for multiple treatments. Schuirmann 1987, two one-sided tests.
        The margin is ours and must be reported with the result.
    """
    if not margin > 0:
        raise ValueError(f"margin must be > 0: got {margin!r}")
    keys = [name for name in ("benchmark", "setting") if name in levels]
    rows = []
    for names, group in levels.groupby(keys, sort=False):
        table = group.pivot(index="seed", columns="task", values=measure).to_numpy(np.float64)
        tasks = table.shape[1]
        if tasks < 2:
            raise ValueError(f"levels must be of at least 2 tasks: got {tasks} for {names[-1]!r}")
        change = relative_change(table)
        mean, low, high = mean_interval(change)
        _, lower, upper = mean_interval(change, confidence=0.9)
        page = page_trend_test(table, method="exact").pvalue if tasks >= _LEAST_TASKS else np.nan
        rows.append({
            **dict(zip(keys, names, strict=True)), "tasks": tasks, "seeds": len(table),
            "change": float(mean), "change_low": float(low), "change_high": float(high),
            "p_change": float(paired_permutation_test(change, np.zeros_like(change))),
            "p_rising": float(page), "margin": margin,
            "flat": bool(-margin < lower and upper < margin),
        })  # fmt: skip
    return pd.DataFrame(rows)


def relative_change(levels: np.ndarray) -> np.ndarray:
    """Return the change of a fitted line from first to last, relative to the mean level.

    Args:
        levels: At least 2 levels in a row, such as those of tasks; shape (seeds, levels).

    Returns:
        One number per seed, shape (seeds,).

    Example:
        >>> relative_change(np.array([[1.8, 2.0, 2.2]])).round(3)
        array([0.2])
    """
    count = levels.shape[1]
    slope = np.polyfit(np.arange(count), levels.T, 1)[0]
    return (count - 1) * slope / levels.mean(axis=1)


def tonic_comparison(
    runs: Mapping[str, xr.Dataset],
    complexity: Mapping[str, Sequence[float]] | None = None,
    part: float = LAST_PART,
) -> pd.DataFrame:
    """Return the tonic levels of several benchmarks in one table.

    Args:
        runs: Curves by the name of the benchmark.
        complexity: For each benchmark a number per task, such as :func:`classes_seen`, or None.
        part: As for :func:`tonic_levels`.

    Returns:
        The rows of :func:`tonic_levels`, preceded by ``benchmark``, and ``complexity``.

    Raises:
        ValueError: If the complexity of a benchmark is missing or has another number of tasks.

    Example:
        >>> import gainjax
        >>> from gainjax.analysis import classes_seen
        >>> bench = gainjax.get_benchmark("split-digits")
        >>> curves = gainjax.run(bench, ["ngm-sgd"], 2, updates_per_task=10, progress=False)
        >>> table = tonic_comparison({"split": curves}, {"split": classes_seen(bench.load())})
        >>> table.groupby("task")["complexity"].first().tolist()
        [2, 4, 6, 8, 10]
    """
    tables = []
    for name, curves in runs.items():
        levels = tonic_levels(curves, part)
        if complexity is not None:
            tasks = len(task_ends(curves))
            if len(complexity.get(name, ())) != tasks:
                raise ValueError(
                    f"complexity of {name!r} must have a number for each of its {tasks} tasks: got "
                    f"{complexity.get(name)!r}"
                )
            levels["complexity"] = np.asarray(complexity[name])[levels["task"] - 1]
        levels.insert(0, "benchmark", name)
        tables.append(levels)
    return pd.concat(tables, ignore_index=True)


def held_out_uncertainty(subject: Subject, network: Network) -> jax.Array:
    """Return the mean uncertainty of a network on the test set of each task.

    It is the benchmark's own, by default the predictive entropy.

    Args:
        subject: The benchmark, with its data and its model.
        network: One network; map over a batch of them with :func:`jax.vmap`.

    Returns:
        Uncertainties, by default in nats, shape (K,).

    Raises:
        ValueError: If the network was trained in the form "model", or the benchmark has no
            uncertainty.

    Example:
        >>> import gainjax
        >>> from gainjax.analysis import networks
        >>> bench = gainjax.get_benchmark("split-digits").replace(updates_per_task=5)
        >>> _, states = gainjax.run(bench, ["ngm-sgd"], 2, snapshots=[25])
        >>> last = jax.tree.map(lambda x: x[:, -1], networks(states)["ngm-sgd"])
        >>> subject = Subject(bench)
        >>> jax.vmap(lambda network: held_out_uncertainty(subject, network))(last).shape
        (2, 5)
    """
    uncertainty = subject.bench.goal.uncertainty
    if uncertainty is None:
        raise ValueError(
            f"the benchmark {subject.bench.name} must have an uncertainty: it has none"
        )
    found = [
        uncertainty(subject.outputs(network, subject.test(task).inputs))
        for task in range(subject.tasks)
    ]
    return jnp.stack(found)
