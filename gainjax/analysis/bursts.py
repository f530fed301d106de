r"""Phasic bursts of the gain after a task switch: height, time to peak and decay.

*Decay* has two meanings that must not be confused. The excess x = g - g0 obeys

.. math:: x_{t+1} = \gamma\, x_t + \eta H_t

so its **homogeneous** part decays with the time constant -1/ln γ, exactly and by construction:
:func:`recovered_decay` finds γ from the recorded gain and uncertainty. A plot shows the **visible**
decay of the burst, which is slower, because uncertainty does not vanish after a switch but fades
over some updates: where H falls as exp(-t/τ_H) with τ_H above -1/ln γ, the gain eventually falls
with τ_H. :func:`measure_bursts` fits both time constants.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from gainjax.analysis.recorded import RecordedGain, ends_of_whole, recorded_gains
from gainjax.analysis.tonic import LAST_PART
from gainjax.checks import check_integer
from gainjax.gain import GainDynamics
from gainjax.statistics import interval_columns

_BEFORE = 10  # updates before a switch whose mean is the starting level of a burst
_FITTED = 0.2  # fraction of the height down to which the decay of a burst is fitted
_LEAST_POINTS = 4  # for a fit
_LONGEST = 10  # largest time constant, in lengths of the fitted interval
MEASURES = (
    "before", "peak", "height", "floor", "time_to_peak", "tonic", "area", "time_constant",
    "uncertainty_time_constant", "predicted",
)  # fmt: skip


class Decay(NamedTuple):
    """The decay found in a recorded gain."""

    decay: float
    largest_residual: float  # distance of the recorded gain from the dynamics with that decay


def free_time_constant(dynamics: GainDynamics) -> float:
    r"""Return the time constant with which a gain decays without uncertainty, in updates.

    .. math:: \tau = -\frac{1}{\ln \gamma}

    Args:
        dynamics: Dynamics of plain numbers.

    Returns:
        The time constant; 0 if the decay is 0.

    Example:
        >>> print(f"{free_time_constant(GainDynamics(decay=0.9)):.2f}")
        9.49
    """
    decay = float(np.asarray(dynamics.decay))
    return -1 / np.log(decay) if decay > 0 else 0.0


def recovered_decay(gain: ArrayLike, uncertainty: ArrayLike, dynamics: GainDynamics) -> Decay:
    r"""Find the decay in a recorded gain, from the part that uncertainty does not explain.

    .. math:: g_{t+1} - g_0 - \eta H_t = \gamma\, (g_t - g_0)

    by least squares over all updates. A gain that was recorded with its uncertainty yields the
    decay it ran with, to the precision of storage: a check of the curves themselves.

    Args:
        gain: Gain of the forward pass of each update, shape (N,) or (seeds, N).
        uncertainty: Uncertainty of the same forward passes, nats, of the same shape.
        dynamics: The presumed dynamics of the gain. Their decay is not used.

    Returns:
        The decay, and the largest distance of a recorded gain from the value that it predicts.
        Updates at which ``max_gain`` limited the gain carry no information and are left out.

    Raises:
        ValueError: If the shapes differ, or the gain never leaves its baseline.

    Example:
        >>> found = recovered_decay([1.0, 1.8, 1.9], [2.0, 0.75, 0.0], GainDynamics(0.9, 1.0, 0.4))
        >>> print(f"{found.decay:.3f}")
        0.750

    References:
        Ours.
    """
    # In NumPy's float64, whatever JAX's default: precision limits the check.
    gains, entropy = (np.asarray(values, np.float64) for values in (gain, uncertainty))
    if gains.shape != entropy.shape or gains.ndim not in (1, 2):
        raise ValueError(
            "gain and uncertainty must have the same shape, (N,) or (seeds, N): got "
            f"{gains.shape} and {entropy.shape}"
        )
    baseline, sensitivity = (
        float(np.asarray(x)) for x in (dynamics.baseline, dynamics.sensitivity)
    )
    top = np.inf if dynamics.max_gain is None else float(np.asarray(dynamics.max_gain))
    before, after, drive = gains[..., :-1], gains[..., 1:], sensitivity * entropy[..., :-1]
    free = after < top * (1 - 1e-6)
    excess, rest = (before - baseline)[free], (after - baseline - drive)[free]
    if not (excess**2).sum() > 0:
        raise ValueError("gain must leave its baseline at some update: there is no decay to find")
    decay = float((excess * rest).sum() / (excess**2).sum())
    return Decay(decay, float(np.abs(rest - decay * excess).max()))


def around_switches(
    variable: xr.DataArray, task_ends: ArrayLike, *, before: int = 10, after: int = 60
) -> xr.DataArray:
    """Return a recorded variable around each switch, aligned at the switch.

    Args:
        variable: A variable of curves over ``update``, such as ``curves.gain``.
        task_ends: Last update of each task, ascending: ``curves.task_end``.
        before: Updates before a switch to include, at least 0.
        after: Updates after it to include, at least 1.

    Returns:
        The values with the dimensions ``switch``, numbered from 1, and ``since`` in place of
        ``update``. ``since`` 0 is the last update of the old task, 1 the first of the new one. NaN
        beyond the run and beyond the task that follows the switch.

    Raises:
        ValueError: If there is no switch, no ``update``, or a length is out of range.

    Example:
        >>> gain = xr.DataArray([1.0, 2.0, 3.0, 4.0], {"update": [1, 2, 3, 4]})
        >>> around_switches(gain, [2, 4], before=1, after=2).values
        array([[1., 2., 3., 4.]])
    """
    ends = np.asarray(task_ends)
    if "update" not in variable.dims:
        raise ValueError(f"variable must have the dimension update: got {variable.dims}")
    if len(ends) < 2:
        raise ValueError("task_ends must have at least 2 tasks: with one there is no switch")
    if ends[0] < 1 or (np.diff(ends) < 1).any():
        raise ValueError(f"task_ends must be ascending and at least 1: got {ends.tolist()}")
    check_integer("before", before, 0)
    check_integer("after", after, 1)
    since = np.arange(-before, after + 1)
    pieces = [
        variable.reindex(update=end + since)
        .where(xr.DataArray(end + since <= next_end, dims="update"))
        .assign_coords(update=since)
        .rename(update="since")
        for end, next_end in itertools.pairwise(ends)
    ]
    return xr.concat(pieces, pd.Index(np.arange(1, len(ends)), name="switch"))


def measure_bursts(curves: xr.Dataset) -> pd.DataFrame:
    r"""Measure the burst of the gain after every switch, one row per setting, seed and switch.

    Args:
        curves: Curves with a gain, as for :func:`gainjax.analysis.recorded_gains`.

    Returns:
        ``setting``, ``seed``, ``switch`` (from 1), and for each burst

        - ``before``: mean gain of the last 10 forward passes that the new task did not affect: the
          gain follows the uncertainty of the update before, so the first forward pass of a task
          still has the old task's gain;
        - ``peak``, the largest gain of the task, and ``time_to_peak``, updates since the switch;
        - ``height``, peak - before, and its ``floor``, roughly the height that mere fluctuation
          reaches: the largest gain minus the smallest mean of 10 successive updates in the second
          half of the old task, after removing a linear trend. The largest of many noisy values lies
          above the mean of a few, so a height above 0 alone is not a burst; without bursts, about
          half of all heights lie above their floor. NaN if that half is at most 10 updates long;
        - ``tonic``: mean gain of the last quarter of the task after the switch;
        - ``area`` between gain and tonic (signed), from the switch to the first update, at or after
          the peak, at which the gain is not above the tonic level;
        - ``time_constant`` of the least-squares exponential fit to gain - tonic, in updates, from
          the peak down to a fifth of its height above tonic; and ``uncertainty_time_constant`` of
          the uncertainty over the same updates, above its own mean over the last quarter. NaN with
          fewer than 4 informative updates, or if nothing falls;
        - ``predicted``: -1/ln γ, for a gain that no uncertainty drives.

    Raises:
        ValueError: If there is no switch, or as :func:`gainjax.analysis.recorded_gains`.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run(
        ...     "split-digits", ["ngm-sgd"], 2, updates_per_task=20, progress=False
        ... )
        >>> rows = measure_bursts(curves)
        >>> len(rows), bool((rows["height"] > 0).all())
        (8, True)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: phasic and tonic gain. The measures are ours.
    """
    ends = ends_of_whole(curves)
    if len(ends) < 2:
        raise ValueError("curves must have at least 2 tasks: with one there is no switch")
    starts = [0, *ends.tolist()]
    rows = [
        {
            "setting": label, "seed": seed, "switch": switch,
            **_burst(recorded, place, start, end),
            "floor": _floor(recorded.gain[place, starts[switch - 1] : start]),
        }
        for label, recorded in recorded_gains(curves).items()
        for place, seed in enumerate(recorded.seeds.tolist())
        for switch, (start, end) in enumerate(itertools.pairwise(ends), 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def burst_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds with intervals, for each switch and for the mean of the switches.

    Args:
        rows: The result of :func:`measure_bursts`.

    Returns:
        One row per setting and switch; ``switch`` 0 is the mean over switches, computed per seed.
        Each measure has ``NAME``, ``NAME_low`` and ``NAME_high``, the 95 % interval of
        :func:`gainjax.statistics.mean_interval`, over the seeds that have it; ``fitted`` counts
        those with a time constant.

    Example:
        >>> rows = pd.DataFrame({"setting": "ngm", "seed": [0, 1], "switch": 1, "peak": [2.0, 3.0]})
        >>> burst_table(rows.assign(time_constant=[9.0, 11.0]))[["switch", "peak", "fitted"]]
           switch  peak  fitted
        0       0   2.5       2
        1       1   2.5       2
    """
    measures = [name for name in MEASURES if name in rows]
    means = rows.groupby(["setting", "seed"], sort=False, as_index=False)[measures].mean()
    table = []
    for (setting, switch), group in pd.concat([means.assign(switch=0), rows]).groupby(
        ["setting", "switch"], sort=False
    ):
        row = {"setting": setting, "switch": switch, "seeds": len(group)}
        for name in measures:
            row |= interval_columns(name, group[name].dropna())
        table.append(row | {"fitted": int(group["time_constant"].notna().sum())})
    return pd.DataFrame(table)


