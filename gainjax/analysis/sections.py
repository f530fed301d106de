"""The sections of a page about the gain, computed from curves alone.

:mod:`gainjax.pages` adds :data:`ANALYSES` to the sections of every page. A section is omitted if
the curves lack the data for it.
"""

import collections
import contextlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from gainjax.analysis.bursts import around_switches, burst_table, measure_bursts
from gainjax.analysis.claims import CLAIMS, judge_claims
from gainjax.analysis.recorded import RecordedGain, recorded_gains
from gainjax.analysis.tonic import LAST_PART, relative_change, tonic_levels
from gainjax.curves import spec_of
from gainjax.metrics import ACCURACY, METRICS
from gainjax.show import tables
from gainjax.show.names import printable
from gainjax.show.pages import charts
from gainjax.show.pages.sections import Make, Section, with_interval
from gainjax.show.pages.shown import DIGITS, MOST_SHOWN, Chart, Shown
from gainjax.show.pages.words import listed
from gainjax.show.sheets import Row, Sheet, of_rows
from gainjax.statistics import mean_interval

_BURSTS = {  # columns of the table: measure, title, format
    "before": ("gain before", ".3f"),
    "peak": ("peak", ".3f"),
    "time_to_peak": ("time to peak", ".1f"),
    "area": ("area", ".2f"),
    "time_constant": ("visible time constant", ".1f"),
    "uncertainty_time_constant": ("of uncertainty", ".1f"),
    "predicted": ("−1/ln\u00a0γ", ".1f"),
}
_BURST_NOTES = (
    "gain before: mean of the last 10 forward passes that the new task did not touch; peak: the "
    "largest gain of the new task; time to peak: updates from the switch to it",
    "area between the gain and its mean in the last quarter of the task, from the switch until the "
    "gain is back there",
    "visible time constant: updates, of the exponential that fits the gain from its peak on; of "
    "uncertainty: that of the uncertainty over the same updates (–: no fit possible; [–]: seeds "
    "differ too much for an interval that does not reach below 0)",
    "−1/ln γ: updates, the time constant of a gain that no uncertainty drives",
)
_MOST_ROWS = 20  # of bursts: beyond, the mean over switches is shown alone
_SHOWN_AFTER = 0.5  # of the shortest task: what is drawn behind a switch
_MOST_BEFORE = 20  # updates that are drawn before it
_SETTLED = 0.01  # of the level: what a gain that has settled may move in that quarter


def bursts(shown: Shown) -> Section | None:
    """Show the bursts of the gain at switches and how fast they fade.

    Args:
        shown: Curves.
    """
    gains = _moving_gains(shown) if shown.has_switch else {}
    if not gains:
        return None
    rows = measure_bursts(shown.curves.sel(setting=list(gains)))
    table = burst_table(rows)
    switches = len(shown.ends) - 1
    if len(gains) * (switches + 1) > _MOST_ROWS:
        table = table[table["switch"] == 0]
    sheet = Sheet(
        "Bursts of the gain",
        [of_rows(shown.curves), *(title for title, _ in _BURSTS.values())],
        [_burst_row(shown, row, switches) for label in gains for row in _of(table, label)],
        [*_BURST_NOTES, *_notes(shown, gains)],
    )
    texts = [_risen(shown, rows), *_faded(table)]
    return Section("The gain at a switch", texts, [sheet], [_gain_chart(shown, gains)])


def tonic(shown: Shown) -> Section | None:
    """Show the level of the gain late in each task, beside the fixed point for its uncertainty.

    Args:
        shown: Curves.
    """
    gains = _moving_gains(shown)
    if not gains:
        return None
    levels = tonic_levels(shown.curves.sel(setting=list(gains)))
    tasks = range(1, len(shown.ends) + 1)
    rows = []
    for label, own in levels.groupby("setting", sort=False):
        by_task = [each for _, each in own.groupby("task")]
        for name, note in (("level", "level"), ("steady_state", "fixed point")):
            found = [map(float, mean_interval(each[name])) for each in by_task]
            cells = [with_interval(*each) for each in found]
            rows.append(Row(shown.names[label], note, cells, ends_group=note != name))
    sheet = Sheet(
        "Level of the gain in the last quarter of each task",
        [of_rows(shown.curves), *(f"task {task}" for task in tasks)],
        rows,
        [
            "fixed point: g₀ + ηH/(1 − γ) for the mean uncertainty H of the updates that drove the "
            "gain in that quarter",
            *_notes(shown, gains),
        ],
    )
    texts = [_moved(shown, gains), _compared(shown, levels)]
    return Section("The level of the gain", texts, [sheet])


