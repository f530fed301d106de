"""The sections of the page, in order: a new one is one entry more."""

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import xarray as xr

from gainjax.curves import has, swept_names, task_ends
from gainjax.show.report import figures
from gainjax.show.report.summary import summary
from gainjax.show.sheets import Sheet, ranking_sheet, table_sheets
from gainjax.show.tables import TOLERANCE


class Content(NamedTuple):
    """What a section shows: text, a figure of Bokeh's, tables, a source to be unfolded."""

    text: Iterable[str] = ()
    figure: Any = None
    sheets: Iterable[Sheet] = ()
    source: str = ""


def _summary(dataset: xr.Dataset) -> Content:
    return Content(text=summary(dataset))


def _metrics(dataset: xr.Dataset) -> Content | None:
    if len(task_ends(dataset)) < 2:
        return None
    if swept_names(dataset) and has(dataset, "seen_accuracy"):
        return Content(sheets=[ranking_sheet(dataset, TOLERANCE, "method", digits=1)])
    return Content(sheets=list(table_sheets(dataset, None, digits=1)))


def _accuracy(dataset: xr.Dataset) -> Content:
    text = ["Thick lines are means over seeds. Choose methods and seeds, or go to a switch."]
    if not figures.shows_seeds(dataset):
        text.append("Of so many settings only the means are drawn.")
    if figures.is_thinned(dataset):
        text.append("Of the long curves the extremes of every small stretch are drawn.")
    return Content(text, figures.accuracy(dataset))


def _traces(dataset: xr.Dataset) -> Content | None:
    figure = figures.traces(dataset)
    return None if figure is None else Content(["Means over seeds that did not diverge."], figure)


def _configuration(dataset: xr.Dataset) -> Content:
    described = {name: json.loads(dataset.attrs[name]) for name in ("spec", "environment")}
    return Content(source=json.dumps(described, indent=1, ensure_ascii=False))


SECTIONS: list[tuple[str, Callable[[xr.Dataset], Content | None]]] = [
    ("What is seen", _summary),
    ("Metrics and statistics", _metrics),
    ("Task 1", _accuracy),
    ("Gain and uncertainty", _traces),
    ("Configuration and versions", _configuration),
]
