"""Claims about the gain, judged by curves: one row per claim.

A claim that the curves cannot decide, because they lack a method, is listed as not measured. Claims
about curvature and about the loss at another gain need networks, not curves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.analysis.bursts import measure_bursts, recovered_decay
from gainjax.analysis.recorded import the_recorded_gain
from gainjax.analysis.tonic import relative_change, tonic_levels
from gainjax.curves import per_seed, spec_of
from gainjax.methods import METHODS
from gainjax.metrics import ACCURACY, GAP
from gainjax.statistics import mean_interval, paired_permutation_test

PAPER = "arXiv 2507.14056"
FLAT = 0.1  # largest change of the level, relative to it, that counts as flat


class Claim(NamedTuple):
    """A statement with a measure that is above 0 if it holds.

    Args:
        name: Short name.
        statement: The claim, in one sentence.
        source: Where it is claimed.
        methods: Names of the methods that the curves must have.
        measure: Returns from the curves a number per seed, shape (seeds,), above 0 if the claim
            holds. The curves have one setting for each of the methods.
        unit: Definition of the number.
        grows: Whether it is claimed only where tasks bring new classes (True), or only where all
            have the same ones (False); None if it is claimed of every stream.
    """

    name: str
    statement: str
    source: str
    methods: tuple[str, ...]
    measure: Callable[[xr.Dataset], np.ndarray]
    unit: str
    grows: bool | None = None


def smaller_gap(better: str, reference: str) -> Callable[[xr.Dataset], np.ndarray]:
    """Return the measure of a claim that one method has a smaller gap than another.

    Args:
        better: Method that is claimed to be better.
        reference: The other method.

    Example:
        >>> accuracy = {"a": [[0.8], [0.6], [0.8]], "b": [[0.8], [0.4], [0.8]]}
        >>> from gainjax import from_curves
        >>> curves = from_curves(accuracy, eval_updates=[1, 2, 3], task_ends=[1, 3])
        >>> smaller_gap("a", "b")(curves).round(2)
        array([0.25])
    """

    def measure(curves: xr.Dataset) -> np.ndarray:
        rows = per_seed(curves).pivot(index="seed", columns="method", values=GAP)
        return (rows[reference] - rows[better]).dropna().to_numpy(np.float64)

    return measure


def _burst(curves: xr.Dataset) -> np.ndarray:
    """Return the smallest burst of each seed above its floor: every switch must have one."""
    rows = measure_bursts(curves)
    smallest = (rows["height"] - rows["floor"]).groupby(rows["seed"]).min()
    return smallest.dropna().to_numpy(np.float64)


def _slower_than_free(curves: xr.Dataset) -> np.ndarray:
    """Return the excess of the visible time constant over -1/ln of the decay, relative to it."""
    rows = measure_bursts(curves)
    ratio = rows["time_constant"] / rows["predicted"] - 1
    return ratio.groupby(rows["seed"]).mean().dropna().to_numpy(np.float64)


def _homogeneous(curves: xr.Dataset) -> np.ndarray:
    """Return by how much the error of each seed's recovered decay is below a thousandth."""
    recorded = the_recorded_gain(curves)
    found = [
        recovered_decay(gain, uncertainty, recorded.dynamics).decay
        for gain, uncertainty in zip(recorded.gain, recorded.uncertainty, strict=True)
    ]
    return 1e-3 - np.abs(np.array(found) - float(np.asarray(recorded.dynamics.decay)))


def _rise(curves: xr.Dataset) -> np.ndarray:
    """Return the change of the tonic level from the first to the last task."""
    levels = tonic_levels(curves).pivot(index="seed", columns="task", values="level")
    return (levels.iloc[:, -1] - levels.iloc[:, 0]).to_numpy(np.float64)


def _flat(curves: xr.Dataset) -> np.ndarray:
    """Return by how much the relative change of each seed's level is below what counts as flat."""
    levels = tonic_levels(curves).pivot(index="seed", columns="task", values="level")
    return FLAT - np.abs(relative_change(levels.to_numpy(np.float64)))


_NGM = ("ngm-sgd",)
_GAP = "smaller avg-SG"
CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "burst", "The gain bursts at every switch.", PAPER, _NGM, _burst,
            "smallest height above its floor, gain",
        ),
        Claim(
            "free-decay",
            "Without uncertainty the gain decays with the time constant -1/ln γ.",
            PAPER, _NGM, _homogeneous, "0.001 minus the error of γ",
        ),
        Claim(
            "slow-burst", "The visible burst fades more slowly than with -1/ln γ.", "ours", _NGM,
            _slower_than_free, "excess time constant relative to -1/ln γ",
        ),
        Claim(
            "tonic-rise", "The tonic level rises over tasks that bring new classes.",
            PAPER, _NGM, _rise, "gain", grows=True,
        ),
        Claim(
            "tonic-flat", "The tonic level is flat over tasks with the same classes.",
            PAPER, _NGM, _flat,
            f"{FLAT:g} minus the change over the stream, relative to the mean level", grows=False,
        ),
        Claim(
            "gap", "The gain makes the gap of SGD smaller.", PAPER, ("ngm-sgd", "sgd"),
            smaller_gap("ngm-sgd", "sgd"), _GAP,
        ),
        Claim(
            "dynamic", "A gain that moves has a smaller gap than its own mean held constant.",
            PAPER, ("ngm-sgd", "constant-gain"), smaller_gap("ngm-sgd", "constant-gain"), _GAP,
        ),
        Claim(
            "with-momentum", "The gain makes the gap of momentum SGD smaller.", PAPER,
            ("ngm-msgd", "msgd"), smaller_gap("ngm-msgd", "msgd"), _GAP,
        ),
        Claim(
            "with-adam", "The gain makes the gap of Adam smaller.", PAPER, ("ngm-adam", "adam"),
            smaller_gap("ngm-adam", "adam"), _GAP,
        ),
        Claim(
            "not-step-size",
            "A learning rate that follows the entropy does not do what the gain does.",
            f"{PAPER}v3", ("ngm-sgd", "entropy-lr"), smaller_gap("ngm-sgd", "entropy-lr"), _GAP,
        ),
        Claim(
            "reset-momentum", "Resetting momentum at switches makes its gap smaller.",
            f"{PAPER}v3", ("msgd-reset", "msgd"), smaller_gap("msgd-reset", "msgd"), _GAP,
        ),
        Claim(
            "reset-adam", "Resetting Adam at switches makes its gap smaller.",
            f"{PAPER}v3", ("adam-reset", "adam"), smaller_gap("adam-reset", "adam"), _GAP,
        ),
    )
}  # fmt: skip


