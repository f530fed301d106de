"""The sections of a page, in order: each a function of curves that returns what to show, or None.

A new section is one more function in :data:`SECTIONS`; what the gain does is told by those of
:mod:`gainjax.analysis.sections`. Sections hold text, tables and charts and no markup, so that
nothing in a name can become a part of the page.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.models import HoverTool

from gainjax.curves import has, spec_of, swept_names
from gainjax.metrics import ACCURACY, GAP, stability_gap
from gainjax.show import tables
from gainjax.show.names import method_names, printable
from gainjax.show.pages import charts
from gainjax.show.pages.shown import DIGITS, Chart, Line, Shown
from gainjax.show.pages.words import sentences
from gainjax.show.plots.frontier import in_view
from gainjax.show.plots.looks import looks
from gainjax.show.series import aligned, switch_window
from gainjax.show.sheets import (
    Row,
    Sheet,
    can_compare,
    comparison_sheet,
    is_ranking,
    of_rows,
    ranking_sheet,
    table_sheets,
)
from gainjax.statistics import BOUNDS, mean_interval

_MEANS = [ACCURACY, GAP]
_OF_X = tables.with_bounds([ACCURACY])
_PADDING = 0.3  # of the frontier's width: room for names
_NARROWEST, _LETTER = 290, 8  # pixels: a frame on a telephone, and a letter of a name
_AXES = (("x", ACCURACY), ("y", GAP))


class Section(NamedTuple):
    """A part of a page under a heading.

    Args:
        title: The heading.
        texts: Paragraphs.
        sheets: Tables.
        charts: Figures.
        controls: Whether the buttons that choose switches, settings and seeds stand here.
        facts: Pairs of a name and a long text, folded away at first.
    """

    title: str
    texts: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    charts: Sequence[Chart] = ()
    controls: bool = False
    facts: Sequence[tuple[str, str]] = ()


def summary(shown: Shown) -> Section:
    """Say what is seen.

    Args:
        shown: Curves.
    """
    return Section("Summary", [*_progress(shown), *sentences(shown)])


def metrics(shown: Shown) -> Section | None:
    """Show the tables of the command line, with the same digits.

    Args:
        shown: Curves.
    """
    if not shown.has_switch:
        return None
    if is_ranking(shown.curves):
        sheets = [ranking_sheet(shown.curves, tables.TOLERANCE, "method", DIGITS)]
    else:
        sheets = list(table_sheets(shown.curves, None, DIGITS))
        sheets = sheets[: len(sheets) - can_compare(shown.curves)]
    return Section("Metrics", sheets=sheets)


def accuracy(shown: Shown) -> Section:
    """Draw the score on task 1 after every evaluated update.

    Args:
        shown: Curves.
    """
    seeds = shown.curves.sizes["seed"]
    lines = "means over seeds with 95 % confidence intervals" if seeds > 1 else "one seed"
    chart = charts.line_chart(
        shown,
        [run.accuracy for run in shown.runs],
        f"{printable(shown.score)} on task 1",
        f"{_capital(shown.score)} on task 1: {lines}. Dotted: task switches.",
        is_percent=shown.score == "accuracy",
        seeds=True,
        height=380,
        x_range=charts.whole_run(shown.ends),
    )
    if shown.score == "accuracy":
        charts.percent(chart.figure.yaxis)
    charts.mark_switches(chart.figure, shown.ends)
    return Section("Task 1 through the run", charts=[chart], controls=True)


def traces(shown: Shown) -> Section | None:
    """Draw gain, uncertainty and test loss, those that were recorded.

    Args:
        shown: Curves.
    """
    made = []
    for title, curves in (
        ("gain", [run.gain if run.has_gain else None for run in shown.runs]),
        ("uncertainty (nats)", [run.uncertainty for run in shown.runs]),
        ("test loss on task 1", [run.loss for run in shown.runs]),
    ):
        if any(curve is not None and curve[1].shape[1] for curve in curves):
            chart = charts.line_chart(
                shown,
                curves,
                title,
                f"{_capital(title)}: mean over the seeds that did not diverge.",
                height=220,
                x_range=charts.whole_run(shown.ends),
            )
            if title == "gain":
                charts.level(chart.figure, 1)
            charts.mark_switches(chart.figure, shown.ends)
            made.append(chart)
    return Section("Gain, uncertainty and loss", charts=made) if made else None


def switches(shown: Shown) -> Section | None:
    """Draw the curves aligned at the switches, and tell the gap of every switch.

    Args:
        shown: Curves.
    """
    if not shown.has_switch:
        return None
    window = switch_window(shown.runs[0].accuracy[0], shown.ends)
    chart = charts.line_chart(
        shown,
        [(window, aligned(*r.accuracy, shown.ends, window, relative=True)) for r in shown.runs],
        "relative to before the switch",
        "Mean over all switches, relative to the last update before. Dips that come at different "
        "updates blur in a mean, so the gap in the table, taken seed by seed, is larger.",
        x_title="updates since the switch",
        is_percent=True,
    )
    charts.percent(chart.figure.yaxis)
    charts.level(chart.figure, 1)
    charts.zero(chart.figure)
    return Section("Around the switches", sheets=[_gap_sheet(shown)], charts=[chart])


def _gap_sheet(shown: Shown) -> Sheet:
    rows = []
    for run, name in zip(shown.runs, shown.names.values(), strict=True):
        evaluated, curves = run.accuracy
        gaps = stability_gap(curves.T, evaluated, shown.ends)
        known = gaps[~np.isnan(gaps).any(axis=1)]  # as for avg-SG, the mean of all
        cells: list[tuple[str, ...]] = [("–",)] * (len(shown.ends) - 1)
        if len(known):
            found = mean_interval(known.T)
            cells = [with_interval(*map(float, each)) for each in zip(*found, strict=True)]
        rows.append(Row(name, "", cells))
    whole = f"to task {len(shown.ends)}" if len(shown.ends) == 2 else "to task 2, 3, …"
    return Sheet(
        "Gap of each switch on task 1",
        [of_rows(shown.curves)] + [f"to task {task}" for task in range(2, len(shown.ends) + 1)],
        rows,
        [
            f"{whole}: relative drop of the {printable(shown.score)} on task 1 to its lowest "
            "within that task; their mean is avg-SG. "
            + (
                "Seeds that diverged count, with the gaps that they have"
                if shown.score == "accuracy"
                else "Without seeds that diverged or have a score below 0 before a switch"
            )
        ],
    )


def with_interval(mean: float, low: float, high: float, *, form: str = ".3f") -> tuple[str, ...]:
    """Return a cell with a mean and, if there are several seeds, its interval.

    Args:
        mean: The mean, or NaN where there is none.
        low: Lower end of the interval, or NaN.
        high: Upper end.
        form: How numbers are written, as Python's format specifications.
    """
    if np.isnan(mean):
        return ("–",)
    shown = f"{mean:{form}}"
    return (shown,) if np.isnan(low) else (shown, f"[{low:{form}}, {high:{form}}]")


def frontier(shown: Shown) -> Section | None:
    """Draw the gap against accuracy on seen tasks.

    Args:
        shown: Curves.
    """
    if not (shown.has_switch and has(shown.curves, "seen_accuracy")):
        return None
    rows = tables.table(shown.curves)
    if not set(tables.with_bounds(_MEANS)) <= set(rows):
        return None
    known = rows[_MEANS].notna().all(axis=1)
    if not known.any():
        return None
    in_percent = shown.score == "accuracy"
    title = f"anytime {printable(shown.score)} on seen tasks (better →)"
    made = charts.empty_chart(title, "avg-SG (← better)", height=340, tools=charts.TOOLS_2D)
    methods = method_names(shown.curves)
    of_methods = looks(methods)
    inside = in_view(rows[ACCURACY][known], rows["method"][known])
    ends = rows.loc[known, [ACCURACY] if shown.is_sweep else _OF_X][inside]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    lines, points, in_range, named = [], [], [], set()
    order = rows[known].sort_values(GAP).index
    for setting in order:
        row, number = rows.loc[setting], list(shown.names).index(setting)
        method, name = row["method"], shown.names[setting]
        look, text = shown.looks[number], name
        if shown.is_sweep:  # too many to be named: of each method one that is good
            look, text = of_methods[method], methods[method]
            text = "" if method in named or not inside[setting] else text
            named |= {method} if text else set()
        data = {
            f"{axis}{end}": [float(row[f"{metric}{end}"])]
            for axis, metric in _AXES
            for end in BOUNDS
        }
        share = (data["x"][0] - low) / max(high - low, 1e-9)  # of the width, from the left
        room = (1 + _PADDING / 2 - share) / (1 + _PADDING) * _NARROWEST
        place = {"filled": bool(row["frontier"]), "before": _LETTER * (len(text) + 1) > room}
        drawn = charts.add_point(made, look, name, data, text, **place)
        points.append(drawn[0])
        in_range += (drawn[:1] if shown.is_sweep else drawn[:3]) if inside[setting] else []
        lines += [Line(each.id, number, None) for each in drawn if not shown.is_sweep]
    made.x_range.renderers = made.y_range.renderers = in_range
    made.x_range.range_padding, made.y_range.range_padding = _PADDING, 0.2
    made.window_axis = "none"
    form = "0.00%" if in_percent else "0.0000"
    tips = [("", "$name"), ("anytime", f"@x{{{form}}}"), ("avg-SG", "@y{0.000}")]
    made.add_tools(HoverTool(renderers=points, tooltips=tips))
    if in_percent:
        charts.percent(made.xaxis)
    caption = (
        "What gap comes with what accuracy: good is below and to the right. Filled: nothing else "
        "has both a smaller gap and more accuracy."
    )
    caption += " Bars: 95 % confidence intervals." * (shown.curves.sizes["seed"] > 1)
    if outside := int((~inside).sum()):
        caption += f" {outside} of {len(inside)} lie outside at lower accuracy; drag to see them."
    return Section("Gap against accuracy", charts=[Chart(made, caption, tuple(lines))])


def statistics(shown: Shown) -> Section | None:
    """Show the paired differences, with p-values where they can mean something.

    Args:
        shown: Curves.
    """
    if not (shown.has_switch and can_compare(shown.curves)):
        return None
    sheet = comparison_sheet(shown.curves, None, DIGITS)
    return Section("Differences, paired by seed", sheets=[sheet])


def configuration(shown: Shown) -> Section:
    """Show what was run, and with which versions.

    Args:
        shown: Curves.
    """
    spec = spec_of(shown.curves)
    settings = spec.pop("settings")
    varied = swept_names(shown.curves)
    facts = [
        ("settings" if varied else "methods and their hyperparameters", _pretty(settings)),
        ("protocol", _pretty(spec)),
        ("versions and environment", _pretty(json.loads(shown.curves.attrs["environment"]))),
    ]
    seconds = float(shown.curves.attrs["wall_time_seconds"])
    texts = [f"Computed in {seconds:.0f} s."] if seconds else []
    return Section("Configuration and versions", texts, facts=facts)


Make = Callable[[Shown], Section | None]

SECTIONS: list[Make] = [summary, metrics, accuracy, traces, switches, frontier, statistics]


def _progress(shown: Shown) -> list[str]:
    """Say how far a run is that is not finished."""
    unfinished = json.loads(shown.curves.attrs.get("unfinished", "{}"))
    if not unfinished:
        return []
    states = [
        f"{printable(label)} {done} of {total}" for label, (done, total) in unfinished.items()
    ]
    return [f"Not finished; updates stored: {', '.join(states)}."]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _capital(text: str) -> str:
    return printable(text[:1].upper() + text[1:])
