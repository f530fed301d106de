"""The basis for the sections of a page: curves with their names and looks, prepared once."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from gainjax.curves import swept_names, task_ends
from gainjax.show import tables
from gainjax.show.names import setting_names
from gainjax.show.plots.looks import Look, looks
from gainjax.show.series import RunCurves

MOST_SHOWN = 8  # settings whose curves are visible at first
DIGITS = 1  # decimal digits of a percentage, as on the command line


@dataclasses.dataclass(frozen=True)
class Line:
    """A line that a reader can switch on and off.

    Args:
        id: Identifier of its Bokeh renderer.
        setting: Number of its setting.
        seed: Number of its seed, or None for the mean.
        of_seeds: Whether it is the mean of seeds that can also be switched on.
    """

    id: str
    setting: int
    seed: int | None
    of_seeds: bool = False


@dataclasses.dataclass(frozen=True)
class Tip:
    """What stands beside the mouse: one box with a row per visible line.

    Bokeh's own would be a box per line, one on top of another.

    Args:
        figure: Identifier of the Bokeh figure.
        x_title: Title of the horizontal axis.
        is_percent: Whether values are shown as percentages.
        rows: Of each line the identifier of its renderer, its name and its column.
    """

    figure: str
    x_title: str
    is_percent: bool
    rows: tuple[tuple[str, str, str], ...]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A Bokeh figure, its description, its lines that can be switched, and its tooltip."""

    figure: Any
    caption: str
    lines: tuple[Line, ...] = ()
    tip: Tip | None = None


class Shown:
    """Curves as a page shows them.

    Args:
        curves: Curves.
        budget: Approximate limit on the numbers in the page.
    """

    def __init__(self, curves: xr.Dataset, budget: int) -> None:
        self.curves = curves
        self.names = setting_names(curves)
        self.runs = [RunCurves(curves, label) for label in self.names]
        self.ends: np.ndarray = task_ends(curves)
        self.has_switch = len(self.ends) > 1
        self.score = str(curves.attrs["score"])
        self.is_sweep = bool(swept_names(curves))
        self.budget = budget
        self.reduced = False  # whether a chart shows fewer points than there are
        self.visible = self._visible()
        # The initially visible ones get the most distinct looks.
        order = sorted(enumerate(self.names), key=lambda item: item[0] not in self.visible)
        found = looks({label: self.names[label] for _, label in order})
        self.looks: list[Look] = [found[label] for label in self.names]

    def _visible(self) -> set[int]:
        """Return the settings that are visible at first: all, or the best of a large sweep."""
        count = len(self.names)
        if count <= MOST_SHOWN:
            return set(range(count))
        order = list(self.names)
        if self.has_switch and self.is_sweep and "seen_accuracy" in self.curves:
            rows = tables.ranking(self.curves)
            order = [*rows.index[rows["chosen"]], *rows.index[rows["frontier"]], *order]
        chosen = list(dict.fromkeys(order))[:MOST_SHOWN]
        return {number for number, label in enumerate(self.names) if label in chosen}
