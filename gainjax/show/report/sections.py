"""What a report shows of a result, in order. To add a section, add an entry."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import xarray as xr

from gainjax.curves import swept_names, task_ends
from gainjax.show import tables
from gainjax.show.names import printable, setting_names
from gainjax.show.report import figures
from gainjax.show.report.sentences import sentences
from gainjax.show.sheets import Sheet, ranking_sheet, table_sheets


class Choice(NamedTuple):
    """A box or button that shows and hides, or zooms."""

    name: str
    kind: str  # "setting", "seed", "zoom" or "switch"
    value: Any
    color: str = ""
    dashes: str = ""
    on: bool = True


class Section(NamedTuple):
    """A part of the page."""

    title: str
    text: tuple[str, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    choices: tuple[tuple[str, tuple[Choice, ...]], ...] = ()  # titles with their choices
    panels: tuple[figures.Panel, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    code: str = ""


def seen(curves: xr.Dataset, key: str) -> Section:
    """Return what is seen, in words."""
    return Section("What is seen", tuple(sentences(curves)))


def numbers(curves: xr.Dataset, key: str) -> Section | None:
    """Return the tables that commands print."""
    if len(task_ends(curves)) < 2:
        return None
    if swept_names(curves):
        return Section("Ranking", sheets=(ranking_sheet(curves, tables.TOLERANCE, "method", 1),))
    return Section("Numbers", sheets=tuple(table_sheets(curves, None, 1)))


def whole_run(curves: xr.Dataset, key: str) -> Section:
    """Return all curves, to hover, zoom and toggle."""
    ends = [0, *task_ends(curves).tolist()]
    zooms = [Choice("whole run", "zoom", [0.5, ends[-1] + 0.5])]
    for number in range(1, len(ends) - 1):
        start, switch, end = ends[number - 1 : number + 2]
        around = [switch - 0.1 * (switch - start), switch + 0.3 * (end - switch)]
        zooms.append(Choice(f"switch {number}", "zoom", around))
    choices = [("methods", _settings(curves)), ("zoom", tuple(zooms))]
    text = ["Lines are means over seeds, bands pointwise 95 % confidence intervals of the mean."]
    seeds = curves["seed"].values.tolist()
    if curves.sizes["setting"] > figures.MOST_WITH_SEEDS:
        text.append("There are too many settings to show single seeds here.")
    elif len(seeds) > 1:
        of_seeds = [Choice(f"seed {s}", "seed", i, on=False) for i, s in enumerate(seeds)]
        choices.insert(1, ("single seeds", tuple(of_seeds)))
    return Section(
        "Curves", tuple(text), choices=tuple(choices), panels=tuple(figures.panels(curves, key))
    )


def switches(curves: xr.Dataset, key: str) -> Section | None:
    """Return the curves around each switch."""
    number = len(task_ends(curves)) - 1
    if number < 1:
        return None
    choices = [Choice(f"switch {i}", "switch", i, on=i == 1) for i in range(1, number + 1)]
    return Section(
        "At the switch",
        (
            "Task 1 relative to its value before the switch; methods and seeds are those chosen "
            "above. The lowest point of each seed is its stability gap: the mean curve blurs dips "
            "that come at different updates.",
        ),
        choices=(("switch", tuple(choices)),),
        panels=(figures.switch_panel(curves, key),),
    )


def frontier(curves: xr.Dataset, key: str) -> Section | None:
    """Return gap against accuracy."""
    if len(task_ends(curves)) < 2:
        return None
    panel = figures.frontier_panel(curves, key)
    if panel is None:
        return None
    text = "Filled: no other setting has both a smaller gap and a higher accuracy."
    return Section("Gap against accuracy", (text,), panels=(panel,))


def configuration(curves: xr.Dataset, key: str) -> Section:
    """Return what was run, and on what."""
    spec, environment = (json.loads(curves.attrs[name]) for name in ("spec", "environment"))
    facts = []
    for row in spec["settings"]:
        values = ", ".join(f"{name} {_value(v)}" for name, v in row["hyperparameters"].items())
        facts.append((printable(row["label"]), printable(values)))
    seeds = ", ".join(map(str, spec["seeds"]))
    facts += [("seeds", seeds), ("benchmark", printable(spec["benchmark"]))]
    facts += [
        (printable(name).replace("_", " "), printable(_value(value)))
        for name, value in _flat(spec.get("protocol") or {})
    ]
    facts += [(printable(name), printable(_value(value))) for name, value in _flat(environment)]
    facts.append(("wall time", f"{curves.attrs['wall_time_seconds']:.0f} s"))
    return Section("Configuration", facts=tuple(facts), code=json.dumps(spec, indent=1))


# Each makes a part of the page of curves and their key on the page, or None.
SECTIONS: tuple[Callable[[xr.Dataset, str], Section | None], ...] = (
    seen,
    numbers,
    whole_run,
    switches,
    frontier,
    configuration,
)


def _settings(curves: xr.Dataset) -> tuple[Choice, ...]:
    names = setting_names(curves)
    return tuple(
        Choice(names[label], "setting", i, look.color, _css_dashes(look.dashes))
        for i, (label, look) in enumerate(figures.styles(curves).items())
    )


def _css_dashes(dashes: Any) -> str:
    return "" if dashes == "-" else " ".join(f"{part:g}" for part in dashes[1])


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
