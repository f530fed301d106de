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
from gainjax.analysis.panels import add_legend, names_of, panels
from gainjax.analysis.switch import PARTS
from gainjax.show.names import printable
from gainjax.show.plots.drawing import draw, scale_loss
from gainjax.show.plots.looks import (
    FONT,
    INK,
    WIDTH,
    Look,
    clean,
    figure_of,
    looks,
    percent,
    unformatted,
)

# Distinguished by color (Okabe & Ito), and without color by hatching.
_COLORS = {"new_outputs": "#D55E00", "features": "#0072B2", "head": "#CCCCCC"}
_HATCHES = {"new_outputs": "", "features": "//", "head": ".."}
_DOTS = (0, (1, 1.5))
_LEVELS = 14  # of the contours of a plane
_HIGHEST = 90  # percentile of all planes: above, they are of one color
_NAMES = {"new_outputs": "outputs of new classes", "features": "features", "head": "head"}


def plot_drop(
    parts: xr.Dataset,
    columns: int = 3,
    *,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the parts of the drop on task 1 after a switch, one panel per setting.

    Bars are means over seeds; parts that improve accuracy are below zero. The dot is the whole
    drop: the sum of the parts. Seeds that diverged are left out.

    Args:
        parts: The result of :func:`gainjax.analysis.drop_parts`.
        columns: Number of columns of panels, >= 1.
        axes: Existing panels, one per setting, or None for a new figure.
        colors: Colors to override, by the name of the part: "new_outputs", "features", "head".
        labels: Names of settings to override, by their label.
        size: Width and height of a new figure in inches.

    Returns:
        The figure.

    Raises:
        ValueError: If ``columns`` is below 1, a setting, part or color is unknown, or there are
            not as many panels as settings.

    Example:
        >>> dims = ("setting", "seed", "snapshot")
        >>> one = {name: (dims, np.full((1, 2, 2), 0.1)) for name in (*PARTS, "accuracy")}
        >>> at = {"setting": ["sgd"], "seed": [0, 1], "snapshot": [20, 21]}
        >>> figure = plot_drop(xr.Dataset(one, coords=at, attrs={"switch_update": 20}))
        >>> figure.axes[0].get_title()
        'SGD'
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1: got {columns}")
    titles = looks(names_of(parts), labels=labels)
    of_parts = looks(_NAMES, {**_COLORS, **(colors or {})})
    styles = {name: look.color for name, look in of_parts.items()}
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    if axes is None:
        figure = Figure(figsize=size or (WIDTH, 0.6 + 1.75 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for spare in grid.flat[len(titles) :]:
            spare.set_axis_off()
        given, left = list(grid.flat[: len(titles)]), list(grid[:, 0])
    else:
        given = left = panels(axes, len(titles), (WIDTH, 2), size=size)
        figure = figure_of(given[0], None)
    for (label, look), panel in zip(titles.items(), given, strict=True):
        _draw(panel, parts.sel(setting=label), parts.attrs["switch_update"], styles)
        panel.set_title(look.label, fontsize=FONT, color=INK)
    for panel in left:
        percent(panel.yaxis)
    patches = [Patch(facecolor=styles[n], hatch=_HATCHES[n], edgecolor="white") for n in _NAMES]
    if axes is None:
        figure.supylabel("drop of accuracy on task 1", fontsize=FONT)
        figure.supxlabel("updates since the switch", fontsize=FONT)
    else:
        given[0].set(xlabel="updates since the switch", ylabel="drop of accuracy on task 1")
    add_legend(given[0], patches, list(_NAMES.values()), is_new=axes is None)
    return figure


def plot_landscape(
    lines: xr.DataArray,
    planes: Mapping[str, Mapping[str, Plane]] | None = None,
    names: Sequence[str] = ("before", "during", "after"),
    *,
    direct: xr.DataArray | None = None,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw losses on lines between sets of weights, and on planes through them.

    Lines are means over seeds with 95 % confidence intervals. On a plane, crosses are the weights,
    and dots further ones that are projected onto it, in their order. Its axes are distances between
    weights; the colors of all planes are one logarithmic scale, the highest tenth without contours.

    Args:
        lines: Losses of :func:`gainjax.analysis.along_line` over (setting, loss, seed, place).
            Place 0 is at the first weights, 1 at the second, and so on.
        planes: For each setting what :func:`gainjax.analysis.on_plane` returned, by the name of the
            loss; the same names for all.
        names: What the weights are called, in order.
        direct: Losses on the straight line from the first weights to the last, over the same
            dimensions, with places from 0 to 1: drawn as thin dotted lines over the whole width,
            without their intervals.
        axes: Existing panels, row by row, or None for a new figure.
        colors: Colors to override, by the name of the loss.
        labels: Names of settings to override, by their label.
        size: Width and height of a new figure in inches.

    Returns:
        The figure: a row for each setting.

    Raises:
        ValueError: If a dimension is missing, planes or direct lines are of other settings or
            losses, a setting, loss or color is unknown, or the number of panels is wrong.

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
    settings, titles = _checked(lines, planes, direct)
    shown = looks(names_of(lines), labels=labels)
    styles = looks({name: printable(name) for name in lines["loss"].values.tolist()}, colors)
    count, rows = 1 + len(titles), len(settings)
    default = (WIDTH, 0.5 + 2.0 * rows) if titles else (0.6 * WIDTH, 0.5 + 1.9 * rows)
    if axes is None:
        figure = Figure(figsize=size or default, layout="constrained")
        grid = figure.subplots(rows, count, squeeze=False)
    else:
        given = np.array(panels(axes, rows * count, default, size=size), object)
        grid = given.reshape(rows, count)
        figure = figure_of(grid[0, 0], None)
    levels = _shared_levels([plane.loss for own in planes.values() for plane in own.values()])
    for row, label in zip(grid, settings, strict=True):
        straight = None if direct is None else direct.sel(setting=label)
        _draw_line(row[0], lines.sel(setting=label), straight, names, styles)
        row[0].set_title(shown[label].label, fontsize=FONT, color=INK)
        for panel, title in zip(row[1:], titles, strict=True):
            filled = _draw_plane(panel, planes[label][title], levels, names)
            panel.set_title(unformatted(printable(title)), fontsize=FONT, color=INK)
    handles, texts = grid[0, 0].get_legend_handles_labels()
    add_legend(grid[0, 0], handles, texts, is_new=axes is None, ncols=len(texts))
    if titles:
        _add_bar(figure, filled, grid[:, 1:].ravel().tolist(), levels)
    return figure


def _add_bar(figure: Figure, filled: Any, given: list[Axes], levels: np.ndarray) -> None:
    """Add the scale of the colors of all planes."""
    below: dict[str, Any] = {"location": "bottom", "aspect": 40, "pad": 0.02, "format": "%g"}
    is_wide = levels[-1] > 100 * levels[0]
    ticks = LogLocator(subs=(1,) if is_wide else (1, 2, 5))
    bar = figure.colorbar(filled, ax=given, ticks=ticks, **below)
    bar.set_label("loss; axes: distance between weights", fontsize=0.9 * FONT)
    bar.ax.tick_params(labelsize=0.9 * FONT)
    bar.ax.xaxis.set_minor_locator(NullLocator())


def _checked(
    lines: xr.DataArray, planes: Mapping[str, Mapping[str, Plane]], direct: xr.DataArray | None
) -> tuple[list[str], list[str]]:
    """Return the settings and the titles of the planes, or raise."""
    wanted = {"setting", "loss", "seed", "place"}
    if set(lines.dims) != wanted:
        raise ValueError(f"lines must be over {', '.join(sorted(wanted))}: got {lines.dims}")
    for name in ("setting", "loss"):
        if direct is not None and set(direct[name].values) != set(lines[name].values):
            raise ValueError(
                f"direct must be of each {name} of lines, {lines[name].values.tolist()}: got "
                f"{direct[name].values.tolist()}"
            )
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


def _draw_line(
    axes: Axes,
    lines: xr.DataArray,
    straight: xr.DataArray | None,
    names: Sequence[str],
    styles: Mapping[str, Look],
) -> None:
    for name, look in styles.items():
        values = lines.sel(loss=name).transpose("place", "seed").values
        draw(axes, lines["place"].values, values, look)
        axes.lines[-1].set_label(look.label)
    if straight is not None:
        stretched = straight["place"].values * (len(names) - 1)
        for name, look in styles.items():
            values = straight.sel(loss=name).transpose("place", "seed").values
            draw(axes, stretched, values, look._replace(dashes=_DOTS, width=1.1), band=False)
        axes.plot([], [], color=INK, linestyle=_DOTS, linewidth=1.1, label="straight to the end")
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


def _draw(axes: Axes, parts: xr.Dataset, switch_update: int, colors: Mapping[str, str]) -> None:
    since = parts["snapshot"].values[1:] - switch_update
    parts = parts[[*PARTS, "accuracy"]].dropna("seed")  # the same seeds in bars and dots
    places = np.arange(len(since))
    if parts.sizes["seed"]:
        _draw_bars(axes, places, parts, colors)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(places, [str(n) for n in since])
    clean(axes)


def _draw_bars(
    axes: Axes, places: np.ndarray, parts: xr.Dataset, colors: Mapping[str, str]
) -> None:
    above, below = np.zeros(len(places)), np.zeros(len(places))
    for name in PARTS:
        height = parts[name].mean("seed").values[1:]
        start = np.where(height >= 0, above, below)
        style: dict[str, Any] = {
            "color": colors[name],
            "hatch": _HATCHES[name],
            "edgecolor": "white",
            "lw": 0.3,
        }
        axes.bar(places, height, 0.8, start, label=_NAMES[name], **style)
        above, below = above + np.maximum(height, 0), below + np.minimum(height, 0)
    accuracy = parts["accuracy"].mean("seed").values
    axes.plot(places, accuracy[0] - accuracy[1:], "o", color="black", markersize=3.5)
