"""The figures of a sweep: gap against accuracy, and both over two hyper-parameters."""

import textwrap
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gainjax.plots.looks import FONT, INK, WIDTH, Look, clean, looks, percent
from gainjax.results import rows_dimension, swept_names
from gainjax.statistics import frontier
from gainjax.tables import TOLERANCE, ranking, table

Gap = Literal["avg_sg", "min_acc"]
Metric = Literal["avg_sg", "min_acc", "avg_acc", "wc_acc", "final_accuracy"]

_COLUMN = 3.5  # inches
_SMALL = 8.0  # points, at that width
_HOPELESS = 0.75  # of the best accuracy: a method that never gets there need not be in view
_SPREAD = 4.0  # gaps whose ratio is larger are told apart on a logarithmic scale
# Where a label may stand beside its point, the best place first.
_PLACES = (
    *((1, 0), (1, -1), (1, 1), (-1, 0), (-1, -1), (-1, 1), (0, -1), (0, 1)),
    *((0, -2.5), (-1, -2.5), (0, 2.5), (-1, 2.5)),
)
_TITLES = {
    "avg_sg": "stability gap, avg-SG",
    "min_acc": "min-ACC (%)",
    "avg_acc": "avg-ACC (%)",
    "wc_acc": "WC-ACC (%)",
    "final_accuracy": "final accuracy (%)",
    "anytime_accuracy": "anytime accuracy (%)",
}


def plot_frontier(dataset: xr.Dataset, gap: Gap = "avg_sg") -> Figure:
    """Draw the stability gap against anytime accuracy, a point per setting: what costs what.

    Good is below and to the right. Points that no other point beats are filled; the settings of a
    method that differ in their learning rate only are joined in its order. Bars are 95 % bootstrap
    intervals. The panel shows the accurate settings, and the caption tells how many lie outside.

    Args:
        dataset: A sweep; or a run, with one point per method.
        gap: "avg_sg", or "min_acc" for 1 - min-ACC.

    Returns:
        A figure 3.5 inches wide. Keep it with its ``savefig``.

    Raises:
        ValueError: If the gap is unknown, or there is no switch or no accuracy on seen tasks.

    Example:
        >>> from gainjax import run
        >>> figure = plot_frontier(run("split-digits", ["sgd"], seeds=2, updates_per_task=20))
        >>> figure.axes[0].get_ylabel()
        'stability gap, avg-SG (← better)'
    """
    if gap not in get_args(Gap):
        raise ValueError(f"gap must be one of {get_args(Gap)}: got {gap!r}")
    points = _points(dataset, gap)
    rates = "learning_rate" in points
    others = [name for name in swept_names(dataset) if name != "learning_rate"]
    styles = looks(points["method"].unique())

    figure = Figure(figsize=(_COLUMN, 3.4), layout="constrained")
    axes = figure.add_subplot()
    clean(axes, _SMALL)
    for method, look in styles.items():
        own = points[points["method"] == method]
        if rates:
            for _, line in own.groupby(others, dropna=False) if others else [((), own)]:
                _join(axes, line.sort_values("learning_rate"), look)
        _mark(axes, own, look)
    _limit(axes, points[points["inside"]])
    axes.set_xlabel("anytime accuracy on seen tasks (better →)")
    axes.set_ylabel(f"{_TITLES[gap] if gap == 'avg_sg' else '1 − min-ACC'} (← better)")
    _legend(figure, styles)
    figure.supxlabel(
        textwrap.fill(_caption(dataset, points, ["learning_rate", *others] * rates), 74),
        fontsize=0.85 * _SMALL,
        color=INK,
    )
    if rates:
        figure.draw_without_rendering()  # the layout stands; labels look for room in it
        _label(axes, points[points["inside"]], others, styles)
    return figure


