"""The figure for a paper: accuracy on task 1 through the run, one panel per setting."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gainjax.curves import check_rows, task_ends
from gainjax.show.names import setting_names
from gainjax.show.plots.drawing import draw
from gainjax.show.plots.looks import (
    FONT,
    INK,
    WIDTH,
    clean,
    figure_of,
    looks,
    percent,
    score_title,
)
from gainjax.show.series import RunCurves

_IN_A_ROW = 4


def plot_accuracy(
    curves: xr.Dataset,
    *,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw accuracy on task 1 through the run, one panel per setting; dashed lines mark switches.

    Lines are means over seeds, bands are pointwise 95 % confidence intervals of the mean. A
    diverged seed counts with its accuracy, but not with another score. All panels share their axes.
    To draw all settings into one panel, see :func:`gainjax.plot_curves`.

    Args:
        curves: Curves of a run, of some settings of a sweep, or from elsewhere.
        axes: Existing panels, one per setting, or None for those of a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of the figure in inches.

    Returns:
        A figure, by default 6.8 inches wide. Save it with its ``savefig``.

    Raises:
        ValueError: If a setting or color is unknown, or there is not one panel per setting.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> figure = plot_accuracy(
        ...     from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20]),
        ...     labels={"er": "replay"},
        ... )
        >>> [axes.get_title() for axes in figure.axes]
        ['replay', 'ewc']

    References:
        The layout is that of Rodriguez-Garcia et al., arXiv 2507.14056; the bands are ours.
    """
    check_rows(curves)
    styles = looks(setting_names(curves), colors, labels)
    if axes is None:
        panels = _panels(len(styles), size)
    else:
        panels = list(axes)
        if len(panels) != len(styles):
            raise ValueError(
                f"axes must be {len(styles)} panels, one per setting: got {len(panels)}"
            )
    figure = figure_of(panels[0], size if axes is not None else None)
    ends, drawn = task_ends(curves), []
    for panel, (label, look) in zip(panels, styles.items(), strict=True):
        clean(panel, 0.9 * FONT)
        # A line alone in its panel needs no dashes to be distinguished.
        run = RunCurves(curves, label)
        draw(panel, *run.accuracy, look._replace(dashes="-", width=1.1))
        drawn += [panel.lines[-1].get_ydata()] if len(run.seeds) else []
        for end in ends[:-1]:
            panel.axvline(end + 0.5, color=INK, linewidth=0.7, dashes=(3, 2), zorder=1)
        panel.set_title(look.label, fontsize=FONT)
        panel.set_xlim(0.5, ends[-1] + 0.5)
    if drawn and curves.attrs["score"] == "accuracy":
        values = np.concatenate(drawn)
        low, high = np.nanmin(values), np.nanmax(values)
        air = 0.05 * max(high - low, 0.02)  # intervals of few seeds may be wider than all curves
        for panel in panels:
            percent(panel.yaxis)
            panel.set_ylim(low - air, min(high + air, 1 + air))
    title = f"{score_title(curves)} on task 1"
    if axes is None:
        figure.supylabel(title, fontsize=0.9 * FONT)
        figure.supxlabel("update", fontsize=0.9 * FONT)
    else:
        panels[0].set_ylabel(title)
        for panel in panels:
            panel.set_xlabel("update")
    return figure


def _panels(count: int, size: tuple[float, float] | None) -> list[Axes]:
    """Return the panels of a new figure."""
    columns = min(_IN_A_ROW, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=size or (WIDTH, 0.5 + 1.75 * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in found[count:]:
        panel.remove()
    return found[:count]
