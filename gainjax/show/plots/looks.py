"""How methods look in every figure, and what all axes have in common."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

FONT = 10.5  # points, and still 5.4 when a figure of 6.8 inches is shrunk to a column of 3.5
WIDTH = 6.8  # inches
INK = "0.3"


class Look(NamedTuple):
    """How a method is drawn: told apart by colour, and without it by dashes, width and marker."""

    label: str
    color: str
    dashes: Any
    marker: str
    width: float = 1.3


# Okabe & Ito's palette, safe for colour-blind readers. Vermilion is the package's own method's.
_LOOKS: Mapping[str, Look] = {
    "ngm-sgd": Look("NGM-SGD", "#D55E00", "-", "o", 2.0),
    "sgd": Look("SGD", "#0072B2", (0, (6, 2)), "s"),
    "msgd": Look("MSGD", "#009E73", (0, (1.5, 1)), "^", 1.6),
    "adam": Look("Adam", "#000000", (0, (6, 1.5, 1.5, 1.5)), "D"),
}
# Any other method gets a pair of these that none before it has.
_SPARE_COLORS = ("#CC79A7", "#56B4E9", "#E69F00", "#777777")
_SPARE_STROKES = (
    ((0, (9, 2)), "v"),
    ((0, (3, 1.5)), "P"),
    ((0, (6, 1, 1, 1, 1, 1)), "X"),
    ((0, (1, 2.5)), "p"),
)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return how each method is drawn, so that no two look alike.

    Args:
        names: Names of methods, without repetition.
    """
    result: dict[str, Look] = {}
    spare = 0
    for name in names:
        if name in _LOOKS:
            result[name] = _LOOKS[name]
            continue
        row, column = divmod(spare, len(_SPARE_COLORS))
        dashes, marker = _SPARE_STROKES[(row + column) % len(_SPARE_STROKES)]
        result[name] = Look(name, _SPARE_COLORS[column], dashes, marker)
        spare += 1
    return result


def words(name: str) -> str:
    """Return the name of a hyper-parameter as it is read.

    Args:
        name: A name of Python's kind.
    """
    return name.replace("_", " ")


def percent(axis: Axis) -> None:
    """Label fractions as per cent, at ticks that need no rounding.

    Args:
        axis: An x or y axis.
    """
    axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda fraction, _: f"{100 * fraction:.4g}%")


def clean(axes: Axes, font: float = FONT) -> None:
    """Take away what is not data.

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