def _burst(recorded: RecordedGain, place: int, start: int, end: int) -> dict[str, float]:
    """Measure one burst, in the task with the updates start + 1 to end."""
    gain, uncertainty = recorded.gain[place], recorded.uncertainty[place]
    first = start  # index of the new task's first forward pass, whose gain is still the old one's
    task = gain[first:end]
    before = gain[max(0, first + 1 - _BEFORE) : first + 1].mean()
    last = max(1, int(LAST_PART * len(task)))
    tonic, settled = task[-last:].mean(), uncertainty[end - last : end].mean()
    top = int(task.argmax())
    fallen = np.flatnonzero(task[top:] <= tonic)
    until = top + int(fallen[0]) if fallen.size else len(task)
    height = task[top] - tonic
    low = np.flatnonzero(task[top:] - tonic <= _FITTED * height)
    fitted = slice(first + top, first + top + (int(low[0]) if low.size else len(task) - top))
    return {
        "before": before,
        "peak": task[top],
        "height": task[top] - before,
        "time_to_peak": float(top + 1),
        "tonic": tonic,
        "area": (task[:until] - tonic).sum(),
        "time_constant": _time_constant(gain[fitted] - tonic),
        "uncertainty_time_constant": _time_constant(uncertainty[fitted] - settled),
        "predicted": free_time_constant(recorded.dynamics),
    }


