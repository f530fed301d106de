"""The page of the league: tables, figures and sentences, all from the stored numbers."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.lab import markdown_table
from experiments.league.entries import BY_NAME, ENTRIES, Entry, is_oracle
from experiments.league.figure import draw
from gainjax.files import write_file
from gainjax.methods import METHODS
from gainjax.show import with_bounds
from gainjax.statistics import frontier, holm, interval_columns, paired_permutation_test

REFERENCE = "ngm-sgd"
_AT_A_GLANCE = (
    "adagrad-ema+cosine-head",
    "sgd-ema+cosine-head",
    "msgd+cosine-head",
    "adagrad-ema",
    "fixed-gain-ema",
    "ngm-sgd-ema",
    "sgd-ema",
    "adagrad",
    "ngm-sgd",
    "adam",
    "msgd",
    "sgd",
    "schedule-free",
    "sam",
    "lion",
)


def write_page(results: Path) -> None:
    """Write ``league.md``, its summary as ``league.csv``, and a figure of each benchmark.

    Args:
        results: Where the numbers are, and where all of it goes.
    """
    if not (stored := read_stored(results)):
        return
    tables = {name: of_benchmark(rows) for name, rows in stored.items()}
    groups = _groups(stored)
    ranks = {
        (of, stage): of_ranks({name: stored[name] for name in names}, stage)
        for of, names in groups.items()
        for stage in ("final", "default")
    }
    parts = [_head(tables)]
    for of, members in groups.items():
        parts.append(f"## At a glance, {of}\n\n" + markdown_table(at_a_glance(tables, members)))
    for (of, stage), table in ranks.items():
        title, told = _RANKS[stage]
        names = ", ".join(groups[of])
        parts.append(_ranking(f"{title}, {of}", told.format(names, len(table)), table))
    parts.append(_needs(stored))
    for name, table in tables.items():
        draw(table, name).savefig(results / f"league-{name}.png", dpi=130)
        parts += [f"## {name}\n", _standing(name, table), f"![{name}](league-{name}.png)\n"]
        parts.append(_markdown(table))
    write_file(results / "league.md", "\n".join(parts).encode())
    summary = pd.concat(
        [table.assign(benchmarks=of, stage=stage) for (of, stage), table in ranks.items()]
    )
    write_file(results / "league.csv", summary.to_csv(float_format="%.4g").encode())


def read_stored(results: Path) -> dict[str, pd.DataFrame]:
    """Return the stored rows of each benchmark that has any.

    Args:
        results: Where the numbers are.
    """
    return {
        path.name.removeprefix("league-").removesuffix(".csv.gz"): pd.read_csv(path)
        for path in sorted(results.glob("league-*.csv.gz"))
    }


def _groups(stored: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Return the benchmarks that are shown and ranked together, by their images."""
    groups: dict[str, list[str]] = {"digits": [], "MNIST": [], "other images": []}
    for name in stored:
        of = next((of for of in groups if of.lower() in name), "other images")
        groups[of].append(name)
    return {of: names for of, names in groups.items() if names}