def plot_heatmap(
    dataset: xr.Dataset, method: str, x: str, y: str, metric: Metric = "avg_sg"
) -> Figure:
    """Draw a metric and anytime accuracy of one method over two swept hyper-parameters.

    Dark is good in both panels. The outlined setting is the one that :func:`gainjax.ranking`
    chooses for the method. Settings far from accurate are grey: their gap means nothing.

    Args:
        dataset: A sweep.
        method: Name of a method.
        x: Name of the swept hyper-parameter on the horizontal axis.
        y: Name of the one on the vertical axis.
        metric: What the left panel shows.

    Returns:
        A figure 6.8 inches wide that can be read at 3.5 inches. Keep it with its ``savefig``.

    Raises:
        ValueError: If a name is unknown, or there are several settings of one x and y.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {get_args(Metric)}: got {metric!r}")
    rows = table(dataset)
    chosen = ranking(dataset).query("chosen").index
    if method not in (methods := rows["method"].unique()):
        raise ValueError(f"method must be one of {', '.join(methods)}: got {method!r}")
    own = rows[rows["method"] == method]
    swept = [name for name in swept_names(dataset) if own[name].notna().all()]
    for argument, name in {"x": x, "y": y}.items():
        if name not in swept or x == y:
            raise ValueError(
                f"{argument} must be one of two different hyper-parameters that {method} was swept "
                f"over, {', '.join(swept)}: got {name!r}"
            )
    if (repeated := own.duplicated([x, y])).any():
        raise ValueError(
            f"dataset must have one setting of {method} for each {x} and {y}: got several, such as "
            f"{own.index[repeated][0]!r}; select among them with dataset.sel(setting=...)"
        )
    own = own.assign(inside=_in_view(own["anytime_accuracy"], own["method"]))
    columns, lines = (np.sort(own[name].unique()) for name in (x, y))
    height = max(2.2, 1.5 + 0.42 * len(lines))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, (metric, "anytime_accuracy"), strict=True):
        _cells(axes, own, name, (x, columns), (y, lines))
        axes.set_title(_TITLES[name], fontsize=FONT, color=INK)
        for label in own.index.intersection(chosen):
            corner = np.searchsorted(columns, own[x][label]), np.searchsorted(lines, own[y][label])
            axes.add_patch(
                Rectangle(
                    np.subtract(corner, 0.5),
                    1,
                    1,
                    fill=False,
                    ec="#D55E00",
                    lw=3,
                    zorder=5,
                    clip_on=False,
                )
            )
    panels[0].set_ylabel(_words(y))
    seeds = dataset.sizes["seed"]
    caption = (
        f"{dataset.attrs['benchmark']}, {looks([method])[method].label}: "
        f"{f'mean of {seeds} seeds' if seeds > 1 else '1 seed'}; dark is good; grey: far from accurate; outlined: smallest "
        f"avg-SG within {100 * TOLERANCE:g} points of the best anytime accuracy"
        + ("; ×: seeds diverged" if own["diverged"].any() else "")
    )
    figure.supxlabel(textwrap.fill(caption, 92), fontsize=0.9 * FONT, color=INK)
    return figure


def _points(dataset: xr.Dataset, gap: Gap) -> pd.DataFrame:
    """Return a row per point: method, swept values, x and y with low and high, and what it is."""
    rows = table(dataset, "rodriguez-garcia")
    if "anytime_accuracy" not in rows:
        raise ValueError("dataset must hold seen_accuracy for the horizontal axis: got none")
    names = {name: name for name in ("method", *swept_names(dataset))}
    if rows_dimension(dataset) == "method":
        rows["method"] = rows.index
    ends = ("", "_low", "_high")
    points = rows[list(names)].copy()
    for end, opposite in zip(ends, ("", "_high", "_low"), strict=True):
        points[f"x{end}"] = rows[f"anytime_accuracy{end}"]
        points[f"y{end}"] = (
            rows[f"avg_sg{end}"] if gap == "avg_sg" else 1 - rows[f"min_acc{opposite}"]
        )
    points["unbeaten"] = frontier(points["y"], points["x"])
    points["inside"] = _in_view(points["x"], points["method"])
    return points


def _in_view(accuracy: pd.Series, method: pd.Series) -> pd.Series:
    """Return which points are worth the room.

    Those within five times what the best third spans, which an even spread is and a long tail is
    not; in any case the best setting of each method, unless that method is hopeless.
    """
    behind = accuracy.max() - accuracy
    best = behind.groupby(method).min()
    best = best[best <= (1 - _HOPELESS) * accuracy.max()]
    return behind <= max(5 * behind.quantile(1 / 3), best.max()) + 1e-9


def _limit(axes: Axes, inside: pd.DataFrame) -> None:
    """Set the limits so that the means inside have some air."""
    low, high = inside["x"].min(), inside["x"].max()
    air = 0.06 * max(high - low, 0.02)
    axes.set_xlim(low - air, min(high + 2 * air, 1 + air / 4))  # labels are on the right
    percent(axes.xaxis)
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


def _join(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    style: dict[str, Any] = {"color": look.color, "linestyle": look.dashes, "linewidth": 0.8}
    axes.plot(points["x"], points["y"], **style, alpha=0.55, zorder=2)


def _mark(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    """Draw points with bars: filled if nothing beats them, else hollow."""
    for unbeaten, some in points.groupby("unbeaten"):
        bars = [
            (some[axis] - some[f"{axis}_low"], some[f"{axis}_high"] - some[axis]) for axis in "xy"
        ]
        if some["x_low"].notna().all():
            axes.errorbar(
                some["x"],
                some["y"],
                xerr=bars[0],
                yerr=bars[1],
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
    """Write learning rates beside their points, the unbeaten first, where there is room."""
    size = 0.75 * _SMALL
    pixel = 72 / axes.figure.dpi
    centers = axes.transData.transform(points[["x", "y"]].to_numpy()) * pixel
    frame = axes.get_window_extent()
    taken = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in centers]
    order = np.argsort(~points["unbeaten"].to_numpy(), kind="stable")
    for i in order:
        point = points.iloc[i]
        shown = point[["learning_rate", *(others if point["unbeaten"] else [])]].dropna()
        text = ", ".join(f"{value:g}".removeprefix("0") for value in shown)
        width, height = 0.56 * size * len(text), 0.8 * size
        for right, up in _PLACES:
            middle = centers[i] + (right * (4 + width / 2), up * (3 + height / 2))
            box = (*(middle - (width / 2, height / 2)), *(middle + (width / 2, height / 2)))
            if (
                box[0] < frame.x0 * pixel
                or box[2] > frame.x1 * pixel
                or box[1] < frame.y0 * pixel
                or box[3] > frame.y1 * pixel
                or any(_overlap(box, other) for other in taken)
            ):
                continue
            taken.append(box)
            axes.annotate(
                text,
                tuple(point[["x", "y"]]),
                (4 * right, middle[1] - centers[i][1]),
                textcoords="offset points",
                ha=("center", "left", "right")[right],
                va="center",
                fontsize=size,
                color=styles[point["method"]].color,
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
            )
            break


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


def _legend(figure: Figure, styles: dict[str, Look]) -> None:
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ms=4.5, lw=0.9, ls=look.dashes)
        for look in styles.values()
    ]
    figure.legend(
        handles,
        [look.label for look in styles.values()],
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=_SMALL,
        handlelength=2.2,
        columnspacing=1.0,
        handletextpad=0.4,
        borderaxespad=0.1,
    )


def _caption(dataset: xr.Dataset, points: pd.DataFrame, labels: list[str]) -> str:
    seeds = dataset.sizes["seed"]
    mean = f"mean of {seeds} seeds, 95 % bootstrap intervals" if seeds > 1 else "1 seed"
    parts = [f"{dataset.attrs['benchmark']}: {mean}", "filled: no other point is better in both"]
    if labels:
        first, *more = map(_words, labels)
        also = f" and, where filled, {', '.join(more)}" if more else ""
        parts.append(f"numbers: {first}{also}")
    if outside := int((~points["inside"]).sum()):
        parts.append(f"{outside} of {len(points)} settings lie outside, at lower accuracy")
    return "; ".join(parts)


def _norm(values: pd.Series, name: str) -> Normalize:
    """Return the range of colours."""
    low, high = values.min(), values.max()
    if name == "avg_sg" and 0 < _SPREAD * low < high:
        return LogNorm(low, high, clip=True)
    return Normalize(low, max(high, low + 1e-9), clip=True)


def _cells(
    axes: Axes,
    rows: pd.DataFrame,
    name: str,
    x: tuple[str, np.ndarray],
    y: tuple[str, np.ndarray],
) -> None:
    """Draw one panel: colours with the values in them; what was not run is grey."""
    grids = rows.pivot(index=y[0], columns=x[0])
    grid, diverged = grids[name].to_numpy(), grids["diverged"].to_numpy()
    inside = (grids["inside"] == True).to_numpy()
    goodness = _norm(rows[name][rows["inside"]], name)(grid)
    if name == "avg_sg":
        goodness = 1 - goodness
    shades = colormaps["Blues"](0.1 + 0.75 * goodness)
    shades[~inside] = to_rgba("0.94")
    shades[np.isnan(grid)] = 0
    axes.imshow(shades, origin="lower", aspect="auto")
    axes.set_xticks(np.arange(1, len(x[1])) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(y[1])) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    size = min(0.95 * FONT, 170 / len(x[1]) / 5 / 0.62)
    for (row, column), value in np.ndenumerate(grid):
        if np.isnan(value):
            continue
        text = f"{value:.3f}" if name == "avg_sg" else f"{100 * value:.1f}"
        dark = shades[row, column, :3] @ (0.3, 0.59, 0.11) < 0.55
        ink = "0.45" if not inside[row, column] else "white" if dark else "black"
        axes.text(
            column,
            row,
            text + "×" * bool(diverged[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            color=ink,
        )
    axes.set_xticks(range(len(x[1])), [f"{value:g}" for value in x[1]])
    axes.set_yticks(range(len(y[1])), [f"{value:g}" for value in y[1]])
    axes.tick_params(which="both", labelsize=0.9 * FONT, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(_words(x[0]), fontsize=FONT)
    axes.yaxis.label.set_fontsize(FONT)


def _words(name: str) -> str:
    return name.replace("_", " ")
