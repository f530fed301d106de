"""Gap and accuracy of one method over two swept hyperparameters."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from gainjax.curves import swept_names
from gainjax.metrics import ACCURACY, GAP, METRICS, Metric
from gainjax.show.names import method_names, value_text, words
from gainjax.show.plots.frontier import in_view
from gainjax.show.plots.looks import FONT, INK, WIDTH, heading, looks, unformatted
from gainjax.show.tables import TOLERANCE, Best, ranking, table, tolerated

_SPREAD = 4.0  # gaps whose ratio is larger have logarithmic colors
_ROOM = 55.0  # points: font size of a cell's text if a panel had one column
_CHOSEN = "#D55E00"


def plot_heatmap(
    curves: xr.Dataset,
    method: str,
    x: str,
    y: str,
    metric: str = GAP,
    *,
    tolerance: float = TOLERANCE,
    best: Best = "method",
    labels: Mapping[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw a metric and anytime accuracy of one method over two swept hyperparameters.

    Dark is good in both panels. The outlined setting is the one that :func:`gainjax.ranking`
    chooses for the method. Settings of low accuracy are gray: a small gap is no merit there.

    Args:
        curves: A sweep.
        method: Name of a method.
        x: Name of the swept hyperparameter on the horizontal axis.
        y: Name of the swept hyperparameter on the vertical axis.
        metric: Metric in the left panel, a name of :data:`gainjax.metrics.METRICS`.
        tolerance: As for :func:`gainjax.ranking`.
        best: As for :func:`gainjax.ranking`.
        labels: Names to override, by method.
        size: Width and height of the figure in inches.

    Returns:
        A figure, by default 6.8 inches wide and still readable at 3.5 inches. Save it with its
        ``savefig``.

    Raises:
        ValueError: If a name is unknown, several settings share one x and y, or as
            :func:`gainjax.ranking`.
    """
    chosen = ranking(curves, tolerance, best)["chosen"]
    rows = table(curves).join(chosen)
    allowed = [name for name, entry in METRICS.items() if entry.better and name in rows]
    if metric not in allowed:
        raise ValueError(f"metric must be one of {', '.join(allowed)}: got {metric!r}")
    settings = _settings(rows, swept_names(curves), method, x, y)
    name = looks(method_names(curves), labels=labels)[method].label
    score = curves.attrs["score"]
    figure = Figure(
        figsize=size or (WIDTH, max(2.2, 1.5 + 0.42 * settings[y].nunique())),
        layout=ConstrainedLayoutEngine(wspace=0.05),
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, shown in zip(panels, (metric, ACCURACY), strict=True):
        _panel(axes, settings, x, y, METRICS[shown], score)
    panels[0].set_ylabel(words(y))

    seeds = curves.sizes["seed"]
    reached = "that the method" if best == "method" else "that any method"
    caption = [
        f"{heading(curves)}, {name}: " + (f"mean of {seeds} seeds" if seeds > 1 else "1 seed"),
        "dark is good",
    ]
    if not settings["inside"].all():
        caption.append("gray: far from accurate")
    if settings["chosen"].any():
        caption.append(
            f"outlined: smallest avg-SG within {tolerated(tolerance, score)} of the best anytime "
            f"{unformatted(score)} {reached} reaches"
        )
    if settings["diverged"].any():
        caption.append("×: seeds diverged")
    text = textwrap.fill("; ".join(caption), 92)
    figure.supxlabel(text, fontsize=0.9 * FONT, color=INK)
    return figure


def _settings(rows: pd.DataFrame, swept: list[str], method: str, x: str, y: str) -> pd.DataFrame:
    """Return the settings of a method with their positions in the grid, or raise."""
    if method not in (methods := rows["method"].unique()):
        raise ValueError(f"method must be one of {', '.join(methods)}: got {method!r}")
    own = rows[rows["method"] == method]
    varied = [name for name in swept if (own[name] != "").all() and own[name].notna().all()]
    for argument, name in {"x": x, "y": y}.items():
        if name not in varied:
            raise ValueError(
                f"{argument} must be a swept hyperparameter of {method}, one of "
                f"{', '.join(varied)}: got {name!r}"
            )
    if x == y:
        raise ValueError(f"x and y must be different hyperparameters: got {x!r} twice")
    if (repeated := own.duplicated([x, y])).any():
        raise ValueError(
            f"curves must have one setting of {method} for each {x} and {y}: got several, such as "
            f"{own.index[repeated][0]!r}; select among them with curves.sel(setting=...)"
        )
    return own.assign(
        inside=in_view(own[ACCURACY], own["method"]),
        column=np.unique(own[x], return_inverse=True)[1],
        line=np.unique(own[y], return_inverse=True)[1],
    )


def _panel(axes: Axes, settings: pd.DataFrame, x: str, y: str, metric: Metric, score: str) -> None:
    """Draw a cell for each setting, with colors that span the accurate ones."""
    values, is_cost = settings[metric.name], metric.better == "lower"
    columns, lines = np.unique(settings[x]), np.unique(settings[y])
    goodness = _norm(values[settings["inside"]], is_cost)(values.to_numpy())
    shades = colormaps["Blues"](0.1 + 0.75 * (1 - goodness if is_cost else goodness))
    shades[~settings["inside"]] = to_rgba("0.94")
    image = np.zeros((len(lines), len(columns), 4))
    image[settings["line"], settings["column"]] = shades
    axes.imshow(image, origin="lower", aspect="auto")

    size = min(0.95 * FONT, _ROOM / len(columns))
    for (_, row), (red, green, blue, _) in zip(settings.iterrows(), shades, strict=True):
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
        value = metric.show(row[metric.name], score=score)
        axes.text(
            row["column"],
            row["line"],
            value + "×" * bool(row["diverged"]),
            ha="center",
            va="center",
            fontsize=size,
            color=("white" if dark else "black") if row["inside"] else "0.4",
        )
        if row["chosen"]:
            corner = (row["column"] - 0.5, row["line"] - 0.5)
            outline = Rectangle(corner, 1, 1, fill=False, ec=_CHOSEN, lw=3, zorder=5)
            axes.add_patch(outline).set_clip_on(False)
    unit = " (%)" if metric.unit in ("percent", "points") and score == "accuracy" else ""
    axes.set_title((metric.label or metric.title) + unit, fontsize=FONT, color=INK)
    axes.set_xlabel(words(x), fontsize=FONT)
    axes.yaxis.label.set_fontsize(FONT)
    axes.set_xticks(range(len(columns)), [value_text(value) for value in columns])
    axes.set_yticks(range(len(lines)), [value_text(value) for value in lines])
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)  # lines between cells
    axes.set_yticks(np.arange(1, len(lines)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", labelsize=min(0.9 * FONT, size), length=0)
    axes.spines[:].set_visible(False)


def _norm(values: pd.Series, is_cost: bool) -> Normalize:
    """Return the range of colors; values beyond it have the color of its end."""
    low, high = values.min(), values.max()
    if is_cost and 0 < _SPREAD * low < high:
        return LogNorm(low, high, clip=True)
    return Normalize(low, max(high, low + 1e-9), clip=True)
