"""The curves of a run as they are drawn, whole and around its switches."""

import numpy as np
import xarray as xr

from gainjax.curves import has

_BEFORE, _AFTER = 0.05, 0.25  # fractions of a task that are shown around a switch
_EVALUATIONS = 3  # minimum number to show after a switch, however sparse they are


class RunCurves:
    """The curves of one setting on task 1: updates with values of shape (updates, seeds).

    For a diverged seed, only its accuracy counts; another score, whose worst value is unknown, does
    not. All values are finite. Variables that were not recorded are None.

    Args:
        curves: Curves.
        label: The label of a setting.

    Attributes:
        seeds: Positions of the seeds that ``accuracy`` has.
    """

    def __init__(self, curves: xr.Dataset, label: str) -> None:
        own = curves.sel(setting=label)
        first = own.sel(eval_task=1)
        self.diverged = own.diverged_update.values
        whole = self.diverged == 0
        accuracy = first.accuracy.transpose(..., "seed").values
        kept = np.isfinite(accuracy).all(axis=0) & (whole | (curves.attrs["score"] == "accuracy"))
        self.seeds = np.flatnonzero(kept)
        self.accuracy = own.eval_update.values, accuracy[:, kept]
        self.loss = self.gain = self.uncertainty = None
        self.gains: list[tuple[np.ndarray, np.ndarray]] = []
        if has(curves, "eval_loss"):
            loss = first.eval_loss.transpose(..., "seed").values
            kept = whole & np.isfinite(loss).all(axis=0)
            self.loss = (own.eval_update.values, loss[:, kept]) if kept.any() else None
        if has(curves, "gain"):
            gain = own.gain.transpose(..., "seed").values
            kept = whole & np.isfinite(gain).all(axis=0)
            self.gain = own["update"].values, gain[:, kept]
        if has(curves, "uncertainty"):
            entropy = own.uncertainty.transpose(..., "seed").values
            kept = whole & np.isfinite(entropy).all(axis=0)
            self.uncertainty = (own["update"].values, entropy[:, kept]) if kept.any() else None
        if has(curves, "gains"):
            gains = own.gains.transpose("group", ..., "seed").values[..., whole]
            updates = own["update"].values
            self.gains = [(updates, gain) for gain in gains if np.isfinite(gain).all()]
        every = [*([self.gain] if self.gain is not None else []), *self.gains]
        self.has_gain = any(bool((values != 1).any()) for _, values in every)


def switch_window(evaluated: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the updates around a switch to show: a part of the shortest task.

    Args:
        evaluated: Evaluated updates, ascending.
        ends: Last update of each task, at least two.

    Returns:
        Updates relative to the last one before the switch, ascending.
    """
    length = int(np.diff(ends).min())
    places = np.searchsorted(evaluated, ends[:-1])
    seen = [evaluated[min(i + _EVALUATIONS, len(evaluated) - 1)] - evaluated[i] for i in places]
    after = min(length, max(1, int(_AFTER * length), *map(int, seen)))
    return np.arange(-int(_BEFORE * length), after + 1)


def aligned(
    updates: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
    window: np.ndarray,
    *,
    relative: bool = False,
) -> np.ndarray:
    """Return the mean over switches; seeds without data drop out.

    Args:
        updates: Updates of the values, ascending, shape (n,).
        values: A curve per seed, shape (n, seeds).
        ends: Last update of each task.
        window: Updates around a switch, of :func:`switch_window`.
        relative: Whether to divide by the value before the switch.

    Returns:
        Shape (window, seeds).
    """
    switches = ends[:-1, None] + window  # linear interpolation between evaluations
    pieces = np.empty((*switches.shape, values.shape[1]))
    for seed in range(values.shape[1]):
        pieces[..., seed] = np.interp(switches, updates, values[:, seed])
    if relative:
        before = pieces[:, window == 0]
        pieces = np.where(before > 0, pieces / np.where(before > 0, before, 1), np.nan)
        pieces = pieces[..., (before > 0).any(axis=(0, 1))]
    return np.nanmean(pieces, axis=0)
