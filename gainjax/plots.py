"""Figures of a run, from its curves alone.

Figures are made with Matplotlib's object-oriented interface: no backend is chosen, no global state
is touched, and nothing stays alive when the figure is dropped.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from gainjax.results import task_ends
from gainjax.statistics import bootstrap_interval

FONT_SIZE = 10.5  # points at 6.8 inches, and 5.4 points when shrunk to a column of 3.5 inches
INK = "0.25"
BEFORE = 0.05  # of a task: what is shown before a switch
AFTER = 0.25  # of a task: what is shown after a switch


class Look(NamedTuple):
    """How a method is drawn: told apart by colour, and without colour by its dashes."""

    label: str
    color: str
    dashes: Any
    width: float = 1.4


# Okabe & Ito's palette, safe for colour-blind readers; vermilion is kept for the method itself.
_LOOKS: Mapping[str, Look] = {
    "ngm-sgd": Look("NGM-SGD", "#D55E00", "-", 2.2),
    "sgd": Look("SGD", "#0072B2", (0, (5, 1.5))),
    "msgd": Look("MSGD", "#009E73", (0, (1, 1))),
    "adam": Look("Adam", "#444444", (0, (5, 1.5, 1, 1.5))),
}
_SPARE = (
    ("#CC79A7", (0, (8, 2))),
    ("#56B4E9", (0, (3, 1))),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
    ("#000000", (0, (2, 2))),
)


def plot_curves(dataset: xr.Dataset) -> Figure:
    """Draw accuracy and test loss on task 1 and the gain: over the run, and around the switches.

    Lines are means over seeds, bands are pointwise 95 % bootstrap intervals of the mean. On the
    right every curve is averaged over all switches, aligned at the last update before the switch,
    and accuracy is relative to that update: the depth of the dip is the stability gap. A seed that
    diverged counts with its accuracy, since it answers wrongly, and not with its loss and gain.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.

    Returns:
        A figure 6.8 inches wide that stays legible at 3.5 inches. Save it with its ``savefig``.

    Raises:
        ValueError: If the accuracy of task 1 was not evaluated.

    Example:
        >>> from gainjax import run
        >>> figure = plot_curves(run("split-digits", ["sgd"], seeds=1, updates_per_task=20))
        >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
        ['accuracy on task 1', 'relative to before the switch', 'test loss (nats)']
    """
    if 1 not in dataset.eval_task:
        raise ValueError(f"dataset must have accuracies of task 1: got {dataset.eval_task.values}")
    looks = _looks(dataset)
    ends = task_ends(dataset)
    gains = _moving_gains(dataset)
    heights = [2.3, 1.2, 1.0][: 3 if gains else 2]
    figure = Figure(figsize=(6.8, 0.9 + 1.05 * sum(heights)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0.02)
    columns = 2 if len(ends) > 1 else 1
    grid = figure.subplots(
        len(heights),
        columns,
        sharex="col",
        squeeze=False,
        height_ratios=heights,
        width_ratios=[1.75, 1][:columns],
    )
    ...
    return figure
