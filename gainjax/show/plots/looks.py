"""The styles of methods in all figures, and the common style of axes."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gainjax.show.names import printable

FONT = 10.5  # points, or 5.4 when a figure of 6.8 inches is shrunk to a column of 3.5
WIDTH = 6.8  # inches
INK = "0.3"


class Look(NamedTuple):
    """The style of a method: color and, for readers without it, dashes, width and marker."""

    label: str
    color: str
    dashes: Any
    marker: str
    width: float = 1.3


# Okabe & Ito's palette, safe for color-blind readers, in the order of the methods.
_FIRST = (
    ("#D55E00", "-", "o", 2.0),
    ("#0072B2", (0, (6, 2)), "s", 1.3),
    ("#009E73", (0, (1.5, 1)), "^", 1.6),
    ("#000000", (0, (6, 1.5, 1.5, 1.5)), "D", 1.3),
)
# Further methods get a combination of these that is not yet used.
_SPARE_COLORS = ("#CC79A7", "#56B4E9", "#E69F00", "#777777")
_SPARE_STROKES = (
    ((0, (9, 2)), "v"),
    ((0, (3, 1.5)), "P"),
    ((0, (6, 1, 1, 1, 1, 1)), "X"),
    ((0, (1, 2.5)), "p"),
)


def looks(
    names: Mapping[str, str],
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Look]:
    """Return the styles of methods or settings, by their order; no two of the first 20 look alike.

    Args:
        names: Displayed names, by key.
        colors: Colors to override, in any Matplotlib notation.
        labels: Names to override.

    Raises:
        ValueError: If a key or a color is unknown.
    """
    colors, labels = colors or {}, labels or {}
    for argument, given in {"colors": colors, "labels": labels}.items():
        if unknown := [key for key in given if key not in names]:
            raise ValueError(f"{argument} must be of {', '.join(names)}: got one of {unknown[0]!r}")
    if wrong := [color for color in colors.values() if not is_color_like(color)]:
        raise ValueError(f"colors must be like 'tab:blue' or '#D55E00': got {wrong[0]!r}")
    found = _default_looks({**names, **labels})
    return {key: look._replace(color=colors.get(key, look.color)) for key, look in found.items()}


def _default_looks(names: Mapping[str, str]) -> dict[str, Look]:
    result: dict[str, Look] = {}
    for place, (key, name) in enumerate(names.items()):
        if place < len(_FIRST):
            result[key] = Look(unformatted(name), *_FIRST[place])
            continue
        row, column = divmod(place - len(_FIRST), len(_SPARE_COLORS))
        dashes, marker = _SPARE_STROKES[(row + column) % len(_SPARE_STROKES)]
        result[key] = Look(unformatted(name), _SPARE_COLORS[column], dashes, marker)
    return result


def figure_of(axes: Axes, size: tuple[float, float] | None) -> Figure:
    """Return the figure of an existing panel.

    Args:
        axes: The panel.
        size: The requested size, which must be None, since the figure has a size.

    Raises:
        ValueError: If there is a size.
    """
    if size is not None:
        raise ValueError(f"size belongs to the figure of axes: give one of the two, got {size}")
    return cast(Figure, axes.get_figure(root=True))


def unformatted(name: str) -> str:
    """Return a name that Matplotlib draws literally, not as a formula.

    Args:
        name: Any name.
    """
    return name.replace("$", r"\$")


def score_title(curves: xr.Dataset) -> str:
    """Return the name of the score of curves.

    Args:
        curves: Curves.
    """
    return unformatted(printable(curves.attrs["score"]))


def heading(curves: xr.Dataset) -> str:
    """Return the heading of curves for a caption.

    Args:
        curves: Curves.
    """
    return unformatted(printable(curves.attrs["benchmark"]))


def percent(axis: Axis) -> None:
    """Label fractions as percentages, at ticks that need no rounding.

    Args:
        axis: An x or y axis.
    """
    axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda fraction, _: f"{100 * fraction:.4g}%")


def clean(axes: Axes, font: float = FONT) -> None:
    """Remove everything that is not data.

    Args:
        axes: A panel.
        font: Size of the labels in points.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(labelsize=0.9 * font, color=INK)
    axes.xaxis.label.set_fontsize(font)
    axes.yaxis.label.set_fontsize(font)
    axes.grid(axis="y", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
