"""Figures of runs and sweeps, from their curves alone.

Figures are made with Matplotlib's object-oriented interface: no backend is chosen, no global state
is touched, and no reference outlives the figure.
"""

from gainjax.show.plots.accuracy import plot_accuracy
from gainjax.show.plots.curves import plot_curves
from gainjax.show.plots.frontier import plot_frontier
from gainjax.show.plots.heatmap import plot_heatmap

__all__ = ["plot_accuracy", "plot_curves", "plot_frontier", "plot_heatmap"]
