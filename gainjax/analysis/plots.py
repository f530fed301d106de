"""Figures of the analysis: bursts, tonic levels and the toy models."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gainjax.analysis.bursts import around_switches
from gainjax.analysis.panels import early_to_late, panels
from gainjax.analysis.recorded import RecordedGain, the_recorded_gain
from gainjax.analysis.tonic import LAST_PART
from gainjax.analysis.toys import (
    Trace,
    fast_slow_toy,
    gain_toy,
    noisy_onset_toys,
    onset_targets,
    onset_toy,
    reversal_targets,
    slow_toy,
)
from gainjax.curves import task_ends
from gainjax.show.names import printable
from gainjax.show.plots.drawing import draw
from gainjax.show.plots.looks import FONT, INK, WIDTH, Look, figure_of, looks
from gainjax.statistics import mean_interval

_DASHES = (0, (4, 2))
_DOTS = (0, (1, 1.5))
_SHOWN = 0.5  # fraction of the shortest task shown after a switch
_FLOOR = 0.05  # fraction of a burst below which its decay is noise
_SMOOTHED = 11  # updates in the running mean of uncertainty: batches are noisy
_BURST = slice(139, 185)  # updates shown around the reversal


def plot_bursts(
    curves: xr.Dataset,
    *,
    axes: Sequence[Axes] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the gain around every switch, and the decay of its bursts compared with a free decay.

    Left: the gain, one line per switch, mean over seeds with its 95 % confidence interval. Right,
    aligned at the peak of each burst and averaged over switches: the remainder of the burst above
    its final tonic level, the level where the gain would settle for the current uncertainty (a
    running mean over 11 updates), and a gain that no uncertainty drives; all relative to the height
    of the burst.

    Args:
        curves: Curves of one setting with a gain.
        axes: Two existing panels, or None for a new figure.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Raises:
        ValueError: If there is no switch, or several settings have a gain.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run(
        ...     "split-digits", ["ngm-sgd"], 2, updates_per_task=20, progress=False
        ... )
        >>> [panel.get_ylabel() for panel in plot_bursts(curves).axes]
        ['gain', 'burst that remains']
    """
    recorded, ends = the_recorded_gain(curves), task_ends(curves)
    left, right = panels(axes, 2, (WIDTH, 2.7), size=size)
    after = max(2, int(_SHOWN * np.diff(ends).min())) if len(ends) > 1 else 1
    own = curves.sel(setting=recorded.label, seed=recorded.seeds)
    pieces = around_switches(own["gain"], ends, before=min(20, after // 2), after=after)
    colors = early_to_late(pieces.sizes["switch"])
    for color, switch in zip(colors, pieces["switch"].values.tolist(), strict=True):
        piece = pieces.sel(switch=switch).transpose("since", "seed")
        values = piece.values.astype(np.float64)
        draw(left, pieces["since"].values, values, Look(str(switch), color, "-", "", 1.4))
        left.lines[-1].set_label(str(switch))
    left.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
    left.legend(title="switch", frameon=False, fontsize=0.85 * FONT, title_fontsize=0.85 * FONT,
                ncols=2, columnspacing=1, handlelength=1.4)  # fmt: skip
    left.set(xlabel="updates since the switch", ylabel="gain")
    left.set_xlim(*pieces["since"].values[[0, -1]].tolist())
    _draw_decay(right, recorded, ends, after)
    return figure_of(left, None)


def plot_tonic(
    table: pd.DataFrame,
    *,
    axes: Sequence[Axes] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the tonic level of each task, and compare it with the level that uncertainty predicts.

    First: means over seeds with 95 % confidence intervals. Last: each seed and task against the
    fixed point of the gain for the mean uncertainty; on the diagonal, the two agree. If the table
    has a complexity, such as the number of classes seen, a panel between them shows the level
    against it, one point per task.

    Args:
        table: Rows of :func:`gainjax.analysis.tonic_comparison`, with one setting per benchmark.
        axes: Existing panels, two, or three with a complexity; or None for a new figure.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Raises:
        ValueError: If the table lacks a column, or has several settings of one benchmark.

    Example:
        >>> rows = [("b", 0, k, 1 + k / 10, 1 + k / 10) for k in (1, 2, 3)]
        >>> columns = ["benchmark", "seed", "task", "level", "steady_state"]
        >>> plot_tonic(pd.DataFrame(rows, columns=columns)).axes[0].get_ylabel()
        'tonic gain'
    """
    wanted = ["benchmark", "seed", "task", "level", "steady_state"]
    if missing := [name for name in wanted if name not in table]:
        raise ValueError(f"table must be of tonic_comparison: it has no {', '.join(missing)}")
    if table.duplicated(["benchmark", "seed", "task"]).any():
        raise ValueError(
            "table must have one setting for each benchmark: got several. Select them before with "
            "curves.sel(setting=[...])"
        )
    is_complex = "complexity" in table
    left, *between, right = panels(
        axes, 2 + is_complex, (WIDTH * (1 + is_complex / 2), 2.7), size=size
    )
    styles = looks({name: printable(name) for name in table["benchmark"].unique()})
    for name, look in styles.items():
        own = table[table["benchmark"] == name]
        levels = own.pivot(index="task", columns="seed", values="level")
        values = levels.to_numpy(np.float64)
        mean, low, high = mean_interval(values)
        bars = np.nan_to_num([mean - low, high - mean])
        left.errorbar(levels.index, mean, bars, color=look.color, marker=look.marker, ms=5,
                      linestyle=look.dashes, linewidth=look.width, capsize=2.5, elinewidth=1,
                      label=look.label)  # fmt: skip
        for middle in between:
            at = own.groupby("task")["complexity"].mean()
            middle.errorbar(at, mean, bars, color=look.color, marker=look.marker, ms=5,
                            linestyle="", capsize=2.5, elinewidth=1)  # fmt: skip
        right.plot(own["steady_state"], own["level"], look.marker, color=look.color, ms=4,
                   alpha=0.7, mew=0)  # fmt: skip
    ends = [
        table[["steady_state", "level"]].min().min(),
        table[["steady_state", "level"]].max().max(),
    ]
    right.plot(ends, ends, color=INK, linewidth=0.8, zorder=1)
    left.xaxis.set_ticks(sorted(table["task"].unique()))
    left.set(xlabel="task", ylabel="tonic gain")
    left.legend(frameon=False, fontsize=0.85 * FONT, handlelength=2.6)
    for middle in between:
        middle.set(xlabel="complexity of the task", ylabel="tonic gain")
    right.set(xlabel=r"fixed point $g_0 + \eta\,\overline{H} / (1 - \gamma)$", ylabel="tonic gain")
    return figure_of(left, None)


def plot_toys(
    key: jax.Array,
    repeats: int = 50,
    *,
    axes: Sequence[Axes] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the toy models: a target that reverses for ten updates, and a noisy onset.

    Left: output and gain of three models around the reversal. Right: the noisy toy of the appendix,
    mean and standard deviation of its repeats, with a run without noise.

    Args:
        key: Random key of the noise.
        repeats: Repeats of the noisy toy, at least 1.
        axes: Four existing panels, row by row, or None for a new figure.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Example:
        >>> len(plot_toys(jax.random.key(0), repeats=3).axes)
        4
    """
    given = panels(axes, 4, (WIDTH, 4.2), rows=2, size=size)
    _draw_reversal(given[0], given[2])
    _draw_onset(given[1], given[3], noisy_onset_toys(key, repeats))
    return figure_of(given[0], None)


def _draw_decay(panel: Axes, recorded: RecordedGain, ends: np.ndarray, length: int) -> None:
    """Draw bursts aligned at their peaks: the remainder, its drive, and a free decay."""
    left, driven = [[np.full(length, np.nan)] for _ in range(2)]
    for start, end in itertools.pairwise(ends):
        task = recorded.gain[:, start:end]
        steady = np.asarray(recorded.dynamics.fixed_point(recorded.uncertainty[:, start:end]))
        last = max(1, int(LAST_PART * task.shape[1]))
        for gain, target in zip(task, steady, strict=True):
            top, tonic = int(gain.argmax()), gain[-last:].mean()
            if not gain[top] > tonic:
                continue  # it rose to the end: no burst
            pieces = np.full((2, length), np.nan)
            for row, values in zip(pieces, (gain, target), strict=True):
                part = (values[top : top + length] - tonic) / (gain[top] - tonic)
                row[: len(part)] = part
            left.append(pieces[0])
            driven.append(pieces[1])
    since = np.arange(length)
    smooth = pd.DataFrame(driven).mean().rolling(_SMOOTHED, center=True).mean()
    lines = (
        (pd.DataFrame(left).mean().to_numpy(), "#D55E00", "-", 2.0, "gain"),
        (smooth.to_numpy(), "#0072B2", _DASHES, 1.4, r"its drive, $\eta H / (1 - \gamma)$"),
        (float(recorded.dynamics.decay) ** since, INK, _DOTS, 1.6, r"free decay, $\gamma^n$"),  # type: ignore[arg-type]
    )
    for values, color, dashes, width, label in lines:
        shown = np.where(values > _FLOOR / 2, values, np.nan)
        panel.plot(since, shown, color=color, linestyle=dashes, linewidth=width, label=label)
    panel.set_yscale("log")
    panel.set(xlabel="updates since the peak", ylabel="burst that remains", ylim=(_FLOOR, 1.3))
    panel.set_xlim(0, length - 1)
    panel.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["5%", "10%", "20%", "50%", "100%"])
    panel.minorticks_off()
    panel.legend(frameon=False, fontsize=0.85 * FONT, handlelength=2, loc="upper right",
                 borderaxespad=0)  # fmt: skip


def _draw_reversal(outputs: Axes, gains: Axes) -> None:
    targets = reversal_targets()
    update = np.arange(len(targets))[_BURST]
    toys = {
        "gain": gain_toy(targets),
        "slow": slow_toy(targets),
        "fast and slow": fast_slow_toy(targets),
    }
    outputs.step(update, targets[_BURST], where="mid", color="0.75", linewidth=3, zorder=1,
                 label="target")  # fmt: skip
    for name, look in looks({name: name for name in toys}).items():
        style = {"color": look.color, "linestyle": look.dashes, "linewidth": look.width}
        outputs.plot(update, np.asarray(toys[name].output)[_BURST], **style, label=look.label)
        if name == "gain":  # the others have no gain
            gains.plot(update, np.asarray(toys[name].gain)[_BURST], **style)
    outputs.legend(frameon=False, fontsize=0.85 * FONT, loc="lower right", handlelength=2)
    outputs.set(ylabel="output", title="target reverses for 10 updates")
    gains.set(ylabel="gain", xlabel="update")
    for panel in (outputs, gains):
        panel.set_xlim(update[0], update[-1])
        panel.title.set(fontsize=0.9 * FONT, color=INK)


def _draw_onset(outputs: Axes, gains: Axes, noisy: Trace) -> None:
    targets, exact = onset_targets(), onset_toy()
    update = np.arange(len(targets))
    outputs.step(update, targets, where="mid", color="0.75", linewidth=3, zorder=1)
    for panel, repeats, line in (
        (outputs, noisy.output, exact.output),
        (gains, noisy.gain, exact.gain),
    ):
        values = np.asarray(repeats, np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        color = "#D55E00"
        panel.fill_between(update, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
        panel.plot(update, mean, color=color, linewidth=2, label="mean ± SD")
        panel.plot(update, np.asarray(line), color="black", linewidth=1, linestyle=_DASHES,
                   label="without noise")  # fmt: skip
        panel.set_xlim(update[0], update[-1])
    outputs.legend(*gains.get_legend_handles_labels(), frameon=False, fontsize=0.85 * FONT,
                   handlelength=2, loc="lower right")  # fmt: skip
    peak = int(np.asarray(exact.gain).argmax())
    text = f"peak {float(exact.gain[peak]):.4f}\nat update {peak}"
    gains.text(0.03, 0.95, text, transform=gains.transAxes, va="top", color=INK,
               fontsize=0.85 * FONT)  # fmt: skip
    outputs.set_title(f"onset, {len(noisy.gain)} noisy repeats", fontsize=0.9 * FONT, color=INK)
    gains.set_xlabel("update")