def claims(shown: Shown) -> Section | None:
    """Judge the claims that the present methods can decide, if there are enough seeds.

    Args:
        shown: Curves.
    """
    enough = shown.curves.sizes["seed"] >= tables.LEAST_SEEDS
    methods = shown.curves["method"].values.tolist()
    if not (shown.has_switch and enough and len(set(methods)) == len(methods)) or _is_cut(shown):
        return None
    judged = []
    for name, claim in CLAIMS.items():
        if set(claim.methods) <= set(methods):
            with contextlib.suppress(ValueError, KeyError):  # without that gain, or any gap
                judged.append(judge_claims(shown.curves, {name: claim}))
    if not judged:
        return None
    found = pd.concat(judged, ignore_index=True)
    found = found[(found["seeds"] >= tables.LEAST_SEEDS) | (found["verdict"] == "diverged")]
    if found.empty:
        return None
    anytime = f"anytime {printable(shown.score)}"
    sheet = Sheet(
        "Claims that these methods can decide",
        ["claim", "difference", "p", anytime, "verdict"],
        [_claim_row(row, shown.score) for row in found.to_dict("records")],
        [
            "difference: mean over seeds, with its 95 % confidence interval, of a number that is "
            "above 0 where the claim holds; it is defined below the claim",
            "p: two-sided sign-flip test; neither it nor the verdict is corrected for the "
            "number of claims or methods",
            "verdict: holds or fails where the interval lies on one side of 0, else open; diverged "
            "where a seed of a method did",
            f"{anytime}: advantage of the claim's method over the other one; a smaller gap "
            "that costs accuracy may only be slower learning",
        ],
    )
    counts = collections.Counter(found["verdict"])
    said = [
        f"{counts[name]} {forms[counts[name] > 1]}"
        for name, forms in _VERDICTS.items()
        if name in counts
    ]
    several = "claims" if len(found) > 1 else "claim"
    return Section(
        "Claims",
        [
            f"Of {len(found)} {several} that these methods can decide, {listed(said)}, each judged "
            "separately at 95 %."
        ],
        [sheet],
    )


ANALYSES: list[Make] = [bursts, tonic, claims]
_VERDICTS = {  # of one claim, of several
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "open": ("stays open", "stay open"),
    "diverged": ("cannot be judged, since a seed diverged",) * 2,
}


def _moving_gains(shown: Shown) -> dict[str, RecordedGain]:
    """Return gains that follow their own dynamics; in a large sweep, the initially visible ones.

    Curves that end within a task would show an unfinished burst.
    """
    found: dict[str, RecordedGain] = {}
    if _is_cut(shown):
        return found
    every = len(shown.names) <= MOST_SHOWN
    for number, label in enumerate(shown.names):
        if every or number in shown.visible:
            with contextlib.suppress(ValueError):  # no gain, or none whose dynamics are known
                found |= recorded_gains(shown.curves.sel(setting=[label]))
    return {label: each for label, each in found.items() if np.ptp(each.gain) > 0}


def _is_cut(shown: Shown) -> bool:
    return "cut_off_after" in spec_of(shown.curves)


def _of(table: pd.DataFrame, label: str) -> list[dict]:
    return table[table["setting"] == label].to_dict("records")


def _burst_row(shown: Shown, row: dict, switches: int) -> Row:
    whole = "mean of the switches" if switches > 1 else ""
    note = f"switch {row['switch']}" if row["switch"] else whole
    cells: list[tuple[str, ...]] = []
    for name, (_, form) in _BURSTS.items():
        low, high = (row[f"{name}_{end}"] for end in ("low", "high"))
        if name == "predicted":
            cells.append((f"{row[name]:{form}}",))
        elif low <= 0 and name != "area":  # impossible: all others are positive
            cells.append((f"{row[name]:{form}}", "[–]"))
        else:
            cells.append(with_interval(row[name], low, high, form=form))
    return Row(shown.names[row["setting"]], note, cells, strong=not row["switch"])


def _notes(shown: Shown, gains: dict[str, RecordedGain]) -> Iterator[str]:
    """Describe the numbers, and what is left out."""
    seeds = shown.curves.sizes["seed"]
    yield (
        "all numbers: mean over seeds and its 95 % confidence interval"
        if seeds > 1
        else "all numbers: one seed, so no intervals"
    )
    if short := [shown.names[label] for label, gain in gains.items() if len(gain.seeds) < seeds]:
        yield f"without the seeds that diverged: {listed(short)}"
    looked_at = list(range(len(shown.names)))
    if len(looked_at) > MOST_SHOWN:
        looked_at = sorted(shown.visible)
        yield f"of {len(shown.names)} settings, only the initially visible ones"
    names = list(shown.names.items())
    others = [
        name
        for label, name in (names[number] for number in looked_at if shown.runs[number].has_gain)
        if label not in gains
    ]
    if others:
        yield f"left out, since their own uncertainty does not move the gain: {listed(others)}"