def of_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per method, from its fresh seeds, in order of increasing gap.

    Args:
        rows: The stored rows of a benchmark.
    """
    stages = {stage: part.set_index(["method", "seed"]) for stage, part in rows.groupby("stage")}
    final, floor = stages["final"], stages["floor"]
    reference = final.loc[REFERENCE]["avg_sg"] if REFERENCE in rows["method"].values else None
    found = []
    for method, part in final.groupby(level="method", sort=False):
        part = part.droplevel("method")
        gap, accuracy = part["avg_sg"], part["anytime_accuracy"]
        excess = gap - floor.loc[method]["avg_sg"]
        p_value = np.nan
        if reference is not None and method != REFERENCE:
            p_value = float(paired_permutation_test(gap, reference[gap.index]))
        found.append(
            {
                "method": method,
                "setting": _setting(method, part["setting"].iloc[0]),
                **interval_columns("gap", gap),
                "floor": floor.loc[method]["avg_sg"].mean(),
                **interval_columns("excess", excess),
                **interval_columns("anytime", accuracy),
                "final": part["final_accuracy"].mean(),
                "lowest_at": part["lowest_at"].mean(),
                "recovery": part["recovery"].mean(),
                "recovered": part["recovered"].mean(),
                "diverged": int(part["diverged"].sum()),
                "p": p_value,
            }
        )
    table = pd.DataFrame(found).set_index("method")
    table["p"] = holm(table["p"])
    sound = table["gap"].where(table["diverged"] == 0)
    table["frontier"] = frontier(sound, table["anytime"])
    return table.sort_values("gap")


def of_ranks(stored: dict[str, pd.DataFrame], stage: str) -> pd.DataFrame:
    """Return mean ranks over benchmarks, of the methods that have run on all of them.

    Args:
        stored: Rows by benchmark.
        stage: "final" or "default".
    """
    everywhere = set.intersection(*(set(rows["method"]) for rows in stored.values()))
    ranks = []
    for name, rows in stored.items():
        rows = rows[(rows["stage"] == stage) & rows["method"].isin(everywhere)].copy()
        worst = rows["diverged"]
        rows["avg_sg"] = rows["avg_sg"].where(~worst, np.inf)
        rows["anytime_accuracy"] = rows["anytime_accuracy"].where(~worst, -1)
        by_seed = rows.groupby("seed")
        rows["of_gap"] = by_seed["avg_sg"].rank()
        rows["of_accuracy"] = by_seed["anytime_accuracy"].rank(ascending=False)
        ranks.append(rows.assign(benchmark=name))
    whole = pd.concat(ranks)
    whole["both"] = (whole["of_gap"] + whole["of_accuracy"]) / 2
    found = []
    for method, part in whole.groupby("method"):
        by_seed = part.groupby("seed")[["both", "of_gap", "of_accuracy"]].mean()
        row = {"method": method}
        for column in by_seed:
            row |= interval_columns(str(column), by_seed[column])
        found.append(row)
    return pd.DataFrame(found).set_index("method").sort_values("both")


_HEAD = """# The league

Made by `python -m experiments league --data-dir DIR`, or from the stored numbers alone, in seconds,
by `python -m experiments league --page-only`. Each method has seven settings of its most important
hyperparameters (`experiments/league/entries.py`), tried on seeds 100 to 102. The setting with the
smallest gap within half a point of the method's own best anytime accuracy was then run on ten fresh
seeds, 0 to 9, with task switches and without (the *floor*: task 1 simply continues). Means of these
ten seeds with 95 % Student's t intervals, which cover the mean of ten seeds in 95 % of cases for
normal values and in 88 to 92 % for skewed ones; p-values of exact paired tests against NGM-SGD,
corrected by Holm's method within each table: with {comparisons} comparisons of ten seeds none can
be below {smallest:.3f}. On MNIST, 1,000 fixed random images of each test set are evaluated.
Task 1 is evaluated after every update, all tasks seen so far after each of the first 16 updates of
a task and every 10th.

◆ is told when the task changes (an oracle); † no other method has both a smaller gap and a higher
anytime accuracy.
"""


def _head(tables: dict[str, pd.DataFrame]) -> str:
    comparisons = max(table["p"].count() for table in tables.values())
    return _HEAD.format(comparisons=comparisons, smallest=min(1, comparisons * 2 / 2**10))


_RANKS = {
    "final": (
        "Mean ranks",
        "Over {}: for each seed, the ranks of gap and anytime accuracy among {} methods, and the "
        "mean of the two; 1 is best.",
    ),
    "default": (
        "Untuned",
        "Over {}: the same ranks of {} methods, each at its one default in the registry on all "
        "benchmarks, even where a benchmark has its own values for some methods.",
    ),
}


def _ranking(title: str, told: str, ranks: pd.DataFrame) -> str:
    head = ["| method | mean of both | gap | anytime accuracy |", "|---|---|---|---|"]

    def line(method: str, row: pd.Series) -> str:
        cells = [_ranged(row, column, 1) for column in ("both", "of_gap", "of_accuracy")]
        return f"| {_name(method)} | {' | '.join(cells)} |"

    return f"## {title}\n\n{told}\n\n" + _with_oracles_apart(head, ranks, line)


def _with_oracles_apart(
    head: list[str], table: pd.DataFrame, line: Callable[[str, pd.Series], str]
) -> str:
    """Return a table of the methods that are not told of switches, then one of those that are."""
    oracles = [is_oracle(str(method)) for method in table.index]
    parts = []
    for chosen in (table[~np.array(oracles)], table[oracles]):
        lines = [line(str(method), row) for method, row in chosen.iterrows()]
        parts.append("\n".join([*head, *lines]) + "\n" if lines else "")
    told = "\nTold of switches:\n\n" if all(parts) else ""
    return told.join(parts)


def at_a_glance(tables: Mapping[str, pd.DataFrame], names: Sequence[str]) -> list[list[str]]:
    """Return the lines of a table of well-known methods and of the best: also those of the README.

    Args:
        tables: Table of each benchmark, see :func:`of_benchmark`.
        names: Benchmarks to show.
    """
    head = ["method", *(text for name in names for text in (f"{name}: avg-SG", "anytime, %"))]
    lines = [head]
    shown = [tables[name] for name in names]
    for method in _AT_A_GLANCE:
        if not any(method in table.index for table in shown):
            continue  # has not been run yet
        cells = [_name(method)]
        for table in shown:
            row = table.loc[method] if method in table.index else None
            cells += (
                ["", ""] if row is None else [_ranged(row, "gap", 3), f"{100 * row['anytime']:.1f}"]
            )
        lines.append(cells)
    return lines


def _needs(stored: dict[str, pd.DataFrame]) -> str:
    times = _times(stored)
    lines = [
        "## What each method needs\n",
        "Passes over the batch per update, additional copies of the weights, whether the method "
        "must be told when the task changes, and the time of a run, evaluation and compilation "
        "included, relative to SGD's: a rough figure, from a machine with other work.\n",
        "| method | what it is | forward | backward | copies | boundary | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in ENTRIES:
        method = METHODS[entry.method]
        boundary = "yes" if method.needs_boundary else ""
        lines.append(
            f"| {entry.name} | {method.summary}{_head_of(entry)} | {entry.forward} | "
            f"{entry.backward} | {entry.memory or ''} | {boundary} | {times.get(entry.name, '')} |"
        )
    return "\n".join(lines) + "\n"


def _times(stored: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Return how long a run takes relative to SGD's: the median over benchmarks."""
    ratios = []
    for rows in stored.values():
        took = rows[rows["stage"] == "final"].groupby("method")["ms_per_update"].median()
        if "sgd" in took.index:
            ratios.append(took / took["sgd"])
    median = pd.concat(ratios, axis=1).median(axis=1) if ratios else pd.Series(dtype=float)
    return {str(method): f"{ratio:.1f}" for method, ratio in median.items()}


