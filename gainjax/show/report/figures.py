"""Figures that can be hovered, zoomed and toggled."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, HoverTool, Range1d
from bokeh.models.annotations import Span, Whisker
from bokeh.plotting import figure

from gainjax.curves import has, task_ends
from gainjax.show import tables
from gainjax.show.names import printable, setting_names
from gainjax.show.plots.drawing import visible
from gainjax.show.plots.looks import Look, looks
from gainjax.statistics import mean_interval

MOST_WITH_SEEDS = 12  # settings; with more, single seeds would make the page too large
_INK, _FAINT = "#808080", "rgba(128, 128, 128, 0.25)"  # to be read on white and on black
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


class Panel(NamedTuple):
    """A figure, and what of it can be shown and hidden."""

    title: str
    figure: Any
    marks: list[dict[str, Any]]  # model id, and which setting, seed or switch it belongs to


class Trace(NamedTuple):
    """Curves of one kind of one setting."""

    setting: int
    updates: np.ndarray  # shape (n,)
    values: np.ndarray  # shape (n, seeds), NaN for seeds that are not drawn


def styles(curves: xr.Dataset) -> dict[str, Look]:
    """Return how each setting is drawn: as in all figures, but nothing black on a dark screen.

    Args:
        curves: Curves.
    """
    return {
        label: look._replace(color=_INK if look.color == "#000000" else look.color)
        for label, look in looks(setting_names(curves)).items()
    }


def panels(curves: xr.Dataset, key: str) -> list[Panel]:
    """Return a panel for each kind of curve that was recorded; all share their updates.

    Args:
        curves: Curves.
        key: Key of the result on the page.
    """
    score = printable(curves.attrs["score"])
    ends = task_ends(curves)
    shared = Range1d(start=0.5, end=ends[-1] + 0.5, name=f"{key}-updates")
    kinds = {
        "accuracy": f"{score} on task 1",
        "seen_accuracy": f"{score} on all tasks seen so far",
        "eval_loss": "test loss on task 1",
        "uncertainty": "uncertainty of the batch",
        "gain": "gain",
    }
    found = []
    for kind, title in kinds.items():
        traces = list(_traces(curves, kind))
        if not traces or (kind == "gain" and all((t.values == 1).all() for t in traces)):
            continue
        axes = _axes(shared, 320 if kind == "accuracy" else 190)
        if score == "accuracy" and "accuracy" in kind:
            _percent(axes)
        for end in ends[:-1]:
            axes.add_layout(Span(location=end + 0.5, dimension="height", line_color=_INK))
        marks = _draw(axes, curves, key, traces)
        found.append(Panel(title, axes, marks))
    if found:
        found[-1].figure.xaxis.axis_label = "update"
    return found


def switch_panel(curves: xr.Dataset, key: str) -> Panel:
    """Return accuracy on task 1 relative to that before the switch, for each switch.

    Args:
        curves: Curves with at least two tasks.
        key: Key of the result on the page.
    """
    ends = task_ends(curves)
    length = int(np.diff(ends).min())
    axes = _axes(None, 320)
    axes.x_range = Range1d(start=-0.05 * length, end=length, name=f"{key}-since")
    axes.xaxis.axis_label = "updates since the switch"
    _percent(axes)
    axes.add_layout(Span(location=0, dimension="height", line_color=_INK))
    marks: list[dict[str, Any]] = []
    for number, (switch, end) in enumerate(itertools.pairwise(ends), 1):
        traces = []
        for trace in _traces(curves, "accuracy"):
            around = (trace.updates >= switch - 0.05 * length) & (trace.updates <= end)
            before = trace.values[np.searchsorted(trace.updates, switch)]
            relative = trace.values[around] / np.where(before > 0, before, np.nan)
            traces.append(Trace(trace.setting, trace.updates[around] - switch, relative))
        marks += _draw(axes, curves, key, traces, switch=number)
    score = printable(curves.attrs["score"])
    return Panel(f"{score} on task 1, relative to that before the switch", axes, marks)


def frontier_panel(curves: xr.Dataset, key: str) -> Panel | None:
    """Return gap against anytime accuracy, a point per setting.

    Args:
        curves: Curves with at least two tasks.
        key: Key of the result on the page.
    """
    table = tables.table(curves)
    if "anytime_accuracy" not in table or table["anytime_accuracy"].isna().all():
        return None
    score, names = printable(curves.attrs["score"]), setting_names(curves)
    axes = _axes(None, 360)
    axes.xaxis.axis_label = f"anytime {score}: higher is better"
    if score == "accuracy":
        axes.xaxis[0].formatter = CustomJSTickFormatter(code=_PERCENT)
    marks = []
    for i, (label, look) in enumerate(styles(curves).items()):
        row = table.loc[label]
        if row["diverged"] or np.isnan(row["avg_sg"]):
            continue
        source = ColumnDataSource(
            {name: [row[name]] for name in ("avg_sg", "avg_sg_low", "avg_sg_high")}
            | {"anytime": [row["anytime_accuracy"]], "name": [names[label]]}
        )
        point = axes.scatter(
            "anytime", "avg_sg", source=source, size=12, color=look.color,
            marker=_MARKERS[look.marker], line_color=look.color, name=names[label],
        )  # fmt: skip
        point.glyph.fill_alpha = 1.0 if row["frontier"] else 0.0
        marks.append({"model": point.id, "result": key, "setting": i, "kind": "mean"})
        if not np.isnan(row["avg_sg_low"]):
            whisker = Whisker(
                base="anytime", lower="avg_sg_low", upper="avg_sg_high", source=source,
                line_color=look.color, upper_head=None, lower_head=None,
            )  # fmt: skip
            axes.add_layout(whisker)
            marks.append({"model": whisker.id, "result": key, "setting": i, "kind": "mean"})
    hover = HoverTool(
        tooltips=[("", "@name"), ("avg-SG", "@avg_sg{0.0000}"), (score, "@anytime{0.0000}")]
    )
    axes.add_tools(hover)
    lows, highs = (table[f"avg_sg{end}"].fillna(table["avg_sg"]) for end in ("_low", "_high"))
    low, high = float(lows.min()), float(highs.max())
    room = 0.05 * (high - low) or 0.01
    axes.y_range = Range1d(start=low - room, end=high + room)
    return Panel("stability gap (avg-SG), lower is better, with 95 % intervals", axes, marks)


_PERCENT = "return (100 * tick).toFixed(Math.abs(100 * tick % 1) < 1e-6 ? 0 : 1) + ' %'"


def _axes(x_range: Any, height: int) -> Any:
    options: dict[str, Any] = {} if x_range is None else {"x_range": x_range}
    axes = figure(
        height=height,
        sizing_mode="stretch_width",
        min_border_left=62,
        min_border_right=12,
        tools="xpan,xwheel_zoom,box_zoom,reset",
        active_drag="box_zoom",
        active_scroll=None,
        window_axis="x",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        toolbar_location="above",
        **options,
    )
    axes.toolbar.logo = None
    axes.toolbar.autohide = True
    for axis in axes.axis:
        axis.axis_label_text_color = axis.major_label_text_color = axis.axis_line_color = _INK
        axis.major_tick_line_color = axis.minor_tick_line_color = _INK
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
    axes.grid.grid_line_color = _FAINT
    axes.xgrid.grid_line_color = None
    return axes


def _percent(axes: Any) -> None:
    axes.yaxis[0].formatter = CustomJSTickFormatter(code=_PERCENT)


def _traces(curves: xr.Dataset, kind: str) -> Iterable[Trace]:
    """Yield the curves of each setting that has some; loss and gain of diverged seeds are none."""
    if not has(curves, kind):
        return
    values = curves[kind]
    if "eval_task" in values.dims:
        values = values.sel(eval_task=1)
    (dim,) = (name for name in values.dims if name not in ("setting", "seed"))
    stacked = values.transpose("setting", dim, "seed").values.astype(float)
    diverged = curves["diverged_update"].transpose("setting", "seed").values > 0
    for i in range(len(stacked)):
        one = stacked[i]
        if "accuracy" not in kind:
            one = np.where(diverged[i] | ~np.isfinite(one).all(axis=0), np.nan, one)
        if not np.isnan(one).all():
            yield Trace(i, curves[str(dim)].values, one)


def _draw(
    axes: Any, curves: xr.Dataset, key: str, traces: Sequence[Trace], switch: int = 0
) -> list[dict[str, Any]]:
    """Draw means, bands and single seeds; return what they are."""
    every = list(styles(curves).values())
    seeds = curves["seed"].values.tolist()
    with_seeds = len(seeds) > 1 and curves.sizes["setting"] <= MOST_WITH_SEEDS
    marks: list[dict[str, Any]] = []

    def mark(model: Any, trace: Trace, kind: str, seed: int | None = None) -> None:
        of = {"setting": trace.setting, "seed": seed, "switch": switch, "kind": kind}
        marks.append({"model": model.id, "result": key, **of})

    hovered, lines = [], []
    for trace in traces:
        look = every[trace.setting]
        columns, kept = _columns(trace, seeds if with_seeds else [])
        source = ColumnDataSource(columns)
        stroke: dict[str, Any] = {"line_color": look.color, "line_dash": _dashes(look.dashes)}
        if kept > 1:
            band = axes.varea(
                "update", "low", "high", source=source, fill_color=look.color, fill_alpha=0.2
            )
            mark(band, trace, "mean")
        for i, seed in enumerate(seeds if with_seeds else []):
            line = axes.line("update", f"seed {i}", source=source, **stroke, line_width=0.8)
            line.visible = False
            lines.append(line)
            line.name = f"{look.label}, seed {seed}"
            mark(line, trace, "seed", i)
        mean = axes.line("update", "mean", source=source, **stroke, line_width=1.2 * look.width)
        mean.name = look.label
        mark(mean, trace, "mean")
        hovered.append(mean)
    # What is seen follows the lines: bands of accuracies reach beyond 100 %.
    axes.y_range.renderers = [*axes.y_range.renderers, *hovered, *lines]
    axes.add_tools(
        HoverTool(
            renderers=hovered,
            tooltips=[
                ("", "$name"),
                ("update", "@update"),
                ("mean", "@mean{0.0000}"),
                ("95 %", "@low{0.0000} to @high{0.0000}"),
            ],
            mode="mouse",
            line_policy="nearest",
        )
    )
    return marks


def _columns(trace: Trace, seeds: Sequence[int]) -> tuple[dict[str, np.ndarray], int]:
    """Return what is drawn of a trace, of long ones the extremes, and how many seeds it has."""
    sound = ~np.isnan(trace.values).any(axis=0)
    whole = trace.values[:, sound] if sound.any() else np.zeros((len(trace.updates), 0))
    places = visible(whole) if whole.shape[1] else np.arange(len(trace.updates))
    kept = whole[places]
    interval = mean_interval(kept) if kept.shape[1] else (np.full(len(places), np.nan),) * 3
    columns = {
        name: np.asarray(values, np.float32)
        for name, values in zip(("mean", "low", "high"), interval, strict=True)
    }
    of_seeds: Mapping[str, np.ndarray] = {
        f"seed {i}": trace.values[places, i].astype(np.float32) for i in range(len(seeds))
    }
    return {"update": trace.updates[places].astype(np.int32), **columns, **of_seeds}, kept.shape[1]


def _dashes(dashes: Any) -> Any:
    """Return Matplotlib's dashes as Bokeh has them, in pixels."""
    return "solid" if dashes == "-" else [max(1, round(2 * part)) for part in dashes[1]]
