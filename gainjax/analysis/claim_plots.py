"""The figure of claims: how far each is from not holding."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gainjax.analysis.panels import panels
from gainjax.show.plots.looks import FONT, INK, WIDTH, clean, figure_of, unformatted

# Safe for color-blind readers, and the markers tell them apart without color.
_VERDICTS = {
    "holds": ("#0072B2", "o"),
    "open": (INK, "s"),
    "fails": ("#D55E00", "X"),
    "diverged": ("#CC79A7", "P"),
}


def plot_claims(
    table: pd.DataFrame, *, axes: Axes | None = None, size: tuple[float, float] | None = None
) -> Figure:
    """Draw the measured claims with their intervals: right of the line they hold.

    Claims have different units, so each is divided by the end of its interval that is farther from
    0: the line at 0 and the verdict keep their meaning, but lengths of different claims cannot be
    compared. Without an interval, as of one seed, the mean is drawn halfway. The number itself
    stands at the right.

    Args:
        table: Rows of :func:`gainjax.analysis.judge_claims`. Claims without a value are left out.
        axes: An existing panel, or None for a new figure.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panel.

    Raises:
        ValueError: If no claim has a value.

    Example:
        >>> rows = [("A.", 0.2, 0.1, 0.3, "holds"), ("B.", -0.1, -0.3, 0.1, "open")]
        >>> columns = ["statement", "value", "low", "high", "verdict"]
        >>> axes = plot_claims(pd.DataFrame(rows, columns=columns)).axes[0]
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['A.', 'B.']
    """
    rows = table[table["value"].notna()].reset_index(drop=True)
    if rows.empty:
        raise ValueError(
            "table must have a claim with a value: got none. The curves need the methods that "
            "CLAIMS name"
        )
    default = (1.3 * WIDTH, 0.9 + 0.3 * len(rows))
    (axes,) = panels(None if axes is None else [axes], 1, default, size=size)
    clean(axes, 0.9 * FONT)
    ends = rows[["value", "low", "high"]].to_numpy(np.float64)
    scaled = ends / np.nanmax(np.abs(ends), axis=1, keepdims=True).clip(min=1e-300)
    scaled[np.isnan(ends[:, 1])] /= 2
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    for verdict, (color, marker) in _VERDICTS.items():
        places = np.flatnonzero(rows["verdict"] == verdict)
        if not places.size:
            continue
        mean, low, high = scaled[places].T
        axes.hlines(places, low, high, color, linewidth=1.6)
        axes.plot(mean, places, marker, color=color, markersize=6, label=verdict, linestyle="")
    for place, value in enumerate(ends[:, 0]):
        axes.annotate(f"{value:+.2g}", (1, place), (6, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", color=INK,
                      fontsize=0.85 * FONT)  # fmt: skip
    axes.set_yticks(range(len(rows)), list(map(unformatted, rows["statement"])))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-1.08, 1.08)
    axes.set_xticks([-1, 0, 1], ["fails", "0", "holds"])
    axes.grid(visible=False)
    axes.legend(frameon=False, fontsize=0.85 * FONT, loc="lower left", bbox_to_anchor=(0, 1),
                ncols=4, handletextpad=0.2, columnspacing=1, borderpad=0)  # fmt: skip
    return figure_of(axes, None)
