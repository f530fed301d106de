"""Panels and names for the figures of the analysis: existing panels, or those of a new figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gainjax.methods import METHODS
from gainjax.show.names import printable, setting_names
from gainjax.show.plots.looks import FONT, clean, figure_of

# From early to late, safe for color-blind readers: the sufficiently dark part of cividis.
_EARLY_TO_LATE = ("#00204D", "#31446B", "#666970", "#958F78", "#C7B065")


def panels(
    given: Sequence[Axes] | None,
    count: int,
    default: tuple[float, float],
    rows: int = 1,
    size: tuple[float, float] | None = None,
) -> list[Axes]:
    """Return cleaned panels to draw in.

    Args:
        given: Existing panels, or None for those of a new figure.
        count: Number of panels needed.
        default: Width and height of a new figure in inches.
        rows: Rows of a new figure.
        size: Width and height that the user wants, or None.

    Raises:
        ValueError: If another number of panels is given, or panels with a size.
    """
    if given is None:
        room = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.04)  # between the panels
        figure = Figure(figsize=size or default, layout=room)
        found = list(figure.subplots(rows, count // rows, squeeze=False).ravel())
    else:
        found = list(given)
    if len(found) != count:
        raise ValueError(f"axes must be {count} panels: got {len(found)}")
    if given is not None:
        figure_of(found[0], size)  # raises if there is a size
    for panel in found:
        clean(panel)
    return found


def names_of(found: xr.Dataset | xr.DataArray) -> dict[str, str]:
    """Return the displayed name of each setting: by its titles, or those of registered methods.

    Args:
        found: Values over settings.

    Example:
        >>> labels = {"setting": ["ngm-sgd", "ngm-sgd decay=0.5", "mine"]}
        >>> names_of(xr.DataArray([1.0, 2.0, 3.0], labels))
        {'ngm-sgd': 'NGM-SGD', 'ngm-sgd decay=0.5': 'NGM-SGD decay=0.5', 'mine': 'mine'}
    """
    if {"method", "title"} <= set(found.coords):
        return setting_names(found)
    names = {}
    for label in found["setting"].values.tolist():
        name = label.split(" ")[0]
        title = METHODS[name].shown_as(name) if name in METHODS else name
        names[label] = printable(title + label.removeprefix(name))
    return names


def add_legend(
    panel: Axes, handles: Sequence[Artist], names: Sequence[str], *, is_new: bool, ncols: int = 3
) -> None:
    """Add a legend above the panels, or inside one where the figure is not ours.

    Args:
        panel: The panel, or one of several.
        handles: What is named.
        names: Their names.
        is_new: Whether the figure was made for these panels.
        ncols: Columns of a legend above.
    """
    style: dict[str, Any] = {"frameon": False, "handlelength": 2.4}
    if is_new:
        figure = figure_of(panel, None)
        style |= {"loc": "outside upper center", "ncols": ncols, "fontsize": FONT}
        figure.legend(handles, names, **style)
    else:
        panel.legend(handles, names, fontsize=0.85 * FONT, **style)


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
