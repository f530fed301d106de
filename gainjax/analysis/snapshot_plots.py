"""Figures of what is measured at the snapshots around a switch, all settings in one panel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gainjax.analysis.panels import add_legend, names_of, panels
from gainjax.show.plots.drawing import draw
from gainjax.show.plots.looks import FONT, INK, WIDTH, Look, figure_of, looks, percent

_MOST_TICKS = 8
_SMALL = 0.85 * FONT


def plot_curvature(
    curvatures: xr.Dataset,
    *,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the largest eigenvalue at each snapshot, in effective and in raw weights, and the gain.

    Snapshots are evenly spaced. Lines are means over seeds, bands 95 % confidence intervals of the
    mean; seeds that diverged are left out. Both coordinates share a scale, logarithmic if all
    eigenvalues are positive.

    Args:
        curvatures: The result of :func:`gainjax.analysis.curvature_along`.
        axes: Three existing panels, or None for a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Raises:
        ValueError: If a setting or color is unknown.

    Example:
        >>> at = {"setting": ["sgd"], "seed": [0, 1], "snapshot": [20, 21]}
        >>> at |= {"weights": ["effective", "raw"], "rank": [1]}
        >>> found = xr.Dataset(
        ...     {
        ...         "gain": (("setting", "seed", "snapshot"), np.ones((1, 2, 2))),
        ...         "eigenvalue": (tuple(at), np.full((1, 2, 2, 2, 1), 3.0)),
        ...     },
        ...     coords=at,
        ...     attrs={"switch_update": 20},
        ... )
        >>> [panel.get_title() for panel in plot_curvature(found).axes]
        ['eigenvalue, effective', 'eigenvalue, raw', 'gain']
    """
    styles = looks(names_of(curvatures), colors, labels)
    given = panels(axes, 3, (WIDTH, 2.9), size=size)
    top = curvatures["eigenvalue"].sel(rank=1)
    parts = {
        "eigenvalue, effective": top.sel(weights="effective"),
        "eigenvalue, raw": top.sel(weights="raw"),
        "gain": curvatures["gain"],
    }
    for panel, (title, values) in zip(given, parts.items(), strict=True):
        _draw_settings(panel, values, styles, curvatures.attrs["switch_update"])
        panel.set_title(title, fontsize=0.9 * FONT, color=INK)
    _share_scale(given[:2])
    return _finished(given, styles, is_new=axes is None)


