"""Figures of what the recorded gain means for weights, softmax and steps, update by update."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gainjax.analysis.panels import panels
from gainjax.analysis.recorded import gain_traces
from gainjax.analysis.temperature import effective_step, temperature_trace
from gainjax.analysis.timescales import fast_share
from gainjax.curves import settings_of, task_ends
from gainjax.show.names import setting_names
from gainjax.show.plots.drawing import draw, shade_tasks
from gainjax.show.plots.looks import FONT, INK, WIDTH, Look, figure_of, looks


def plot_timescales(
    curves: xr.Dataset,
    *,
    axes: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the share of the fast part in the effective weights over a run.

    Lines are means over seeds, bands 95 % confidence intervals of the mean; every second task is
    shaded.

    Args:
        curves: Curves, as for :func:`gainjax.analysis.fast_share`.
        axes: An existing panel, or None for a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panel.

    Raises:
        ValueError: If a setting or color is unknown, or as :func:`gainjax.analysis.fast_share`.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run("split-digits", ["ngm-sgd"], 2, updates_per_task=5, progress=False)
        >>> plot_timescales(curves).axes[0].get_ylabel()
        'fast part of the weights'
    """
    shares = fast_share(curves)
    styles = _looks_of(curves, shares, colors, labels)
    (panel,) = panels(None if axes is None else [axes], 1, (WIDTH, 2.4), size=size)
    for label, look in styles.items():
        values = shares.sel(setting=label).dropna("seed").transpose("update", "seed").values
        draw(panel, shares["update"].values, values, look)
        panel.lines[-1].set_label(look.label)
    shade_tasks(panel, task_ends(curves))
    panel.set_xlim(0.5, task_ends(curves)[-1] + 0.5)
    panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    panel.set(xlabel="update", ylabel="fast part of the weights", ylim=(0, None))
    _name(panel, styles)
    return figure_of(panel, None)


def plot_temperature(
    curves: xr.Dataset,
    layers: int,
    *,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    r"""Draw what the gain does to the softmax, and what it does to the step, over a run.

    .. math:: T_t = (g_0 / g_t)^L, \qquad \alpha\, g_t\, g_{t+1}

    Above: the temperature of the softmax, whose dashed line is that at the baseline; below 1,
    errors of confident answers are sharper. Below: the rate at which SGD moves the effective
    weights along their gradient (:func:`effective_step`); with an optimizer that normalizes the
    gradient, such as Adam, the factor :math:`g_t` drops out. Lines are means over seeds, bands 95 %
    confidence intervals of the mean; every second task is shaded.

    Args:
        curves: Curves, as for :func:`gainjax.analysis.gain_traces`, of settings with a learning
            rate.
        layers: Number L of stacked modulated bias-free layers: 3 for the MLPs of the built-in
            benchmarks, 1 if only the head is modulated.
        axes: Two existing panels, or None for a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Raises:
        ValueError: If a setting or color is unknown, a setting has no learning rate, an update is
            missing, or as :func:`gainjax.analysis.temperature_trace`.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run("split-digits", ["ngm-sgd"], 2, updates_per_task=5, progress=False)
        >>> above, below = plot_temperature(curves, layers=3).axes
        >>> print(below.lines[0].get_ydata()[0].round(4))  # 0.01 g(1) g(2)
        0.0192
    """
    temperatures = temperature_trace(curves, layers)
    styles = _looks_of(curves, temperatures, colors, labels)
    rates = {label: _learning_rate(curves, label) for label in styles}
    above, below = panels(axes, 2, (WIDTH, 3.6), rows=2, size=size)
    updates = curves["update"].values
    if (np.diff(updates) != 1).any():
        raise ValueError(
            "curves must hold the gain of successive updates, which a step is made of: got "
            f"{updates[:3].tolist()}, ... Do not select among them before"
        )
    for label, trace in gain_traces(curves).items():
        look = styles[label]
        own = temperatures.sel(setting=label).dropna("seed").transpose("update", "seed")
        draw(above, updates, own.values, look)
        above.lines[-1].set_label(look.label)
        steps = np.asarray(effective_step(trace.gain, 1.0)) * rates[label]
        draw(below, updates[:-1], steps.T, look)
    above.axhline(1, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    for panel in (above, below):
        shade_tasks(panel, task_ends(curves))
        panel.set(xlim=(0.5, task_ends(curves)[-1] + 0.5), ylim=(0, None))
    above.set_ylabel("temperature\nof the softmax")
    below.set(xlabel="update", ylabel="effective step\n" + r"$\alpha\, g_t\, g_{t+1}$")
    _name(above, styles)
    return figure_of(above, None)


def _looks_of(
    curves: xr.Dataset,
    found: xr.DataArray,
    colors: Mapping[str, str] | None,
    labels: Mapping[str, str] | None,
) -> dict[str, Look]:
    """Return the styles of the settings that have a gain."""
    names = setting_names(curves)
    return looks(
        {label: names[label] for label in found["setting"].values.tolist()}, colors, labels
    )


def _name(panel: Axes, styles: Mapping[str, Look]) -> None:
    """Add a legend if there is something to tell apart."""
    if len(styles) > 1:
        panel.legend(frameon=False, fontsize=0.85 * FONT)


def _learning_rate(curves: xr.Dataset, label: str) -> Any:
    """Return the learning rate of a setting: a number, or one for each update but the last."""
    (row,) = settings_of(curves.sel(setting=[label]))
    rate = row["hyperparameters"].get("learning_rate")
    if isinstance(rate, Mapping):
        return np.asarray(rate["values"], np.float64)[curves["update"].values[:-1] - 1]
    if rate is None:
        raise ValueError(
            f"curves must be of settings with a learning rate: {label!r} has "
            f"{', '.join(row['hyperparameters']) or 'no hyperparameter'}. Leave it out with "
            "curves.sel(setting=[...])"
        )
    return rate
