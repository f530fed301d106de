"""A chapter of a page: the sections of one data set, and the targets of its buttons."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from gainjax.show.names import printable
from gainjax.show.pages.charts import dashes
from gainjax.show.pages.sections import SECTIONS, Make, Section, configuration
from gainjax.show.pages.shown import Chart, Shown
from gainjax.show.sheets import of_rows


@dataclasses.dataclass(frozen=True)
class Chapter:
    """The part of a page about one data set.

    Args:
        title: Name of the benchmark.
        subtitle: Its size, as text.
        sections: The sections.
        charts: All their charts.
        settings: Name and look of each setting, which readers can switch on and off.
        seeds: The seeds that can be switched on, by number.
        spans: Buttons of the horizontal range: a text, the first and the last update.
        model: Data for the script of the page, JSON-serializable.
        reduced: Whether charts show fewer points than there are.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    charts: Sequence[Chart]
    settings: Sequence[dict[str, Any]]
    seeds: Sequence[int]
    spans: Sequence[tuple[str, float, float]]
    model: dict[str, Any]
    reduced: bool


def chapter(curves: xr.Dataset, budget: int, further: Sequence[Make] = ()) -> Chapter:
    """Make the chapter of a data set.

    Args:
        curves: Curves.
        budget: Approximate limit on the numbers in its charts.
        further: Additional sections, placed after those that every page has.
    """
    shown = Shown(curves, budget // 4)  # accuracy, with its seeds, and up to three traces
    makes = [*SECTIONS, *further, configuration]
    sections = [section for make in makes if (section := make(shown)) is not None]
    every = [chart for section in sections for chart in section.charts]
    lines = [dataclasses.asdict(line) for chart in every for line in chart.lines]
    seeds = sorted({line["seed"] for line in lines} - {None})
    whole = [c.figure for c in every if c.figure.x_range.tags == ["whole run"]]
    return Chapter(
        title=printable(curves.attrs["benchmark"]),
        subtitle=_subtitle(shown),
        sections=sections,
        charts=every,
        settings=[_setting(shown, number) for number in range(len(shown.names))],
        seeds=curves["seed"].values[seeds].tolist(),
        spans=_spans(shown.ends),
        model={
            "lines": lines,
            "ranges": [made.x_range.id for made in whole],
            "heights": [made.y_range.id for made in whole],
            "figures": [chart.figure.id for chart in every],
            "tips": [dataclasses.asdict(chart.tip) for chart in every if chart.tip],
        },
        reduced=shown.reduced,
    )


def _subtitle(shown: Shown) -> str:
    numbers = {
        "task": len(shown.ends),
        "update": int(shown.ends[-1]),
        of_rows(shown.curves): len(shown.names),
        "seed": shown.curves.sizes["seed"],
    }
    return ", ".join(f"{n:,} {what}{'s' * (n != 1)}" for what, n in numbers.items())


def _setting(shown: Shown, number: int) -> dict[str, Any]:
    look, name = shown.looks[number], list(shown.names.values())[number]
    return {
        "name": name,
        "color": look.color,
        "dashes": " ".join(map(str, dashes(look))),
        "width": 1.3 * look.width,
        "visible": number in shown.visible,
    }


def _spans(ends: np.ndarray) -> list[tuple[str, float, float]]:
    """Return the ranges of the whole run and of each switch."""
    spans = [("whole run", 0.5, float(ends[-1]) + 0.5)]
    starts = np.append(0, ends[:-1])
    for number, (start, switch, end) in enumerate(zip(starts, ends, ends[1:], strict=False), 1):
        before, after = 0.1 * (switch - start), 0.4 * (end - switch)
        spans.append((f"switch {number}", float(switch - before), float(switch + after)))
    return spans
