"""The main figure of a sweep: stability gap against accuracy."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from gainjax.curves import has, swept_names
from gainjax.metrics import ACCURACY, GAP, METRICS
from gainjax.show.names import method_names, words
from gainjax.show.plots.looks import (
    INK,
    Look,
    clean,
    figure_of,
    heading,
    looks,
    percent,
    score_title,
)
from gainjax.show.tables import table
from gainjax.statistics import BOUNDS, frontier

_WIDTH = 3.5  # inches
_FONT = 8.0  # points, at that width
_HOPELESS = 0.75  # of the best accuracy: methods that never reach it need not be shown
_SPREAD = 4.0  # a larger ratio of gaps calls for a logarithmic scale
# Positions of a label beside its point, in order of preference.
_PLACES = (
    *((1, 0), (1, -1), (1, 1), (-1, 0), (-1, -1), (-1, 1), (0, -1), (0, 1)),
    *((0, -2.5), (-1, -2.5), (0, 2.5), (-1, 2.5)),
)


def plot_frontier(
    curves: xr.Dataset,
    gap: str = GAP,
    *,
    axes: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the stability gap against anytime accuracy, one point per setting.

    Better is down and to the right. Points that no other point dominates are filled; settings of a
    method that differ only in their learning rate are joined in order of the rate. Bars are 95 %
    confidence intervals. The panel shows the accurate settings, and the caption states how many
    lie outside.

    Args:
        curves: Curves of a sweep; or of a run, with one point per method.
        gap: A metric for which lower is better, such as "avg_sg"; or one for which higher is
            better, such as "min_acc", to plot 1 - its value, or its negative if the score is not
            accuracy.
        axes: An existing panel, with the legend inside and no caption; or None.
        colors: Colors to override, by method.
        labels: Names to override, by method.
        size: Width and height of the figure in inches.

    Returns:
        A figure, by default 3.5 inches wide. Save it with its ``savefig``.

    Raises:
        ValueError: If the gap is unknown, there is no switch or no accuracy on seen tasks, or no
            setting has both.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> seen = {"er": [0.9, 0.5, 0.8], "ewc": [0.9, 0.6, 0.7]}
        >>> when = {"eval_updates": [10, 12, 20], "task_ends": [10, 20]}
        >>> figure = plot_frontier(
        ...     from_curves(accuracy, seen_accuracy={k: [v] for k, v in seen.items()}, **when)
        ... )
        >>> figure.axes[0].get_ylabel()
        'stability gap, avg-SG (← better)'
    """
    points = _points(curves, gap)
    rates = "learning_rate" in points and points["learning_rate"].dtype.kind == "f"
    others = [name for name in swept_names(curves) if name != "learning_rate"]
    styles = looks(method_names(curves), colors, labels)
    metric = METRICS[gap]
    title = metric.label or metric.title

    if is_given := axes is not None:
        figure = figure_of(axes, size)
    else:
        figure = Figure(figsize=size or (_WIDTH, 3.4), layout="constrained")
        axes = figure.add_subplot()
    clean(axes, _FONT)
    for method, look in styles.items():
        own = points[points["method"] == method]
        if rates:
            several = bool(others) and len(own[others].drop_duplicates()) > 1
            for _, line in own.groupby(others, dropna=False) if others else [((), own)]:
                _join(axes, line.sort_values("learning_rate"), look, 0.35 if several else 0.6)
        _mark(axes, own, look)
    is_share = curves.attrs["score"] == "accuracy"
    _limit(axes, points[points["inside"]], is_share=is_share)
    if is_share:
        percent(axes.xaxis)
    axes.set_xlabel(f"anytime {score_title(curves)} on seen tasks (better →)")
    from_top = ("1 − " if is_share else "−") if metric.better == "higher" else ""
    axes.set_ylabel(f"{from_top}{title} (← better)")
    if is_given:
        names = [look.label for look in styles.values()]
        axes.legend(_handles(styles), names, frameon=False, fontsize=_FONT)
    else:
        _legend(figure, styles)
        text = _caption(curves, points, ["learning_rate", *others] * rates)
        figure.supxlabel(textwrap.fill(text, 74), fontsize=0.85 * _FONT, color=INK)
    if rates:
        figure.draw_without_rendering()  # fix the layout, so that labels can find free space
        _label(axes, points[points["inside"]], others, styles)
    return figure


def in_view(accuracy: pd.Series, method: pd.Series) -> pd.Series:
    """Return which points to show.

    Those within five times the range of the best third, which keeps an even spread and cuts a long
    tail; and in any case the best setting of each method, unless that method is hopeless.

    Args:
        accuracy: Anytime accuracy of each setting.
        method: Name of the method of each.
    """
    behind = accuracy.max() - accuracy
    best = behind.groupby(method).min()
    best = best[best <= (1 - _HOPELESS) * accuracy.max()]
    return behind <= max(5 * behind.quantile(1 / 3), best.max()) + 1e-9


