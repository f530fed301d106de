"""Tables of the analysis: the sources of a drop, the landscape, and the gain's bursts and level."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from scipy import stats

from experiments.tables.cells import METHODS, Lines, Row, gap, interval, number, percent, records

_SWITCHED = ("split-digits", "split-mnist", "rotated-digits", "rotated-mnist")
_CURVED = ("split-digits", "rotated-digits", "split-mnist", "rotated-mnist")
_SINCE = (0, 1, 2, 5, 10, 20, 100)  # updates after the switch; 0 is before it
_TRAINED = ("ngm-sgd", "sgd", "msgd")
_BURSTING = ("split-mnist", "rotated-mnist", "permuted-mnist")

_GAIN_CLAIMS = {
    "gap": "with the gain than with plain SGD",
    "dynamic": "with a varying gain than with its own mean",
    "with-momentum": "with the gain over momentum SGD than without",
    "with-adam": "with the gain over Adam than without",
    "not-step-size": "with the gain than with a rate that follows the entropy",
    "reset-momentum": "with momentum reset at switches than without",
    "reset-adam": "with Adam reset at switches than without",
}


def drop_parts(results: Path) -> Lines:
    """Return the parts of the largest drop that the snapshots have."""
    head = ["drop, points", "due to new outputs", "features", "head"]
    lines = [["benchmark", "method", "updates after the switch", *head]]
    for benchmark in _SWITCHED:
        stored = pd.read_csv(results / f"drop-{benchmark}.csv")
        for method, name in METHODS.items():
            rows = stored[stored["method"] == method].set_index("since")
            drop = rows.loc[0, "accuracy"] - rows["accuracy"]
            row = rows.loc[drop.idxmax()]
            parts = [percent(row[part]) for part in ("new_outputs", "features", "head")]
            if not benchmark.startswith("split"):
                parts[0] = ""  # no new outputs
            at = [str(drop.idxmax()), percent(drop.max())]
            lines.append([_once(benchmark, method), name, *at, *parts])
    return lines


def curvature(results: Path) -> Lines:
    """Return the largest eigenvalue of the Hessian around a switch."""
    lines = [["", "", "before", *map(str, _SINCE[1:])]]
    for benchmark in _CURVED:
        stored = pd.read_csv(results / f"drop-{benchmark}-curvature.csv")
        for method in _TRAINED:
            rows = stored[stored["method"] == method].set_index("since").loc[[*_SINCE]]
            shown = _of_curvature(METHODS[method], records(rows), with_gain=method == "ngm-sgd")
            lines += [[_once(benchmark, line[0], first=_EFFECTIVE), *line] for line in shown]
    return lines


def landscape_paths(results: Path) -> Lines:
    """Return how far the loss of task 1 rises on the ways between three weights."""
    stored = pd.read_csv(results / "landscape-paths.csv").set_index(["benchmark", "method", "path"])
    rise = ["rise on the line from before to after", "on the path of the run"]
    paths = ("before-during", "during-after", "before-after")
    lines = [["benchmark", "method", *rise, *(path.replace("-", " to ") for path in paths)]]
    for benchmark in ("split-mnist", "rotated-mnist"):
        for method in _TRAINED:
            rows = stored.loc[benchmark].loc[method]
            whole = rows.loc["before-after"].to_dict()
            none = whole["barrier_task_1_high"] == 0  # in no seed
            barrier = "0" if none else interval(whole, "barrier_task_1", _2)
            of_run = interval(whole, "run_barrier_task_1", _2)
            far = [interval(rows.loc[path].to_dict(), "distance", _1) for path in paths]
            lines.append([_once(benchmark, method), METHODS[method], barrier, of_run, *far])
    return lines


def landscape_points(results: Path) -> Lines:
    """Return the largest eigenvalue of the Hessian at three weights."""
    stored = pd.read_csv(results / "landscape-points.csv").set_index(["benchmark", "method"])
    lines = [["", "", "before", "during", "after"]]
    for benchmark in ("split-mnist", "rotated-mnist"):
        for method in _TRAINED:
            shown = _of_curvature(METHODS[method], records(stored.loc[benchmark].loc[[method]]))
            lines += [[_once(benchmark, line[0], first=_EFFECTIVE), *line] for line in shown]
    return lines


_EFFECTIVE = f"{METHODS['ngm-sgd']}, effective"


def _of_curvature(name: str, rows: list[Row], with_gain: bool = False) -> Lines:
    """Return one line of a method, or one each of effective and raw weights, and of the gain."""
    effective = [interval(row, "eigenvalue", _0) for row in rows]
    if name != METHODS["ngm-sgd"]:
        return [[name, *effective]]
    raw = [interval(row, "raw_eigenvalue", _0) for row in rows]
    gains = [["its gain", *(number(row["gain"], 2) for row in rows)]] if with_gain else []
    return [[_EFFECTIVE, *effective], [f"{name}, raw", *raw], *gains]


def bursts(results: Path) -> Lines:
    """Return height and duration of the gain's bursts, means over switches."""
    stored = pd.read_csv(results / "bursts.csv")
    means = stored[stored["switch"] == 0].set_index("benchmark")
    visible = ["visible time constant, updates", "time constant of the uncertainty", "−1/ln γ"]
    head = ["gain before", "peak", "time to peak, updates", *visible]
    lines = [["benchmark (mean of its switches)", *head]]
    for benchmark in _BURSTING:
        row = means.loc[benchmark].to_dict()
        lines.append(
            [
                *(benchmark, number(row["before"], 2), interval(row, "peak", _2)),
                interval(row, "time_to_peak", _1),
                interval(row, "time_constant", _0),
                interval(row, "uncertainty_time_constant", _0),
                number(row["predicted"], 1),
            ]
        )
    return lines