def judge_claims(
    curves: xr.Dataset,
    table: Mapping[str, Claim] = CLAIMS,
    *,
    classes: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Judge claims by curves.

    Methods are known by their labels. Curves of a run also tell whether another method than the
    registered one was given that label: such a method is missing. Curves from elsewhere are taken
    at their word.

    Args:
        curves: Curves of one benchmark, with one setting for each method.
        table: The claims by name.
        classes: Number of classes seen by each task, as of :func:`gainjax.analysis.classes_seen`;
            None if the curves record it, as those of :func:`gainjax.run` do.

    Returns:
        One row per claim: ``claim``, ``statement``, ``source``; ``value``, the mean over seeds of a
        number that is above 0 if the claim holds, with its 95 % interval; ``unit``; ``p``, of the
        two-sided sign-flip test; and ``verdict``: "holds" or "fails" if the interval lies on
        one side of 0, "open" if it does not or there is a single seed, "not applicable" if it is
        claimed of other streams, "not measured" if a method is missing or nothing is known about
        the stream, "diverged" if a seed of one diverged: the outcome at a smaller learning rate is
        unknown. Verdicts are not corrected for multiple testing. ``anytime_difference`` is, for
        two methods, the mean anytime accuracy of the first minus that of the second: a smaller gap
        at lower accuracy may just mean slower learning.

    Raises:
        ValueError: If several settings are of one method, or ``classes`` has not one number for
            each task.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run(
        ...     "split-digits", ["ngm-sgd", "sgd"], 4, updates_per_task=40, progress=False
        ... )
        >>> found = judge_claims(curves).set_index("claim")
        >>> found.loc[["burst", "tonic-flat", "with-adam"], "verdict"].tolist()
        ['holds', 'not applicable', 'not measured']
    """
    methods = curves["method"].values.tolist()
    if len(set(methods)) < len(methods):
        raise ValueError(
            f"curves must have one setting for each method: got {curves['setting'].values.tolist()}"
        )
    known = _as_registered(curves)
    grows = _brings_classes(curves, classes)
    rows = []
    for claim in table.values():
        row = {"claim": claim.name, "statement": claim.statement, "source": claim.source}
        values, cost, diverged = np.empty(0), np.nan, False
        if set(claim.methods) <= known and claim.grows in (None, grows):
            own = curves.isel(setting=[methods.index(method) for method in claim.methods])
            has_diverged = own["diverged_update"] > 0
            diverged, cost = bool(has_diverged.any()), _anytime_difference(own)
            if not has_diverged.all("seed").any():  # else there is nothing to measure
                values = claim.measure(own)
        judged = _judged(values) | ({"verdict": "diverged"} if diverged else {})
        if None not in (claim.grows, grows) and claim.grows != grows:
            judged["verdict"] = "not applicable"
        rows.append({**row, **judged, "unit": claim.unit, "anytime_difference": cost})
    return pd.DataFrame(rows)


def _as_registered(curves: xr.Dataset) -> set[str]:
    """Return the methods of curves, without those that only have the label of another one."""
    is_own = "protocol" in spec_of(curves)
    pairs = zip(curves["method"].values.tolist(), curves["title"].values.tolist(), strict=True)
    return {
        method
        for method, title in pairs
        if not (is_own and method in METHODS and METHODS[method].shown_as(method) != title)
    }


def _brings_classes(curves: xr.Dataset, classes: Sequence[int] | None) -> bool | None:
    """Return whether tasks bring new classes, or None if that is unknown."""
    tasks = curves.sizes["task_end"]
    if classes is not None and len(classes) != tasks:
        raise ValueError(
            f"classes must have a number for each of the {tasks} tasks: got {list(classes)}. "
            "gainjax.analysis.classes_seen(benchmark.load()) returns them"
        )
    seen = spec_of(curves).get("classes_seen") if classes is None else classes
    return None if seen is None or tasks < 2 else bool(max(seen) > seen[0])


def _anytime_difference(curves: xr.Dataset) -> float:
    """Return the anytime accuracy of the first method minus the second's; NaN unless two."""
    rows = per_seed(curves)
    if curves.sizes["setting"] != 2 or ACCURACY not in rows:
        return np.nan
    first, second = rows.groupby("setting", sort=False)[ACCURACY].mean()
    return float(first - second)


def _judged(values: np.ndarray) -> dict[str, float | int | str]:
    if not len(values):
        missing = dict.fromkeys(("value", "low", "high", "p"), np.nan)
        return {**missing, "seeds": 0, "verdict": "not measured"}
    mean, low, high = map(float, mean_interval(values))
    verdict = "holds" if low > 0 else "fails" if high < 0 else "open"
    p = float(paired_permutation_test(values, np.zeros_like(values)))
    return {
        "value": mean, "low": low, "high": high, "p": p, "seeds": len(values), "verdict": verdict,
    }  # fmt: skip