def _points(curves: xr.Dataset, gap: str) -> pd.DataFrame:
    """Return one row per point: method, swept values, x and y with bounds, and their status."""
    rows = table(curves)
    allowed = [name for name, metric in METRICS.items() if metric.better and name in rows]
    if gap not in allowed:
        raise ValueError(f"gap must be one of {', '.join(allowed)}: got {gap!r}")
    if not has(curves, "seen_accuracy"):
        raise ValueError("curves must hold seen_accuracy for the horizontal axis: got none")
    rows = rows[rows[ACCURACY].notna() & rows[gap].notna()]
    if rows.empty:
        raise ValueError(f"curves must have a setting with {gap} and seen_accuracy: got none")
    top = 1 if curves.attrs["score"] == "accuracy" else 0
    points = rows[["method", *swept_names(curves)]].copy()
    for end, opposite in zip(BOUNDS, ("", "_high", "_low"), strict=True):
        points[f"x{end}"] = rows[f"{ACCURACY}{end}"]
        points[f"y{end}"] = (
            rows[f"{gap}{end}"]
            if METRICS[gap].better == "lower"
            else top - rows[f"{gap}{opposite}"]
        )
    points["unbeaten"] = frontier(points["y"].where(rows["diverged"] == 0), points["x"])
    points["inside"] = in_view(points["x"], points["method"])
    return points


def _limit(axes: Axes, inside: pd.DataFrame, *, is_share: bool) -> None:
    """Set the limits so that the means inside have a margin."""
    low, high = inside["x"].min(), inside["x"].max()
    air = 0.06 * max(high - low, 0.02)
    most = 1 + air / 4 if is_share else np.inf
    axes.set_xlim(low - air, min(high + 2.5 * air, most))  # labels are on the right
    low, high = inside["y"].min(), inside["y"].max()
    if 0 < _SPREAD * low < high:
        axes.set_yscale("log")
        air = (high / low) ** 0.07
        axes.set_ylim(low / air, high * air)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        air = 0.07 * max(high - low, 0.01)
        axes.set_ylim(low - air, high + air)
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")


def _join(axes: Axes, points: pd.DataFrame, look: Look, alpha: float) -> None:
    style: dict[str, Any] = {"color": look.color, "linestyle": look.dashes, "linewidth": 0.8}
    axes.plot(points["x"], points["y"], **style, alpha=alpha, zorder=2)


def _mark(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    """Draw points with bars: filled if no other point dominates them, else hollow."""
    for unbeaten, some in points.groupby("unbeaten"):
        x, y = (
            np.stack([some[axis] - some[f"{axis}_low"], some[f"{axis}_high"] - some[axis]])
            for axis in "xy"
        )
        if not np.isnan(x).any():
            axes.errorbar(
                some["x"],
                some["y"],
                xerr=x.clip(min=0),  # rounding
                yerr=y.clip(min=0),
                fmt="none",
                ecolor=look.color,
                elinewidth=0.7,
                alpha=0.8 if unbeaten else 0.4,
                zorder=2,
            )
        axes.plot(
            some["x"],
            some["y"],
            look.marker,
            color=look.color,
            markerfacecolor=look.color if unbeaten else "white",
            markeredgewidth=0.8,
            markersize=4.5,
            zorder=4 if unbeaten else 3,
        )


def _label(axes: Axes, points: pd.DataFrame, others: list[str], styles: dict[str, Look]) -> None:
    """Write learning rates beside their points, nondominated ones first, where there is room.

    For methods with further swept hyperparameters, these are added, but at nondominated points
    only.
    """
    size = 0.75 * _FONT
    pixel = 72 / axes.figure.dpi  # in points, the unit of all lengths here
    centers = axes.transData.transform(points[["x", "y"]].to_numpy()) * pixel
    frame = Bbox(axes.get_window_extent().get_points() * pixel)
    taken = [Bbox.from_bounds(x - 2.5, y - 2.5, 5, 5) for x, y in centers]
    for i in np.argsort(~points["unbeaten"].to_numpy(), kind="stable"):
        point = points.iloc[i]
        values = point[["learning_rate", *others]].dropna()
        if values.empty or (len(values) > 1 and not point["unbeaten"]):
            continue
        text = ", ".join(f"{value:.3g}".removeprefix("0") or "0" for value in values)
        width, height = TextPath((0, 0), text, size=size).get_extents().width, 0.8 * size
        for right, up in _PLACES:
            x, y = centers[i] + (right * (4 + width / 2), up * (3 + height / 2))
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            if all(frame.contains(*corner) for corner in box.get_points()) and not any(
                map(box.overlaps, taken)
            ):
                taken.append(box)
                axes.annotate(
                    text,
                    (point["x"], point["y"]),
                    (4 * right, y - centers[i][1]),
                    textcoords="offset points",
                    ha=("center", "left", "right")[right],
                    va="center",
                    fontsize=size,
                    color=styles[point["method"]].color,
                    path_effects=[withStroke(linewidth=1.5, foreground="white")],
                )
                break


def _handles(styles: dict[str, Look]) -> list[Line2D]:
    return [
        Line2D([], [], color=look.color, marker=look.marker, ms=4.5, lw=0.9, ls=look.dashes)
        for look in styles.values()
    ]


def _legend(figure: Figure, styles: dict[str, Look]) -> None:
    figure.legend(
        _handles(styles),
        [look.label for look in styles.values()],
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=_FONT,
        handlelength=2.2,
        columnspacing=1.0,
        handletextpad=0.4,
        borderaxespad=0.1,
    )


def _caption(curves: xr.Dataset, points: pd.DataFrame, labels: list[str]) -> str:
    seeds = curves.sizes["seed"]
    mean = f"mean of {seeds} seeds, 95 % confidence intervals" if seeds > 1 else "1 seed"
    parts = [f"{heading(curves)}: {mean}", "filled: no other point is better in both"]
    if labels:
        parts.append(f"numbers: {', '.join(map(words, labels))}")
    if outside := int((~points["inside"]).sum()):
        parts.append(f"{outside} of {len(points)} settings lie outside, at lower accuracy")
    return "; ".join(parts)