def burst_loss(results: Path) -> Lines:
    """Return what a burst does to the test loss, by updates after the switch."""
    stored = pd.read_csv(results / "bursts-loss.csv").set_index(["benchmark", "test_task", "after"])
    after = (1, 3, 10, 30, 100)
    lines = [["", "test set of", f"n = {after[0]}", *map(str, after[1:])]]
    for benchmark in _BURSTING:
        for task in (1, 2):
            cells = [_signed(stored.loc[(benchmark, task, n)].to_dict()) for n in after]
            lines.append([benchmark if task == 1 else "", f"task {task}", *cells])
    return lines


def _signed(row: Row) -> str:
    value = number(row["minus_before"], 2)
    if row["minus_before_low"] > 0:
        return f"**+{value}**"
    return value


def tonic(results: Path) -> Lines:
    """Return the tonic level of the gain task by task, and its change."""
    levels = pd.read_csv(results / "bursts-tonic.csv").groupby("benchmark")
    trends = pd.read_csv(results / "bursts-trend.csv").set_index("benchmark")
    margins = ["flat within ± 10 %", "within ± 5 %"]
    change = ["change over the stream", "rising: exact p of Page's test", *margins]
    lines = [["benchmark", "classes seen", "tonic level, task by task", *change]]
    for benchmark in _BURSTING:
        rows, trend = levels.get_group(benchmark), trends.loc[benchmark].to_dict()
        classes = ", ".join(map(str, rows["classes"]))
        level = ", ".join(number(value, 2) for value in rows["level"])
        flat = ["yes" if _equivalent(trend, margin) else "no" for margin in (0.1, 0.05)]
        lines.append([benchmark, classes, level, _change(trend), _small(trend["p_rising"]), *flat])
    return lines


def _change(row: Row) -> str:
    mean, low, high = (percent(row[f"change{end}"]) for end in ("", "_low", "_high"))
    return f"{'+' if row['change'] > 0 else ''}{mean} % [{low}, {high}]"


def _equivalent(row: Row, margin: float) -> bool:
    """Whether two one-sided t tests at 5 % accept the margin: whether the 90 % interval does."""
    narrower = stats.t.ppf(0.95, row["seeds"] - 1) / stats.t.ppf(0.975, row["seeds"] - 1)
    half = narrower * (row["change_high"] - row["change_low"]) / 2
    return bool(abs(row["change"]) + half < margin)


def _small(p: float) -> str:
    if p >= 0.0001:
        return number(p, 4).rstrip("0").rstrip(".")
    digit, power = f"{p:.0e}".split("e")
    return f"{digit}·10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def gain_claims(results: Path) -> Lines:
    """Return the claims about the gap on the digits, each method at its own best setting."""
    stored = pd.read_csv(results / "gain-claims.csv").set_index(["benchmark", "claim"])
    lines = [["the gap is smaller", "split-digits", "", "permuted-digits", ""]]
    for claim, text in _GAIN_CLAIMS.items():
        cells = []
        for benchmark in ("split-digits", "permuted-digits"):
            row = stored.loc[(benchmark, claim)].to_dict()
            verdict = row["verdict"] if row["verdict"] == "open" else f"**{row['verdict']}**"
            value, low, high = (gap(row[name]) for name in ("value", "low", "high"))
            more = percent(row["anytime_difference"])
            plus = "+" if row["anytime_difference"] > 0 and float(more) else ""
            cells += [f"{value} [{low}, {high}] {verdict}", plus + more]
        lines.append([text, *cells])
    return lines


def _digits(digits: int) -> Callable[[float], str]:
    return partial(number, digits=digits)


_0, _1, _2 = map(_digits, range(3))


def _once(benchmark: str, of: str, first: str = "ngm-sgd") -> str:
    """Return the benchmark in the first of its lines only."""
    return benchmark if of == first else ""
