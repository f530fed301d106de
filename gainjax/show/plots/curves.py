"""The figure of a run: its curves, and the gap at its switches."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from gainjax.curves import check_rows, task_ends
from gainjax.show.names import setting_names
from gainjax.show.plots.drawing import draw, scale_loss, shade_tasks
from gainjax.show.plots.looks import (
    FONT,
    INK,
    WIDTH,
    Look,
    clean,
    figure_of,
    heading,
    looks,
    percent,
    score_title,
)
from gainjax.show.series import RunCurves, aligned, switch_window

_HEIGHTS = {"accuracy": 2.3, "loss": 1.2, "gain": 1.0}


def plot_curves(
    curves: xr.Dataset,
    *,
    axes: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    r"""Draw accuracy and test loss on task 1 and the gain: over the run, and around the switches.

    Lines are means over seeds, bands are pointwise 95 % confidence intervals of the mean. On the
    right, every curve is averaged over the switches, aligned at the last update before a switch,
    and accuracy is relative to that update: the dip is the stability gap. Dips at different updates
    blur in a mean, so avg-SG, computed per seed, is larger. A diverged seed counts with its
    accuracy, since its answers are wrong, but not with its loss and gain, nor with another
    score. If there are several gains, each is a thin line. Variables that were not recorded have no
    panel. Very long curves are reduced to the visible points, with their extremes.

    Args:
        curves: Curves of a run, of some settings of a sweep, or from elsewhere.
        axes: An existing panel for accuracy on task 1 only, or None for a figure with all.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of the figure in inches.

    Returns:
        A figure, by default 6.8 inches wide and still readable at 3.5 inches. Save it with its
        ``savefig``.

    Raises:
        ValueError: If the input is not curves, or a setting or color is unknown.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> figure = plot_curves(
        ...     from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        ... )
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['accuracy on task 1', 'relative to before the switch']
    """
    check_rows(curves)
    names = setting_names(curves)
    runs = [RunCurves(curves, label) for label in names]
    styles = list(looks(names, colors, labels).values())
    ends, score = task_ends(curves), curves.attrs["score"]
    if axes is not None:
        figure = figure_of(axes, size)
        draw_accuracy(axes, runs, styles, ends, curves)
        return figure
    panels = [
        kind
        for kind, there in (
            ("accuracy", True),
            ("loss", any(run.loss is not None for run in runs)),
            ("gain", any(run.has_gain for run in runs)),
        )
        if there
    ]
    heights = [_HEIGHTS[kind] for kind in panels]
    widths = [1.8, 1.0] if len(ends) > 1 else [1.0]

    figure = Figure(
        figsize=size or (WIDTH, 1.1 + 1.05 * sum(heights)),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03, wspace=0.02, hspace=0),
    )
    columns = [dict(zip(panels, c, strict=True)) for c in _columns(figure, heights, widths)]
    _whole_run(columns[0], runs, styles, ends)
    columns[0]["accuracy"].set_ylabel(f"{score_title(curves)} on task 1")
    if score == "accuracy":
        _fractions(columns[0]["accuracy"])
        if "loss" in panels:
            columns[0]["loss"].set_ylabel("test loss on\ntask 1 (nats)")
    if len(ends) > 1:
        _around_switches(columns[1], runs, styles, ends)
    _legend(figure, curves, runs, styles)
    return figure


def draw_accuracy(
    axes: Axes,
    runs: Sequence[RunCurves],
    styles: Sequence[Look],
    ends: np.ndarray,
    curves: xr.Dataset,
) -> None:
    """Draw accuracy on task 1 over the run into a panel, with a legend.

    Args:
        axes: The panel.
        runs: The curves.
        styles: The style of each.
        ends: Last update of each task.
        curves: The source of the curves.
    """
    clean(axes)
    accuracies = [_accuracy_of(run) for run in runs]
    _whole_run({"accuracy": axes}, accuracies, styles, ends)
    axes.set_ylabel(f"{score_title(curves)} on task 1")
    if curves.attrs["score"] == "accuracy":
        _fractions(axes)
    handles = [_handle(look) for look in styles]
    names = [look.label for look in styles]
    axes.legend(handles, names, frameon=False, fontsize=0.9 * FONT, handlelength=2.6)


def _fractions(axes: Axes) -> None:
    """Label fractions as percentages, and show no more than there can be."""
    percent(axes.yaxis)
    low, high = axes.get_ylim()  # intervals of few seeds reach beyond
    axes.set_ylim(max(low, -0.05), min(high, 1.05))


def _accuracy_of(run: RunCurves) -> RunCurves:
    alone = copy.copy(run)
    alone.loss, alone.has_gain = None, False
    return alone


def _handle(look: Look) -> Line2D:
    style: dict[str, Any] = {"color": look.color, "ls": look.dashes, "lw": look.width}
    return Line2D([], [], **style)


def _columns(figure: Figure, heights: list[float], widths: list[float]) -> list[list[Axes]]:
    """Make the panels: a column shares its x axis; all rows but the first share their y axis."""
    grid = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    columns: list[list[Axes]] = []
    for j in range(len(widths)):
        column: list[Axes] = []
        for i in range(len(heights)):
            above = column[0] if column else None
            left = columns[0][i] if columns and i else None
            axes = figure.add_subplot(grid[i, j], sharex=above, sharey=left)
            axes.tick_params(labelbottom=i == len(heights) - 1, labelleft=left is None)
            clean(axes)
            column.append(axes)
        columns.append(column)
    return columns


def _whole_run(
    column: dict[str, Axes], runs: Sequence[RunCurves], styles: Sequence[Look], ends: np.ndarray
) -> None:
    """Draw the left column: every update."""
    for run, look in zip(runs, styles, strict=True):
        draw(column["accuracy"], *run.accuracy, look)
        for update in run.diverged[run.diverged > 0] if len(run.seeds) else ():
            height = np.interp(update, run.accuracy[0], run.accuracy[1].mean(axis=1))
            mark: dict[str, Any] = {"color": look.color, "mec": "white", "ms": 8, "zorder": 5}
            column["accuracy"].plot(update, height, "X", **mark)
        if run.loss is not None:
            draw(column["loss"], *run.loss, look)
        if run.has_gain:
            _draw_gains(column["gain"], run, look)
    if "loss" in column:
        column["loss"].set_ylabel("test loss on\ntask 1")
        scale_loss(column["loss"])
    if "gain" in column:
        column["gain"].set_ylabel("gain")
        column["gain"].axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    lowest = list(column.values())[-1]
    lowest.set_xlabel("update")
    lowest.set_xlim(0.5, ends[-1] + 0.5)
    _mark_tasks(list(column.values()), ends)


def _draw_gains(
    axes: Axes,
    run: RunCurves,
    look: Look,
    of: Callable[..., tuple[np.ndarray, np.ndarray]] = lambda *curve: curve,
) -> None:
    """Draw the gain of a run; several gains are each a thin line."""
    if run.gain is not None:
        draw(axes, *of(*run.gain), look)
    for curve in run.gains:
        draw(axes, *of(*curve), look._replace(width=0.6), band=False)


def _mark_tasks(column: list[Axes], ends: np.ndarray) -> None:
    """Shade every second task, and number them."""
    starts = np.append(0, ends[:-1])
    for axes in column:
        shade_tasks(axes, ends)
    spacing = -(-len(ends) // 10)  # there is room for at most 10 labels
    for number in range(1, len(ends) + 1, spacing):
        text = f"task {number}" if len(ends) <= 5 else str(number)
        middle = (starts[number - 1] + ends[number - 1] + 1) / 2
        column[0].annotate(
            text,
            (middle, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=0.9 * FONT,
        )


def _around_switches(
    column: dict[str, Axes], runs: list[RunCurves], styles: list[Look], ends: np.ndarray
) -> None:
    """Draw the right column: the mean over switches, aligned at the update before each."""
    window = switch_window(runs[0].accuracy[0], ends)
    for run, look in zip(runs, styles, strict=True):
        draw(column["accuracy"], window, aligned(*run.accuracy, ends, window, relative=True), look)
        if run.loss is not None:
            draw(column["loss"], window, aligned(*run.loss, ends, window), look)
        if run.has_gain:

            def around(updates: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                return window, aligned(updates, gain, ends, window)

            _draw_gains(column["gain"], run, look, around)
    if "gain" in column:
        column["gain"].axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    for axes in column.values():
        axes.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
    top, *_, lowest = [*column.values(), *column.values()]
    top.axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    percent(top.yaxis)
    top.yaxis.tick_right()
    top.yaxis.set_label_position("right")
    top.set_ylabel("relative to before the switch")
    switches = len(ends) - 1
    title = f"mean of {switches} switches" if switches > 1 else "at the switch"
    top.set_title(title, fontsize=0.9 * FONT, color=INK, pad=2)
    lowest.set_xlabel("updates since the switch")
    lowest.set_xlim(window[0], window[-1])


def _legend(figure: Figure, curves: xr.Dataset, runs: list[RunCurves], styles: list[Look]) -> None:
    """Name the methods in a row above, and explain lines and bands below."""
    seeds = curves.sizes["seed"]
    handles, labels = [], []
    for run, look in zip(runs, styles, strict=True):
        diverged = int((run.diverged > 0).sum())
        label = look.label + (f" ({diverged} of {seeds} diverged)" if diverged else "")
        handles.append(_handle(look))
        labels.append(label)
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=4 if max(map(len, labels)) < 16 else 2,
        frameon=False,
        fontsize=FONT,
        handlelength=2.6,
        columnspacing=1.4,
        borderaxespad=0.1,
    )
    lines = f"mean of {seeds} seeds, with 95 % confidence intervals" if seeds > 1 else "1 seed"
    caption = f"{heading(curves)}: {lines}"
    figure.supxlabel(caption, fontsize=0.9 * FONT, color=INK)
