"""The figure of a run: its curves, and the gap at its switches."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gainjax.curves.dataset import rows_dimension, task_ends
from gainjax.show.plots.looks import FONT, INK, WIDTH, Look, clean, looks, percent
from gainjax.statistics import bootstrap_interval

_BEFORE, _AFTER = 0.05, 0.25  # of a task: what is shown around a switch
_DECADES = 1.5  # a loss that spans more has a logarithmic axis


def plot_curves(dataset: xr.Dataset) -> Figure:
    r"""Draw accuracy and test loss on task 1 and the gain: over the run, and around the switches.

    Lines are means over seeds, bands are pointwise 95 % bootstrap intervals of the mean. On the
    right every curve is averaged over the switches, aligned at the last update before a switch, and
    accuracy is relative to that update: the dip is the stability gap. Dips that come at different
    updates blur in a mean, so avg-SG, taken per seed, is larger. A seed that diverged counts with
    its accuracy, since its answers are wrong, but not with its loss and gain.

    Args:
        dataset: Curves as :func:`gainjax.load` or :func:`gainjax.run` returns them.

    Returns:
        A figure 6.8 inches wide that can be read at 3.5 inches. Keep it with its ``savefig``.

    Raises:
        ValueError: If the dataset is a sweep.

    Example:
        >>> from gainjax import run
        >>> figure = plot_curves(run("split-digits", ["sgd"], seeds=2, updates_per_task=10))
        >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
        ['accuracy on task 1', 'test loss on\ntask 1 (nats)', 'relative to before the switch']
    """
    if rows_dimension(dataset) == "setting":
        raise ValueError(
            "dataset must be a run: got a sweep; draw it with plot_frontier or plot_heatmap, or "
            "run the setting that you want to see"
        )
    runs = [_Run(dataset, name) for name in dataset.method.values.tolist()]
    styles = list(looks(run.name for run in runs).values())
    ends = task_ends(dataset)
    heights = [2.3, 1.2, 1.0] if any(run.has_gain for run in runs) else [2.3, 1.2]
    widths = [1.8, 1.0] if len(ends) > 1 else [1.0]

    figure = Figure(
        figsize=(WIDTH, 1.1 + 1.05 * sum(heights)),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03, wspace=0.02, hspace=0),
    )
    columns = _columns(figure, heights, widths)
    _whole_run(columns[0], runs, styles, ends)
    if len(ends) > 1:
        _around_switches(columns[1], runs, styles, ends)
    _legend(figure, dataset, runs, styles)
    return figure


class _Run:
    """The curves of one method on task 1: updates with values of shape (updates, seeds)."""

    def __init__(self, dataset: xr.Dataset, name: str) -> None:
        curves = dataset.sel({"method": name})
        first = curves.sel(eval_task=1)
        self.name = name
        self.diverged = curves.diverged_update.values
        self.accuracy = curves.eval_update.values, first.accuracy.values.T
        loss, gain = first.eval_loss.values.T, curves.gain.values.T
        kept = (self.diverged == 0) & np.isfinite(loss).all(axis=0)
        self.loss = curves.eval_update.values, loss[:, kept]
        self.gain = curves["update"].values, gain[:, kept]
        self.has_gain = bool((self.gain[1] != 1).any())


def _columns(figure: Figure, heights: list[float], widths: list[float]) -> list[list[Axes]]:
    """Make the panels: a column shares its x axis; a row but the first shares its y axis."""
    grid = figure.add_gridspec(
        len(heights), len(widths), height_ratios=heights, width_ratios=widths
    )
    columns: list[list[Axes]] = []
    for j in range(len(widths)):
        column: list[Axes] = []
        for i in range(len(heights)):
            above = column[0] if column else None
            left = columns[0][i] if columns and i else None
            axes = figure.add_subplot(grid[i, j], sharex=above, sharey=left)
            axes.tick_params(labelbottom=i == len(heights) - 1, labelleft=left is None)
            clean(axes)
            column.append(axes)
        columns.append(column)
    return columns


def _whole_run(column: list[Axes], runs: list[_Run], styles: list[Look], ends: np.ndarray) -> None:
    """Draw the left column: every update."""
    for run, look in zip(runs, styles, strict=True):
        _draw(column[0], *run.accuracy, look)
        for update in run.diverged[run.diverged > 0]:
            height = np.interp(update, run.accuracy[0], run.accuracy[1].mean(axis=1))
            column[0].plot(update, height, "X", color=look.color, mec="white", ms=8, zorder=5)
        _draw(column[1], *run.loss, look)
        if run.has_gain:
            _draw(column[2], *run.gain, look)
    column[0].set_ylabel("accuracy on task 1")
    percent(column[0].yaxis)
    column[1].set_ylabel("test loss on\ntask 1 (nats)")
    _scale_loss(column[1])
    if len(column) > 2:
        column[2].set_ylabel("gain")
        column[2].axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    column[-1].set_xlabel("update")
    column[-1].set_xlim(0.5, ends[-1] + 0.5)
    starts = np.append(0, ends[:-1])
    for axes in column:
        for start, end in zip(starts[1::2], ends[1::2], strict=False):
            axes.axvspan(start + 0.5, end + 0.5, color="0.955", linewidth=0, zorder=0)
    spacing = -(-len(ends) // 10)  # at most 10 labels have room
    for number in range(1, len(ends) + 1, spacing):
        text = f"task {number}" if len(ends) <= 5 else str(number)
        middle = (starts[number - 1] + ends[number - 1]) / 2
        column[0].annotate(
            text,
            (middle, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=0.9 * FONT,
        )


def _around_switches(
    column: list[Axes], runs: list[_Run], styles: list[Look], ends: np.ndarray
) -> None:
    """Draw the right column: the mean over switches, aligned at the update before each."""
    length = np.diff(ends).min()
    window = np.arange(-int(_BEFORE * length), max(1, int(_AFTER * length)) + 1)
    for run, look in zip(runs, styles, strict=True):
        relative = _aligned(*run.accuracy, ends, window, relative=True)
        _draw(column[0], window, relative, look)
        _draw(column[1], window, _aligned(*run.loss, ends, window), look)
        if run.has_gain:
            _draw(column[2], window, _aligned(*run.gain, ends, window), look)
    if len(column) > 2:
        column[2].axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    for axes in column:
        axes.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
    column[0].axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    percent(column[0].yaxis)
    column[0].yaxis.tick_right()
    column[0].yaxis.set_label_position("right")
    column[0].set_ylabel("relative to before the switch")
    switches = len(ends) - 1
    title = f"mean of {switches} switches" if switches > 1 else "at the switch"
    column[0].set_title(title, fontsize=0.9 * FONT, color=INK, pad=2)
    column[-1].set_xlabel("updates since the switch")
    column[-1].set_xlim(window[0], window[-1])


def _aligned(
    updates: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
    window: np.ndarray,
    *,
    relative: bool = False,
) -> np.ndarray:
    """Return the mean over switches, shape (window, seeds); seeds with nothing to show drop out."""
    switches = ends[:-1, None] + window  # between evaluations, a straight line
    pieces = np.empty((*switches.shape, values.shape[1]))
    for seed in range(values.shape[1]):
        pieces[..., seed] = np.interp(switches, updates, values[:, seed])
    if relative:
        before = pieces[:, window == 0]
        pieces = np.where(before > 0, pieces / np.where(before > 0, before, 1), np.nan)
        pieces = pieces[..., (before > 0).any(axis=(0, 1))]
    return np.nanmean(pieces, axis=0)


def _draw(axes: Axes, updates: np.ndarray, values: np.ndarray, look: Look) -> None:
    """Draw mean and band of values of shape (updates, seeds), if there are seeds to draw."""
    if not values.shape[1]:
        return
    interval = bootstrap_interval(values, resamples=1000)
    style: dict[str, Any] = {"color": look.color, "linewidth": look.width}
    axes.plot(updates, interval.mean, **style, linestyle=look.dashes, zorder=3 + look.width / 10)
    if values.shape[1] > 1:
        axes.fill_between(
            updates, interval.low, interval.high, color=look.color, alpha=0.2, linewidth=0, zorder=2
        )


def _scale_loss(axes: Axes) -> None:
    """Use a logarithmic axis if the means span decades."""
    means = np.concatenate([line.get_ydata() for line in axes.lines] or [[1.0]])
    positive = means[means > 0]
    if positive.size and np.log10(positive.max() / positive.min()) > _DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))


def _legend(figure: Figure, dataset: xr.Dataset, runs: list[_Run], styles: list[Look]) -> None:
    """Name the methods in one row above, and say below what lines and bands are."""
    seeds = dataset.sizes["seed"]
    handles, labels = [], []
    for run, look in zip(runs, styles, strict=True):
        diverged = int((run.diverged > 0).sum())
        label = look.label + (f" ({diverged} of {seeds} diverged)" if diverged else "")
        style: dict[str, Any] = {
            "color": look.color,
            "linestyle": look.dashes,
            "linewidth": look.width,
        }
        handles.append(Line2D([], [], **style))
        labels.append(label)
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=4 if max(map(len, labels)) < 16 else 2,
        frameon=False,
        fontsize=FONT,
        handlelength=2.6,
        columnspacing=1.4,
        borderaxespad=0.1,
    )
    lines = f"mean of {seeds} seeds, with 95 % bootstrap intervals" if seeds > 1 else "1 seed"
    caption = f"{dataset.attrs['benchmark']}: {lines}"
    figure.supxlabel(caption, fontsize=0.9 * FONT, color=INK)
