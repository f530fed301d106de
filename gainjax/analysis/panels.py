"""Panels for the figures of the analysis: existing ones, or those of a new figure."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gainjax.show.plots.looks import clean

# From early to late, safe for color-blind readers: the sufficiently dark part of cividis.
_EARLY_TO_LATE = ("#00204D", "#31446B", "#666970", "#958F78", "#C7B065")


def panels(
    given: Sequence[Axes] | None, count: int, size: tuple[float, float], rows: int = 1
) -> list[Axes]:
    """Return cleaned panels to draw in.

    Args:
        given: Existing panels, or None for those of a new figure.
        count: Number of panels needed.
        size: Width and height of a new figure in inches.
        rows: Rows of a new figure.

    Raises:
        ValueError: If another number of panels is given.
    """
    if given is None:
        room = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.04)  # between the panels
        figure = Figure(figsize=size, layout=room)
        found = list(figure.subplots(rows, count // rows, squeeze=False).ravel())
    else:
        found = list(given)
    if len(found) != count:
        raise ValueError(f"axes must be {count} panels: got {len(found)}")
    for panel in found:
        clean(panel)
    return found


def figure_of(panel: Axes) -> Figure:
    """Return the figure of a panel."""
    return cast(Figure, panel.get_figure(root=True))


def mark_switches(panel: Axes, ends: np.ndarray) -> None:
    """Shade every second task.

    Args:
        panel: A panel over updates.
        ends: Last update of each task.
    """
    starts = np.append(0, ends[:-1])
    for start, end in zip(starts[1::2], ends[1::2], strict=False):
        panel.axvspan(start + 0.5, end + 0.5, color="0.955", linewidth=0, zorder=0)
    panel.set_xlim(0.5, ends[-1] + 0.5)


def early_to_late(count: int) -> list[str]:
    """Return colors for a sequence, dark to light.

    Args:
        count: Number of colors.

    Example:
        >>> early_to_late(2)
        ['#00204D', '#C7B065']
    """
    places = np.linspace(0, len(_EARLY_TO_LATE) - 1, max(count, 2)).round().astype(int)
    return [_EARLY_TO_LATE[place] for place in places[:count]]
