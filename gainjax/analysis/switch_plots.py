"""Figures of the network's changes at a switch."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gainjax.analysis.switch import PARTS
from gainjax.show.names import printable
from gainjax.show.plots.looks import FONT, INK, WIDTH, clean, percent, unformatted

# Distinguished by color (Okabe & Ito), and without color by hatching.
_LOOKS = {"new_outputs": ("#D55E00", ""), "features": ("#0072B2", "//"), "head": ("#CCCCCC", "..")}
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
