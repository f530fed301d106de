"""Figures of the page that can be hovered, zoomed and thinned out."""

from typing import Any

import numpy as np
import xarray as xr

from gainjax.curves import has, task_ends
from gainjax.show.names import printable, setting_names
from gainjax.show.plots.drawing import visible
from gainjax.show.plots.looks import looks

_MOST_SHOWN = 8  # settings that are visible at first
_MOST_WITH_SEEDS = 12  # settings; of more, seeds would make the page heavy
_AROUND = (0.05, 0.3)  # of a task: what a zoom shows before and after a switch
_DASHES = ("solid", [8, 3], [2, 2], [8, 2, 2, 2], [12, 3], [4, 2], [8, 2, 2, 2, 2, 2], [1, 3])
_TRACES = {"gain": "gain", "uncertainty": "uncertainty (nats)"}


def shows_seeds(dataset: xr.Dataset) -> bool:
    """Tell whether each seed has a line of its own.

    Args:
        dataset: Curves.
    """
    return 1 < dataset.sizes["seed"] and dataset.sizes["setting"] <= _MOST_WITH_SEEDS


def is_thinned(dataset: xr.Dataset) -> bool:
    """Tell whether not every evaluation is drawn.

    Args:
        dataset: Curves.
    """
    count = dataset.sizes["eval_update"]
    return len(visible(np.zeros((count, 1)))) < count


def accuracy(dataset: xr.Dataset) -> Any:
    """Return the curves on task 1, with buttons for switches and boxes for methods and seeds.

    Args:
        dataset: Curves.
    """
    from bokeh.layouts import column
    from bokeh.models import CheckboxGroup, CustomJS

    names, seeds = setting_names(dataset), dataset["seed"].values.tolist()
    plot = _plot(dataset, f"{printable(dataset.attrs['score'])} on task 1")
    lines: list[dict[str, Any]] = []
    for place, (label, look) in enumerate(looks(names).items()):
        own = dataset.sel(setting=label, eval_task=1)
        values = own.accuracy.transpose("eval_update", "seed").values.astype(np.float64)
        kept = visible(np.nan_to_num(values))
        updates, values = own["eval_update"].values[kept], values[kept]
        style = {"color": look.color, "line_dash": _DASHES[place % len(_DASHES)]}
        shown = place < _MOST_SHOWN
        drawn = [(-1, values.mean(axis=1), 2.5, 1.0)]
        if shows_seeds(dataset):
            drawn += [(k, values[:, k], 1.0, 0.4) for k in range(len(seeds))]
        for seed, heights, width, alpha in drawn:
            source = {"x": updates, "y": heights, "name": [names[label]] * len(updates)}
            source["seed"] = ["mean" if seed < 0 else str(seeds[seed])] * len(updates)
            line = plot.line("x", "y", source=source, **style, line_width=width, alpha=alpha)
            line.visible = shown and seed < 0
            lines.append({"line": line, "setting": place, "seed": seed})
    whose = CheckboxGroup(
        labels=list(names.values()), active=list(range(min(len(names), _MOST_SHOWN))), inline=True
    )
    which = CheckboxGroup(
        labels=[f"seed {seed}" for seed in seeds] if shows_seeds(dataset) else [], inline=True
    )
    code = """for (const each of lines) each.line.visible = whose.active.includes(each.setting)
        && (each.seed < 0 || which.active.includes(each.seed));"""
    toggle = CustomJS(args={"lines": lines, "whose": whose, "which": which}, code=code)
    for boxes in (whose, which):
        boxes.js_on_change("active", toggle)
    return column(whose, which, _zooms(plot, dataset), plot, sizing_mode="stretch_width")


def traces(dataset: xr.Dataset) -> Any:
    """Return gain and uncertainty of each update, or None if none was recorded.

    Args:
        dataset: Curves.
    """
    from bokeh.layouts import column

    names, plots = setting_names(dataset), []
    for variable, title in _TRACES.items():
        if not has(dataset, variable):
            continue
        plot = _plot(dataset, title)
        for place, (label, look) in enumerate(looks(names).items()):
            own = dataset.sel(setting=label)
            values = own[variable].transpose("update", "seed").values.astype(np.float64)
            values = values[:, np.isfinite(values).all(axis=0)]
            if place >= _MOST_SHOWN or not values.shape[1]:
                continue
            kept = visible(values)
            source = {"x": own["update"].values[kept], "y": values[kept].mean(axis=1)}
            source |= {"name": [names[label]] * len(kept), "seed": ["mean"] * len(kept)}
            dash: Any = _DASHES[place % len(_DASHES)]
            plot.line("x", "y", source=source, color=look.color, line_dash=dash, line_width=1.5)
        plots.append(plot)
    return column(*plots, sizing_mode="stretch_width") if plots else None


def _plot(dataset: xr.Dataset, title: str) -> Any:
    from bokeh.models import HoverTool, Range1d, Span
    from bokeh.plotting import figure

    ends = task_ends(dataset)
    plot = figure(
        height=320,
        sizing_mode="stretch_width",
        x_range=Range1d(0, int(ends[-1])),
        x_axis_label="update",
        y_axis_label=title,
        tools="pan,box_zoom,reset,save",
        toolbar_location="above",
    )
    plot.toolbar.logo = None
    shown = [("method", "@name"), ("seed", "@seed"), ("update", "@x"), (title, "@y{0.0000}")]
    plot.add_tools(HoverTool(tooltips=shown))
    for end in ends[:-1]:
        plot.add_layout(
            Span(location=end + 0.5, dimension="height", line_color="#888", line_dash="dotted")
        )
    return plot


def _zooms(plot: Any, dataset: xr.Dataset) -> Any:
    from bokeh.models import CustomJS, RadioButtonGroup

    ends = task_ends(dataset)
    lengths = np.diff([0, *ends])[1:]
    windows = [[0, int(ends[-1])]] + [
        [float(end - _AROUND[0] * length), float(end + _AROUND[1] * length)]
        for end, length in zip(ends[:-1], lengths, strict=True)
    ]
    labels = ["whole run", *(f"switch {k}" for k in range(1, len(ends)))]
    buttons = RadioButtonGroup(labels=labels, active=0)
    code = "[range.start, range.end] = windows[buttons.active];"
    arguments = {"range": plot.x_range, "windows": windows, "buttons": buttons}
    buttons.js_on_change("active", CustomJS(args=arguments, code=code))
    return buttons