def _floor(old: np.ndarray) -> float:
    """Return the largest height that fluctuations reached late in the old task."""
    late = old[len(old) // 2 :]
    if len(late) <= _BEFORE:
        return np.nan
    place = np.arange(len(late))
    rest = late - np.polyval(np.polyfit(place, late, 1), place)
    means = np.lib.stride_tricks.sliding_window_view(rest, _BEFORE).mean(axis=1)
    return float(rest.max() - means.min())


def _time_constant(excess: np.ndarray) -> float:
    """Return the time constant of the exponential that fits an excess in least squares, or NaN.

    Not of a line through logarithms: these do not exist where noise falls below 0, and the
    remaining values are biased upward.
    """
    if len(excess) < _LEAST_POINTS:
        return np.nan
    place = np.arange(len(excess))

    def explained(log_tau: float) -> float:
        shape = np.exp(-place / np.exp(log_tau))
        return -((shape @ excess) ** 2) / (shape @ shape) if shape @ excess > 0 else 0.0

    bounds = (np.log(0.1), np.log(_LONGEST * len(excess)))
    found = minimize_scalar(explained, bounds=bounds, method="bounded").x
    # At a bound, these updates do not determine a decay.
    return float(np.exp(found)) if bounds[0] + 0.01 < found < bounds[1] - 0.01 else np.nan