def _standing(name: str, table: pd.DataFrame) -> str:
    """Say where NGM-SGD stands."""
    if REFERENCE not in table.index:
        return ""
    ours, place = table.loc[REFERENCE], list(table.index).index(REFERENCE) + 1
    better = table[(table["gap"] < ours["gap"]) & (table["anytime"] >= ours["anytime"])]
    better = better[better["diverged"] == 0]
    told = (
        f"On {name} NGM-SGD has a gap of {ours['gap']:.4f} at an anytime accuracy of "
        f"{100 * ours['anytime']:.2f} %: its gap ranks {place} of {len(table)}. "
    )
    if better.empty:
        return told + "No method has both a smaller gap and at least its accuracy.\n"
    return told + f"Smaller gap at no lower accuracy: {', '.join(map(str, better.index))}.\n"


def _markdown(table: pd.DataFrame) -> str:
    head = [
        "| method | setting | avg-SG | floor | excess | anytime, % | final, % | lowest at | "
        "recovery | p |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def line(method: str, row: pd.Series) -> str:
        name = _name(method) + ("†" if row["frontier"] else "")
        if row["diverged"]:
            name += f" ({int(row['diverged'])} diverged)"
        recovery = f"{'≥' if row['recovered'] < 1 else ''}{row['recovery']:.0f}"
        cells = [
            name,
            row["setting"],
            _ranged(row, "gap", 4),
            f"{row['floor']:.4f}",
            _ranged(row, "excess", 4),
            _ranged(100 * row[["anytime", "anytime_low", "anytime_high"]], "anytime", 2),
            f"{100 * row['final']:.2f}",
            f"{row['lowest_at']:.0f}",
            recovery,
            "" if np.isnan(row["p"]) else f"{row['p']:.2g}",
        ]
        return f"| {' | '.join(cells)} |"

    return _with_oracles_apart(head, table, line)


def _ranged(row: pd.Series, name: str, digits: int) -> str:
    mean, low, high = row[with_bounds([name])]
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _setting(method: str, stored: str) -> str:
    """Return the numbers that were tuned, and no others."""
    values = json.loads(stored)
    names = BY_NAME[method].settings[0] if method in BY_NAME else values
    return ", ".join(f"{name.replace('_', ' ')} {values[name]:g}" for name in names)


def _name(method: str) -> str:
    return method + (" ◆" if is_oracle(method) else "")


def _head_of(entry: Entry) -> str:
    return f", {entry.variant.strip('+').replace('-', ' ')}" if entry.variant else ""
