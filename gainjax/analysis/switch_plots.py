"""Figures of the network's changes at a switch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator

from gainjax.analysis.landscape import Plane
from gainjax.analysis.switch import PARTS
from gainjax.show.names import printable
from gainjax.show.plots.drawing import draw, scale_loss
from gainjax.show.plots.looks import FONT, INK, WIDTH, clean, looks, percent, unformatted

# Distinguished by color (Okabe & Ito), and without color by hatching.
_LOOKS = {"new_outputs": ("#D55E00", ""), "features": ("#0072B2", "//"), "head": ("#CCCCCC", "..")}
_LEVELS = 14  # of the contours of a plane
_HIGHEST = 90  # percentile of all planes: above, they are of one color
_NAMES = {"new_outputs": "outputs of new classes", "features": "features", "head": "head"}


def plot_drop(parts: xr.Dataset, columns: int = 3) -> Figure:
    """Draw the parts of the drop on task 1 after a switch, one panel per setting.

    Bars are means over seeds; parts that improve accuracy are below zero. The dot is the whole
    drop: the sum of the parts.

    Args:
        parts: The result of :func:`gainjax.analysis.drop_parts`.
        columns: Number of columns of panels, >= 1.

    Returns:
        The figure.

    Raises:
        ValueError: If ``columns`` is below 1.

    Example:
        >>> axes = ("setting", "seed", "snapshot")
        >>> one = {name: (axes, np.full((1, 2, 2), 0.1)) for name in (*PARTS, "accuracy")}
        >>> at = {"setting": ["sgd"], "seed": [0, 1], "snapshot": [20, 21]}
        >>> figure = plot_drop(xr.Dataset(one, coords=at, attrs={"switch_update": 20}))
        >>> figure.axes[0].get_title()
        'sgd'
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1: got {columns}")
    labels = parts["setting"].values.tolist()
    columns = min(columns, len(labels))
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for label, axes in zip(labels, grid.flat, strict=False):
        _draw(axes, parts.sel(setting=label), parts.attrs["switch_update"])
        axes.set_title(unformatted(printable(label)), fontsize=FONT, color=INK)
    for axes in grid.flat[len(labels) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        percent(axes.yaxis)
    figure.supylabel("drop of accuracy on task 1", fontsize=FONT)
    figure.supxlabel("updates since the switch", fontsize=FONT)
    patches = [Patch(facecolor=c, hatch=h, edgecolor="white") for c, h in _LOOKS.values()]
    figure.legend(
        patches, _NAMES.values(), loc="outside upper center", ncols=3, frameon=False, fontsize=FONT
    )
    return figure


def plot_landscape(
    lines: xr.DataArray,
    planes: Mapping[str, Mapping[str, Plane]] | None = None,
    names: Sequence[str] = ("before", "during", "after"),
) -> Figure:
    """Draw losses on the way from weights to weights, and on planes through them.

    Lines are means over seeds with 95 % confidence intervals. On a plane, crosses are the weights,
    and dots further ones that are projected onto it, in their order. Its axes are distances between
    weights; the colors of all planes are one logarithmic scale, the highest tenth without contours.

    Args:
        lines: Losses of :func:`gainjax.analysis.along_line` over (setting, loss, seed, place).
            Place 0 is at the first weights, 1 at the second, and so on.
        planes: For each setting what :func:`gainjax.analysis.on_plane` returned, by the name of the
            loss; the same names for all.
        names: What the weights are called, in order.

    Returns:
        The figure: a row for each setting.

    Raises:
        ValueError: If a dimension is missing, or planes are of other settings or losses.

    Example:
        >>> from gainjax.analysis import along_line
        >>> points = np.linspace(0, 1, 5)
        >>> down = [along_line(lambda w: w**2, 2.0, 0.0, points) for _ in range(2)]
        >>> at = {"setting": ["sgd"], "loss": ["task 1"], "place": points}
        >>> dims = ("setting", "loss", "seed", "place")
        >>> figure = plot_landscape(xr.DataArray([[down]], at, dims), names=("before", "after"))
        >>> figure.axes[0].get_ylabel()
        'loss'
    """
    planes = planes or {}
    labels, titles = _checked(lines, planes)
    count = 1 + len(titles)
    size = (WIDTH, 0.5 + 2.0 * len(labels)) if titles else (0.6 * WIDTH, 0.5 + 1.9 * len(labels))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(labels), count, squeeze=False)
    levels = _shared_levels([plane.loss for own in planes.values() for plane in own.values()])
    for row, label in zip(grid, labels, strict=True):
        _draw_line(row[0], lines.sel(setting=label), names)
        row[0].set_title(unformatted(printable(label)), fontsize=FONT, color=INK)
        for axes, title in zip(row[1:], titles, strict=True):
            filled = _draw_plane(axes, planes[label][title], levels, names)
            axes.set_title(unformatted(printable(title)), fontsize=FONT, color=INK)
    style = {"frameon": False, "fontsize": FONT, "handlelength": 2.4, "ncols": 4}
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", **style)
    if titles:
        below: dict[str, Any] = {"location": "bottom", "aspect": 40, "pad": 0.02, "format": "%g"}
        is_wide = levels[-1] > 100 * levels[0]
        ticks = LogLocator(subs=(1,) if is_wide else (1, 2, 5))
        bar = figure.colorbar(filled, ax=grid[:, 1:].ravel().tolist(), ticks=ticks, **below)
        bar.set_label("loss; axes: distance between weights", fontsize=0.9 * FONT)
        bar.ax.tick_params(labelsize=0.9 * FONT)
        bar.ax.xaxis.set_minor_locator(NullLocator())
    return figure


