"""The figure for a paper: accuracy on task 1 through the run, one panel per setting."""

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gainjax.curves import check_rows, task_ends
from gainjax.show.names import setting_names
from gainjax.show.plots.drawing import draw
from gainjax.show.plots.looks import FONT, INK, WIDTH, clean, looks, percent, score_title
from gainjax.show.series import RunCurves

_IN_A_ROW = 4


def plot_accuracy(
    dataset: xr.Dataset,
    *,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw accuracy on task 1 through the run, one panel per setting; dashed lines mark switches.

    Lines are means over seeds, bands are pointwise 95 % confidence intervals of the mean. All
    panels share their axes. To draw into an existing panel, see :func:`gainjax.plot_curves`.

    Args:
        dataset: Curves of a run, of some settings of a sweep, or from elsewhere.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of the figure in inches.

    Returns:
        A figure, by default 6.8 inches wide. Save it with its ``savefig``.

    Raises:
        ValueError: If a setting or color is unknown.

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
    check_rows(dataset)
    styles = looks(setting_names(dataset), colors, labels)
    columns = min(_IN_A_ROW, len(styles))
    rows = math.ceil(len(styles) / columns)
    figure = Figure(figsize=size or (WIDTH, 0.5 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    ends = task_ends(dataset)
    for axes, (label, look) in zip(panels.flat, styles.items(), strict=False):
        clean(axes, 0.9 * FONT)
        # A line alone in its panel needs no dashes to be distinguished.
        draw(axes, *RunCurves(dataset, label).accuracy, look._replace(dashes="-", width=1.1))
        for end in ends[:-1]:
            axes.axvline(end + 0.5, color=INK, linewidth=0.7, dashes=(3, 2), zorder=1)
        axes.set_title(look.label, fontsize=FONT)
        axes.set_xlim(0.5, ends[-1] + 0.5)
    for axes in panels.flat[len(styles) :]:
        axes.remove()
    if dataset.attrs["score"] == "accuracy":
        percent(panels[0, 0].yaxis)
        drawn = np.concatenate([axes.lines[0].get_ydata() for axes in panels.flat[: len(styles)]])
        low, high = np.nanmin(drawn), np.nanmax(drawn)
        air = 0.05 * max(high - low, 0.02)  # intervals of few seeds may be wider than all curves
        panels[0, 0].set_ylim(low - air, min(high + air, 1 + air))
    figure.supylabel(f"{score_title(dataset)} on task 1", fontsize=0.9 * FONT)
    figure.supxlabel("update", fontsize=0.9 * FONT)
    return figure
