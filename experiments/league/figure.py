"""The figure of a benchmark: gap against error, a point per method."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from experiments.league.entries import is_oracle

_ERRORS = (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30)  # %
_GAPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_HIGHLIGHTED = {
    "ngm-sgd": "C3",
    "sgd": "C0",
    "msgd": "C2",
    "adam": "C1",
    "adagrad-ema": "k",
    "fixed-gain-ema": "k",
}


def draw(table: pd.DataFrame, name: str) -> Figure:
    """Return gap against error of anytime accuracy, a point per method.

    Args:
        table: What :func:`experiments.league.page.of_benchmark` returns.
        name: Name of the benchmark.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    sound = table[(table["diverged"] == 0) & (table["anytime"] > table["anytime"].max() - 0.15)]
    smallest = np.nanmin([0.1, sound["gap"][sound["gap"] > 0].min()])
    for method, row in sound.iterrows():
        color = _HIGHLIGHTED.get(str(method), "0.6")
        x, y = 100 * (1 - row["anytime"]), max(row["gap"], smallest / 2)
        oracle = is_oracle(str(method))
        axes.plot(
            x,
            y,
            "D" if oracle else "o",
            color=color,
            markersize=7 if row["frontier"] else 5,
            markerfacecolor=color if row["frontier"] else "none",
        )
        if row["frontier"] or method in _HIGHLIGHTED or str(method).endswith("-ema"):
            is_low = row["frontier"] and y < 0.03  # where others crowd above it
            place = (7, -9) if is_low else (5, 4)
            axes.annotate(str(method), (x, y), place, textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, ticks in ((axes.xaxis, _ERRORS), (axes.yaxis, _GAPS)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("100 % - anytime accuracy (smaller is better)")
    axes.set_ylabel("stability gap, avg-SG (smaller is better)")
    rest = (
        f"; {len(table) - len(sound)} of {len(table)} are outside"
        if len(sound) < len(table)
        else ""
    )
    axes.set_title(f"{name}. Filled: on the frontier; diamonds: oracles{rest}", fontsize=10)
    axes.grid(color="0.93", which="both")
    axes.set_axisbelow(True)
    return figure
