"""Lines with bands, reduced to the visible points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gainjax.show.plots.looks import Look
from gainjax.statistics import mean_interval

_DECADES = 1.5  # losses that span more use a logarithmic axis
_BINS = 1000  # more than the dots in a panel's width in print


def draw(
    axes: Axes, updates: np.ndarray, values: np.ndarray, look: Look, *, band: bool = True
) -> None:
    """Draw the mean and its 95 % confidence interval, without seeds that have no finite value.

    Args:
        axes: The panel.
        updates: Horizontal coordinates, ascending, shape (n,).
        values: Vertical coordinates, shape (n, seeds).
        look: The style.
        band: Whether to draw the interval.
    """
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.shape[1]:
        return
    places = visible(values)
    updates, values = updates[places], values[places]
    style: dict[str, Any] = {"color": look.color, "linewidth": look.width}
    mean = values.mean(axis=1, dtype=np.float64)
    axes.plot(updates, mean, **style, linestyle=look.dashes, zorder=3 + look.width / 10)
    if band and values.shape[1] > 1:
        interval = mean_interval(values)
        axes.fill_between(
            updates, interval.low, interval.high, color=look.color, alpha=0.2, linewidth=0, zorder=2
        )


def visible(values: np.ndarray) -> np.ndarray:
    """Return which points are drawn: for long curves, the extremes of every short stretch.

    Args:
        values: Curves, shape (n, seeds).

    Returns:
        Indices, ascending, including the first and the last. In each of a thousand stretches they
        hold the highest and lowest points of the mean, of the highest and of the lowest seed.

    Example:
        >>> len(visible(np.zeros((4000, 3)))), len(visible(np.zeros((200_000, 3)))) < 7000
        (4000, True)
    """
    length = len(values)
    if length <= 4 * _BINS:
        return np.arange(length)
    return extremes([values.mean(axis=1), values.max(axis=1), values.min(axis=1)], _BINS)


def extremes(curves: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """Return the highest and lowest points of curves in each of many equal stretches.

    Args:
        curves: Curves of one length, each of shape (n,).
        bins: Number of stretches.

    Returns:
        Indices, ascending, including the first and the last.

    Example:
        >>> extremes([np.array([0, 5, 1, 2, 9, 3])], bins=2)
        array([0, 1, 3, 4, 5])
    """
    length = len(curves[0])
    starts = np.unique(np.linspace(0, length, bins, endpoint=False).astype(int))
    kept = [np.array([0, length - 1])]
    for curve in curves:
        for extreme in (np.maximum, np.minimum):
            reached = np.repeat(extreme.reduceat(curve, starts), np.diff([*starts, length]))
            where = np.flatnonzero(curve == reached)
            # The first occurrence in each stretch.
            kept.append(where[np.searchsorted(where, starts)])
    return np.unique(np.concatenate(kept))


def shade_tasks(axes: Axes, ends: np.ndarray) -> None:
    """Shade every second task.

    Args:
        axes: A panel over updates.
        ends: Last update of each task.
    """
    starts = np.append(0, ends[:-1])
    for start, end in zip(starts[1::2], ends[1::2], strict=False):
        axes.axvspan(start + 0.5, end + 0.5, color="0.955", linewidth=0, zorder=0)


def scale_loss(axes: Axes) -> None:
    """Use a logarithmic axis if the lines span more than a decade.

    Args:
        axes: A panel with lines.
    """
    means = np.concatenate([line.get_ydata() for line in axes.lines] or [[1.0]])
    positive = means[means > 0]
    if positive.size and np.log10(positive.max() / positive.min()) > _DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