def _checked(
    lines: xr.DataArray, planes: Mapping[str, Mapping[str, Plane]]
) -> tuple[list[str], list[str]]:
    """Return the settings and the titles of the planes, or raise."""
    wanted = {"setting", "loss", "seed", "place"}
    if set(lines.dims) != wanted:
        raise ValueError(f"lines must be over {', '.join(sorted(wanted))}: got {lines.dims}")
    labels = lines["setting"].values.tolist()
    titles = [*next(iter(planes.values()))] if planes else []
    for label in labels if planes else ():
        if [*planes.get(label, ())] != titles:
            raise ValueError(
                f"planes must be of {', '.join(titles)} for every setting: those of {label!r} are "
                f"{[*planes.get(label, ())]}"
            )
    return labels, titles


def _shared_levels(losses: Sequence[np.ndarray]) -> np.ndarray:
    """Return the contours of all planes, on one logarithmic scale."""
    every = np.concatenate([np.ones(1), *(loss.ravel() for loss in losses)])[bool(losses) :]
    low, high = every[every > 0].min(), np.nanpercentile(every, _HIGHEST)
    return np.geomspace(low, max(high, 1.01 * low), _LEVELS)


def _draw_line(axes: Axes, lines: xr.DataArray, names: Sequence[str]) -> None:
    styles = looks({name: printable(name) for name in lines["loss"].values.tolist()})
    for name, look in styles.items():
        values = lines.sel(loss=name).transpose("place", "seed").values
        draw(axes, lines["place"].values, values, look)
        axes.lines[-1].set_label(look.label)
    scale_loss(axes)
    for place in range(1, len(names) - 1):
        axes.axvline(place, color=INK, linewidth=0.8, zorder=1)
    axes.set_xlim(0, len(names) - 1)
    axes.set_ylabel("loss")
    clean(axes)
    axes.set_xticks(range(len(names)), [unformatted(name) for name in names], fontsize=0.85 * FONT)


def _draw_plane(axes: Axes, plane: Plane, levels: np.ndarray, names: Sequence[str]) -> Any:
    shown = np.clip(plane.loss, levels[0], None)
    style: dict[str, Any] = {"levels": levels, "norm": LogNorm(levels[0], levels[-1])}
    filled = axes.contourf(plane.x, plane.y, shown, cmap="cividis", extend="max", **style)
    axes.contour(plane.x, plane.y, shown, colors="white", linewidths=0.3, **style)
    edge = [withStroke(linewidth=2, foreground="0.2")]  # white is to be seen on yellow, too
    if len(plane.others):
        style = {"color": "white", "markersize": 4, "linewidth": 0.8, "path_effects": edge}
        axes.plot(*plane.others.T, ".-", **style)
    axes.plot(*plane.corners.T, "x", color="#FF8A3D", markersize=7, markeredgewidth=2)
    middle = (plane.x[0] + plane.x[-1]) / 2
    for number, (name, place) in enumerate(zip(names, plane.corners, strict=True)):
        away, side = (4, "left") if place[0] < middle else (-4, "right")
        height = 4 if number else -12  # the second lies on one line with the first, often near it
        axes.annotate(
            unformatted(name), place, (away, height), textcoords="offset points", ha=side,
            color="white", fontsize=0.85 * FONT, path_effects=edge,
        )  # fmt: skip
    axes.tick_params(labelsize=0.85 * FONT, color=INK)
    return filled


def _draw(axes: Axes, parts: xr.Dataset, switch_update: int) -> None:
    since = parts["snapshot"].values[1:] - switch_update
    places = np.arange(len(since))
    above, below = np.zeros(len(since)), np.zeros(len(since))
    for name in PARTS:
        height = parts[name].mean("seed").values[1:]
        start = np.where(height >= 0, above, below)
        color, hatch = _LOOKS[name]
        axes.bar(places, height, 0.8, start, color=color, hatch=hatch, edgecolor="white", lw=0.3)
        above, below = above + np.maximum(height, 0), below + np.minimum(height, 0)
    accuracy = parts["accuracy"].mean("seed").values
    axes.plot(places, accuracy[0] - accuracy[1:], "o", color="black", markersize=3.5)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(places, [str(n) for n in since])
    clean(axes)
