"""The recorded gain of curves, with the uncertainty that drove it and its dynamics."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from gainjax.curves import check_rows, has, settings_of, spec_of, task_ends
from gainjax.gain import GainDynamics

_NUMBERS = ("decay", "baseline", "sensitivity")
_TOLERANCE = 1e-3  # of the gain: allows for curves written with few digits


class RecordedGain(NamedTuple):
    """The recordings of one setting, without the seeds that diverged."""

    label: str
    title: str
    dynamics: GainDynamics
    seeds: np.ndarray  # int64, (S,)
    gain: np.ndarray  # float64, (S, N): of the forward pass of each update
    uncertainty: np.ndarray  # float64, (S, N), nats: of the same forward pass


class GainTrace(NamedTuple):
    """The gain of one setting and its baseline, without the seeds that diverged."""

    seeds: np.ndarray  # int64, (S,)
    gain: np.ndarray  # float64, (S, N): of the forward pass of each update
    baseline: np.ndarray  # float64, (S,)


def gain_traces(curves: xr.Dataset) -> dict[str, GainTrace]:
    """Return the gain of each setting that has one, whatever moves it, and its baseline.

    Args:
        curves: Curves with ``gain``. The baseline is the hyperparameter of that name, or else the
            gain of the first update, where every gain starts. Settings whose gain is 1 throughout
            are skipped, unless it follows an uncertainty to which it is not sensitive, as are seeds
            that diverged or have no gain.

    Returns:
        Traces by the label of the setting, in their order.

    Raises:
        TypeError: If ``curves`` is not a dataset.
        ValueError: If no setting has a gain, or the first update of one without a known baseline
            is missing.

    Example:
        >>> import gainjax
        >>> methods = ["sgd", "ramped-gain"]
        >>> curves = gainjax.run("split-digits", methods, 2, updates_per_task=5, progress=False)
        >>> for label, trace in gain_traces(curves).items():
        ...     print(label, trace.gain[0, :3].round(2), trace.baseline)
        ramped-gain [1.   1.02 1.04] [1. 1.]
    """
    check_rows(curves)
    if not has(curves, "gain"):
        raise ValueError(
            "curves must hold the gain of each update: got "
            f"{sorted(map(str, curves.data_vars))}. Curves from gainjax.run have it"
        )
    found: dict[str, GainTrace] = {}
    for row in settings_of(curves):
        label, own = row["label"], curves.sel(setting=row["label"])
        gain = own["gain"].transpose("seed", "update").values.astype(np.float64)
        kept = (own["diverged_update"].values == 0) & np.isfinite(gain).all(axis=1)
        values = row["hyperparameters"]
        is_still = (gain[kept] == 1).all() and values.get("sensitivity") != 0
        if not kept.any() or is_still:
            continue
        baseline = values.get("baseline")
        if not isinstance(baseline, int | float):
            if curves["update"].values[0] != 1:
                raise ValueError(
                    f"curves must hold the first update of {label!r}, whose gain is its baseline:"
                    f" they begin at {curves['update'].values[0]}. Do not select among them before"
                )
            baseline = gain[kept][:, 0]
        seeds = own["seed"].values[kept]
        found[label] = GainTrace(seeds, gain[kept], np.broadcast_to(baseline, len(seeds)))
    if not found:
        raise ValueError(
            f"no setting of these curves has a gain: got {curves['setting'].values.tolist()}, "
            "without the seeds that diverged. ngm-sgd has one"
        )
    return found


def recorded_gains(curves: xr.Dataset) -> dict[str, RecordedGain]:
    """Return the gain of each setting that has one which follows uncertainty.

    Args:
        curves: Curves with ``gain`` and ``uncertainty``. The numbers of the dynamics are those of
            ``gain`` of the :class:`gainjax.Method`, or hyperparameters named ``decay``,
            ``baseline`` and ``sensitivity``. Settings without these (plain SGD, a replayed gain)
            are skipped, as are those that use them for something other than a gain (entropy-lr),
            and seeds that diverged or have no gain.

    Returns:
        The recordings by the label of the setting, in their order.

    Raises:
        TypeError: If ``curves`` is not a dataset.
        ValueError: If no setting has such a gain, a number of its dynamics is a schedule, or a
            recorded gain does not obey them: no fixed point or time constant would then apply.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run(
        ...     "split-digits", ["ngm-sgd", "sgd"], 2, updates_per_task=5, progress=False
        ... )
        >>> for label, recorded in recorded_gains(curves).items():
        ...     print(label, recorded.gain.shape, recorded.dynamics.decay)
        ngm-sgd (2, 25) 0.9
    """
    check_rows(curves)
    if not (has(curves, "gain") and has(curves, "uncertainty")):
        raise ValueError(
            "curves must hold the gain and the uncertainty of each update: got "
            f"{sorted(map(str, curves.data_vars))}. Curves from gainjax.run have both"
        )
    found: dict[str, RecordedGain] = {}
    described = spec_of(curves).get("dynamics", {})
    for row in settings_of(curves):
        label = row["label"]
        numbers = {**row["hyperparameters"], **described.get(label, {})}
        if not all(numbers.get(name) is not None for name in _NUMBERS):
            continue
        own = curves.sel(setting=label)
        gain, uncertainty = (
            own[name].transpose("seed", "update").values.astype(np.float64)
            for name in ("gain", "uncertainty")
        )
        kept = (own["diverged_update"].values == 0) & np.isfinite(gain + uncertainty).all(axis=1)
        dynamics = _dynamics(label, numbers)
        if kept.any() and not _is_none(gain[kept], uncertainty[kept], dynamics):
            _check_obeys(label, dynamics, gain[kept], uncertainty[kept])
            found[label] = RecordedGain(
                label, row["title"], dynamics, own["seed"].values[kept], gain[kept],
                uncertainty[kept],
            )  # fmt: skip
    if not found:
        raise ValueError(
            "no setting of these curves has a gain that follows its own uncertainty: got "
            f"{curves['setting'].values.tolist()}, without the seeds that diverged. ngm-sgd has one"
        )
    return found


def ends_of_whole(curves: xr.Dataset) -> np.ndarray:
    """Return the last update of each task, of curves that hold the gain of every update.

    Args:
        curves: Curves with a gain.

    Raises:
        ValueError: If an update is missing: positions would then not be update numbers.
    """
    check_rows(curves)
    ends = task_ends(curves)
    updates = curves["update"].values if "update" in curves.coords else np.zeros(0)
    if not np.array_equal(updates, np.arange(1, ends[-1] + 1)):
        raise ValueError(
            f"curves must hold the gain of every update from 1 to {ends[-1]}, the end of the last "
            f"task: got {len(updates)} updates. Do not select among them before"
        )
    return ends


def the_recorded_gain(curves: xr.Dataset) -> RecordedGain:
    """Return the gain of the only setting that has one, for figures of a single method.

    Args:
        curves: Curves, as for :func:`recorded_gains`.

    Raises:
        ValueError: If there are several, or as :func:`recorded_gains`.
    """
    found = recorded_gains(curves)
    if len(found) > 1:
        raise ValueError(
            f"curves must have one setting with a gain: got {list(found)}. Select it with a list, "
            f"such as curves.sel(setting=[{next(iter(found))!r}])"
        )
    return next(iter(found.values()))


def _dynamics(label: str, values: Mapping[str, float | None]) -> GainDynamics:
    for name in _NUMBERS:
        if isinstance(values[name], Mapping):
            raise ValueError(
                f"{name} of {label!r} must be one number: got a schedule, under which the gain has "
                "no single time constant"
            )
    numbers = {name: values[name] for name in _NUMBERS}
    return GainDynamics(**numbers, max_gain=values.get("max_gain"))  # type: ignore[arg-type]


def _check_obeys(
    label: str, dynamics: GainDynamics, gain: np.ndarray, uncertainty: np.ndarray
) -> None:
    """Raise if a gain is not where its uncertainty and its dynamics put it."""
    away = _distance(gain, uncertainty, dynamics)
    if away.size and away.max() > _TOLERANCE:
        update = int(np.unravel_index(away.argmax(), away.shape)[1]) + 2
        raise ValueError(
            f"gain of {label!r} must follow its uncertainty as its hyperparameters say: it "
            f"deviates by {100 * away.max():.2g} % at update {update}. Give curves with every "
            "update, of a method whose gain obeys GainDynamics"
        )


def _is_none(gain: np.ndarray, uncertainty: np.ndarray, dynamics: GainDynamics) -> bool:
    """Return whether the recorded gain is the constant 1 of a method without a gain."""
    away = _distance(gain, uncertainty, dynamics)
    return bool((gain == 1).all() and away.size and away.max() > _TOLERANCE)


def _distance(gain: np.ndarray, uncertainty: np.ndarray, dynamics: GainDynamics) -> np.ndarray:
    """Return the relative deviation of each gain but the first from its predicted value."""
    expected = np.asarray(dynamics.step(gain[:, :-1], uncertainty[:, :-1]), np.float64)
    return np.abs(gain[:, 1:] / expected - 1)