def plot_gradients(
    angles: xr.Dataset,
    *,
    axes: Sequence[Axes] | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw whether the gradients of old and new tasks agree, their sizes, and the step taken.

    Left: the gradients' cosine. Middle: how many times as long the new task's gradient
    is. Right: the cosine between the step to the next snapshot and the negative joint gradient.
    Snapshots are evenly spaced. Lines are means over seeds, bands 95 % confidence intervals of the
    mean; seeds that diverged are left out. The mean of the ratio is a geometric one.

    Args:
        angles: The result of :func:`gainjax.analysis.gradient_angles`.
        axes: Three existing panels, or None for a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panels.

    Raises:
        ValueError: If a setting or color is unknown.

    Example:
        >>> names = ("old_and_new", "old_norm", "new_norm", "step_and_joint")
        >>> at = {"setting": ["sgd"], "seed": [0, 1], "snapshot": [20, 21]}
        >>> one = {name: (tuple(at), np.full((1, 2, 2), 0.5)) for name in names}
        >>> figure = plot_gradients(xr.Dataset(one, coords=at, attrs={"switch_update": 20}))
        >>> [panel.get_title() for panel in figure.axes]
        ['cosine, old and new', 'new / old length', 'cosine, step and joint']
    """
    styles = looks(names_of(angles), colors, labels)
    given = panels(axes, 3, (WIDTH, 2.9), size=size)
    orders = xr.apply_ufunc(np.log10, angles["new_norm"] / angles["old_norm"])
    parts = {
        "cosine, old and new": angles["old_and_new"],
        "new / old length": orders,
        "cosine, step and joint": angles["step_and_joint"],
    }
    for panel, (title, values) in zip(given, parts.items(), strict=True):
        _draw_settings(panel, values, styles, angles.attrs["switch_update"])
        panel.set_title(title, fontsize=0.9 * FONT, color=INK)
        panel.axhline(0, color=INK, linewidth=0.8, dashes=(1, 2), zorder=1)
    for panel in (given[0], given[2]):
        panel.set_ylim(-1.05, 1.05)
    given[1].yaxis.set_major_formatter(lambda order, _: f"{float(f'{10**order:.2g}'):,g}")
    return _finished(given, styles, is_new=axes is None)


def plot_loss_and_accuracy(
    parts: xr.Dataset,
    *,
    axes: Axes | None = None,
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw the path of test loss and accuracy on task 1 around a switch.

    Each marker is a snapshot, the mean over seeds; the large hollow one is before the switch. Seeds
    that diverged are left out. In a ReLU network without biases, the gain itself moves a network
    along the axis of the loss alone.

    Args:
        parts: The result of :func:`gainjax.analysis.drop_parts`.
        axes: An existing panel, or None for a new figure.
        colors: Colors to override, by the label of the setting.
        labels: Names to override, by the label of the setting.
        size: Width and height of a new figure in inches.

    Returns:
        The figure of the panel.

    Raises:
        ValueError: If a setting or color is unknown.

    Example:
        >>> at = {"setting": ["sgd"], "seed": [0, 1], "snapshot": [20, 21]}
        >>> one = {name: (tuple(at), np.full((1, 2, 2), 0.1)) for name in ("loss", "accuracy")}
        >>> plot_loss_and_accuracy(xr.Dataset(one, coords=at)).axes[0].get_xlabel()
        'test loss on task 1'
    """
    styles = looks(names_of(parts), colors, labels)
    (panel,) = panels(None if axes is None else [axes], 1, (0.6 * WIDTH, 2.9), size=size)
    for label, look in styles.items():
        own = parts[["loss", "accuracy"]].sel(setting=label).dropna("seed")
        if not own.sizes["seed"]:
            continue
        loss, accuracy = own["loss"].mean("seed"), own["accuracy"].mean("seed")
        style: dict[str, Any] = {
            "color": look.color,
            "marker": look.marker,
            "linewidth": look.width,
        }
        panel.plot(loss, accuracy, linestyle=look.dashes, ms=4, mew=0, label=look.label, **style)
        panel.plot(loss[0], accuracy[0], color=look.color, marker=look.marker, ms=9, mfc="none")
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
    percent(panel.yaxis)
    panel.set(xlabel="test loss on task 1", ylabel="accuracy on task 1")
    panel.legend(frameon=False, fontsize=_SMALL, handlelength=2.6)
    return figure_of(panel, None)


def _draw_settings(
    panel: Axes, values: xr.DataArray, styles: Mapping[str, Look], switch_update: int
) -> None:
    """Draw each setting against the snapshots, without those and the seeds that have no value."""
    every = values["snapshot"].values - switch_update
    for label, look in styles.items():
        own = values.sel(setting=label).transpose("snapshot", "seed")
        shown = own.notnull().any("seed").values
        kept = own.isel(snapshot=shown).dropna("seed").values
        draw(panel, np.flatnonzero(shown), kept, look)
        if kept.shape[1]:
            panel.lines[-1].set(marker=look.marker, markersize=3, label=look.label)
    ticks = np.unique(np.linspace(0, len(every) - 1, min(len(every), _MOST_TICKS)).astype(int))
    panel.set_xticks(ticks, [str(every[tick]) for tick in ticks], fontsize=0.8 * FONT)
    panel.set_xlim(-0.3, len(every) - 0.7)


def _share_scale(given: Sequence[Axes]) -> None:
    """Give panels one scale, so that coordinates can be compared: a logarithmic one if possible."""
    heights = [panel.get_ylim() for panel in given]
    low, high = min(low for low, _ in heights), max(high for _, high in heights)
    means = np.concatenate([line.get_ydata() for panel in given for line in panel.lines])
    is_positive = means.size > 0 and means.min() > 0
    if is_positive:
        low, high = means.min() / 1.5, 1.5 * means.max()  # intervals of few seeds reach below 0
    for panel in given:
        if is_positive:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_ylim(low, high)


def _finished(given: Sequence[Axes], styles: Mapping[str, Look], *, is_new: bool) -> Figure:
    """Add what all panels share: the label of their axes, and a legend."""
    given[len(given) // 2].set_xlabel("updates since the switch")
    if len(styles) > 1:
        add_legend(given[0], *given[0].get_legend_handles_labels(), is_new=is_new)
    return figure_of(given[0], None)