def _risen(shown: Shown, rows: pd.DataFrame) -> str:
    """Say how often the gain rose by more than it fluctuates."""
    parts = []
    for label, own in rows.dropna(subset="floor").groupby("setting", sort=False):
        risen = int((own["height"] > own["floor"]).sum())
        parts.append(f"{risen} of {len(own)} switches with {shown.names[label]}")
    if not parts:
        return "Tasks are too short to tell a burst of the gain from its fluctuation."
    return f"The gain rises by more than its prior fluctuation at {listed(parts)}, over all seeds."


def _faded(table: pd.DataFrame) -> Iterator[str]:
    """Compare how long bursts are visible with the decay alone."""
    mean = table[table["switch"] == 0]
    ratio = (mean["time_constant"] / mean["predicted"].where(mean["predicted"] > 0)).dropna()
    if len(ratio):
        factors = " to ".join(dict.fromkeys(f"{each:.1f}" for each in (ratio.min(), ratio.max())))
        yield (
            f"The visible burst fades with {factors} times the time constant of a gain that "
            "no uncertainty drives, −1/ln γ."
        )


def _gain_chart(shown: Shown, gains: dict[str, RecordedGain]) -> Chart:
    shortest = int(np.diff(shown.ends).min())
    after = max(1, int(_SHOWN_AFTER * shortest))
    before = min(_MOST_BEFORE, after // 2, int(shown.ends[0]) - 1)
    curves: list[charts.Curve | None] = [None] * len(shown.names)
    for number, label in enumerate(shown.names):
        if label in gains:
            gain = shown.curves["gain"].sel(setting=label, seed=gains[label].seeds)
            pieces = around_switches(gain, shown.ends, before=before, after=after)
            values = pieces.mean("switch").transpose("since", "seed").values
            curves[number] = pieces["since"].values, values
    chart = charts.line_chart(
        shown,
        curves,
        "gain",
        "Gain around the switches, mean over all of them; the vertical line is the switch.",
        x_title="updates since the switch",
    )
    charts.zero(chart.figure)
    return chart


def _moved(shown: Shown, gains: dict[str, RecordedGain]) -> str:
    """Tell whether the gain still moves in the last quarter of the tasks: by a fitted line."""
    moves = []  # of every setting and task, relative to the level
    for recorded in gains.values():
        gain = recorded.gain.mean(axis=0)
        for start, end in zip(np.append(0, shown.ends[:-1]), shown.ends, strict=True):
            last = gain[end - max(1, int(LAST_PART * (end - start))) : end]
            if len(last) > 1:
                moves.append(float(relative_change(last[None])[0]))
    if not moves:
        return "Tasks are too short to tell whether the gain settles."
    low, high = min(moves), max(moves)
    if max(-low, high) <= _SETTLED:
        return (
            "The gain settles: over the last quarter of a task it moves by at most "
            f"{100 * max(-low, high):.1f} %."
        )
    still = "falls" if high <= 0 else "rises" if low >= 0 else "moves"
    ends = " to ".join(dict.fromkeys(f"{100 * each:+.1f}" for each in (low, high)))
    return f"The gain still {still} at the end of tasks: over their last quarter by {ends} %."


def _compared(shown: Shown, levels: pd.DataFrame) -> str:
    """Describe the distance from the fixed point, and the change of the level over the tasks."""
    away = (levels["level"] - levels["steady_state"]).abs().max()
    text = (
        f"Level and fixed point are at most {away:.3f} apart: the more slowly the gain moves, the "
        "closer they are."
    )
    if len(shown.ends) < 2:
        return text
    means = levels.groupby(["setting", "task"], sort=False)["level"].mean().unstack("task")
    moves = [
        f"from {own.iloc[0]:.2f} to {own.iloc[-1]:.2f} with {shown.names[label]}"
        for label, own in means.iterrows()
    ]
    return f"{text} From the first to the last task the level goes {listed(moves)}."


def _claim_row(row: dict, score: str) -> Row:
    cost = METRICS[ACCURACY].show(row["anytime_difference"], DIGITS, score=score)
    cells = [
        with_interval(row["value"], row["low"], row["high"], form="+#.3g"),
        ("–" if np.isnan(row["p"]) else f"{row['p']:.2g}",),
        (cost if cost[0] in "-–" else f"+{cost}",),
        (row["verdict"],),
    ]
    return Row(row["statement"], f"{row['unit']}; {row['source']}", cells)
