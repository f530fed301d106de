"""The figures of a page: lines with bands, and points with bars, drawn by Bokeh."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    NumeralTickFormatter,
    PlainText,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from gainjax.show.pages.shown import Chart, Line, Shown, Tip
from gainjax.show.plots.drawing import extremes
from gainjax.show.plots.looks import Look
from gainjax.statistics import mean_interval

Curve = tuple[np.ndarray, np.ndarray]  # updates (n,), values (n, seeds)

INK = "#767676"  # visible on white and on black
TOOLS_2D = "pan,wheel_zoom,box_zoom,reset,save"
_TOOLS = "xpan,xwheel_zoom,xbox_zoom,reset,save"
_MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "v": "inverted_triangle",
    "P": "plus",
    "X": "x",
    "p": "hex",
}
_FEWEST_BINS = 60
MOST_WITH_SEEDS = 20  # settings whose single seeds can also be shown


def empty_chart(
    x_title: str, y_title: str, *, height: int = 300, tools: str = _TOOLS, **options: Any
) -> Any:
    """Return a figure without data, as wide as the page.

    Args:
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        height: Height in pixels.
        tools: Names of Bokeh's tools.
        **options: Options of a Bokeh figure.
    """
    made = figure(
        height=height,
        min_width=240,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    made.toolbar.logo = None
    made.y_range.only_visible = True
    made.window_axis = "x"  # heights adapt to the zoomed range
    # Text between dollar signs would be taken for a formula, and fetched from elsewhere.
    made.xaxis.axis_label, made.yaxis.axis_label = PlainText(x_title), PlainText(y_title)
    for axis in (*made.xaxis, *made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
        axis.minor_tick_line_color = None
        for name in ("axis_label_text", "major_label_text", "axis_line", "major_tick_line"):
            setattr(axis, f"{name}_color", INK)
    made.grid.grid_line_color = INK
    made.grid.grid_line_alpha = 0.25
    made.xgrid.grid_line_color = None
    return made


def percent(axis: Any) -> None:
    """Label fractions as percentages.

    Args:
        axis: An axis of a Bokeh figure.
    """
    axis.formatter = NumeralTickFormatter(format="0.[00]%")


def line_chart(
    shown: Shown,
    curves: Sequence[Curve | None],
    y_title: str,
    caption: str,
    *,
    x_title: str = "update",
    is_percent: bool = False,
    seeds: bool = False,
    **options: Any,
) -> Chart:
    """Draw a mean with its 95 % confidence interval per setting, and optionally every seed.

    Args:
        shown: The content of the page.
        curves: A curve per setting, or None where nothing was recorded.
        y_title: Title of the vertical axis.
        caption: Description of the chart.
        x_title: Title of the horizontal axis.
        is_percent: Whether values are shown as percentages.
        seeds: Whether seeds can be switched on.
        **options: Options of :func:`empty_chart`.
    """
    made = empty_chart(x_title, y_title, **options)
    lines: list[Line] = []
    means, alone, rows = [], [], []
    every_seed = shown.curves["seed"].values.tolist()
    for number, curve in enumerate(curves):
        if curve is None or not curve[1].shape[1]:
            continue
        look, is_visible = shown.looks[number], number in shown.visible
        name = list(shown.names.values())[number]
        alone_too = seeds and len(shown.names) <= MOST_WITH_SEEDS
        places = shown.runs[number].seeds.tolist() if alone_too else []
        source, with_seeds = _source(shown, curve, places)
        style: dict[str, Any] = {"source": source, "line_color": look.color, "name": name}
        drawn = []
        if "low" in source.data:
            band = {"fill_color": look.color, "fill_alpha": 0.18, "visible": is_visible}
            drawn.append(made.varea("x", "low", "high", source=source, **band))
        width = {"line_width": 1.3 * look.width, "line_dash": dashes(look)}
        means.append(made.line("x", "mean", visible=is_visible, **style, **width))
        drawn.append(means[-1])
        rows.append((means[-1].id, name, "mean"))
        lines += [Line(r.id, number, None, bool(with_seeds)) for r in drawn]
        for seed in with_seeds:
            one = made.line(
                "x", f"seed {seed}", visible=False, line_width=0.8, line_alpha=0.8, **style
            )
            alone.append(one)
            rows.append((one.id, f"{name}, seed {every_seed[seed]}", f"seed {seed}"))
            lines.append(Line(one.id, number, seed))
    # Intervals of few seeds can be far wider than any curve, and would flatten it.
    made.y_range.renderers = [*means, *alone]
    tip = Tip(made.id, x_title, is_percent, tuple(rows))
    return Chart(made, caption, tuple(lines), tip)


def _source(
    shown: Shown, curve: Curve, seeds: Sequence[int]
) -> tuple[ColumnDataSource, Sequence[int]]:
    """Return the reduced data of a curve, with its extremes, and the included seeds."""
    updates, values = curve
    count = values.shape[1]
    room = shown.budget // max(1, len(shown.names))
    with_seeds = seeds if count > 1 else []
    columns = {"mean": values.mean(axis=1, dtype=np.float64)}
    if count > 1:
        _, columns["low"], columns["high"] = mean_interval(values)
    columns |= {f"seed {seed}": values[:, place] for place, seed in enumerate(with_seeds)}
    if len(updates) * len(columns) > room:
        kept = [*columns.values(), values.min(axis=1)]
        bins = max(_FEWEST_BINS, room // (2 * len(kept) * len(columns)))
        if len(updates) > 2 * bins:
            ends = np.flatnonzero(np.isin(updates, shown.ends))
            places = np.union1d(extremes(kept, bins), ends)
            if len(places) < len(updates):
                updates, shown.reduced = updates[places], True
                columns = {name: column[places] for name, column in columns.items()}
    data = {name: column.astype(np.float32) for name, column in columns.items()}
    return ColumnDataSource({"x": updates.astype(np.float32), **data}), with_seeds


def mark_switches(made: Any, ends: np.ndarray) -> None:
    """Shade every second task and draw a line at each switch.

    Args:
        made: A Bokeh figure over the whole run.
        ends: Last update of each task.
    """
    for start, end in zip(ends[:-1:2], ends[1::2], strict=False):
        shade = {"fill_color": INK, "fill_alpha": 0.08, "line_color": None, "level": "underlay"}
        made.add_layout(BoxAnnotation(left=start + 0.5, right=end + 0.5, **shade))
    for end in ends[:-1]:
        style = {"line_color": INK, "line_dash": [2, 3], "line_width": 1, "level": "underlay"}
        made.add_layout(Span(location=end + 0.5, dimension="height", **style))


def whole_run(ends: np.ndarray) -> Range1d:
    """Return the horizontal range of the whole run.

    Args:
        ends: Last update of each task.
    """
    low, high = 0.5, float(ends[-1]) + 0.5
    ends_of = {"reset_start": low, "reset_end": high, "bounds": (low, high)}
    return Range1d(low, high, tags=["whole run"], **ends_of)


def level(made: Any, height: float) -> None:
    """Draw a horizontal line for reference.

    Args:
        made: A Bokeh figure.
        height: Vertical coordinate.
    """
    made.add_layout(Span(location=height, dimension="width", line_color=INK, line_dash=[1, 3]))


def zero(made: Any) -> None:
    """Mark the switch in a figure that is aligned at it.

    Args:
        made: A Bokeh figure.
    """
    made.add_layout(Span(location=0.5, dimension="height", line_color=INK))


def add_point(
    made: Any,
    look: Look,
    name: str,
    data: dict[str, list[float]],
    label: str,
    *,
    filled: bool,
    before: bool = False,
) -> list[Any]:
    """Draw a point with its bars, and return all renderers, the point first.

    Args:
        made: A Bokeh figure.
        look: The style.
        name: Name of the setting.
        data: x, x_low, x_high, y, y_low and y_high, each of one number.
        label: Text beside it, or nothing.
        filled: Whether the marker is filled.
        before: Whether the text stands on the left of the point, to stay in the figure.
    """
    source = ColumnDataSource(data)
    fill = {"fill_color": look.color, "fill_alpha": 1.0 if filled else 0.0}
    style: dict[str, Any] = {"size": 11, "line_color": look.color, "line_width": 2, **fill}
    drawn = [
        made.scatter("x", "y", source=source, marker=_MARKERS[look.marker], name=name, **style)
    ]
    bars: dict[str, Any] = {"source": source, "line_color": look.color, "line_alpha": 0.7}
    if np.isfinite([*data["x_low"], *data["y_low"]]).all():
        drawn.append(made.segment("x_low", "y", "x_high", "y", **bars))
        drawn.append(made.segment("x", "y_low", "x", "y_high", **bars))
    if label:
        text = {"text": value(label), "text_color": INK, "text_font_size": "13px"}
        text |= {"text_align": "right", "x_offset": -9} if before else {"x_offset": 9}
        drawn.append(made.text("x", "y", source=source, y_offset=-7, **text))
    return drawn


def dashes(look: Look) -> list[int]:
    """Return the dashes of a line in pixels, none for a solid line.

    Args:
        look: The style of a method.
    """
    if isinstance(look.dashes, str):
        return []
    return [max(1, round(1.6 * length)) for length in look.dashes[1]]
