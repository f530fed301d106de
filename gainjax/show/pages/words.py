"""A summary of curves in a few sentences that claim no more than the numbers do."""

import numpy as np
import pandas as pd

from gainjax.curves import measure
from gainjax.metrics import ACCURACY, GAP, METRICS
from gainjax.show import tables
from gainjax.show.pages.shown import DIGITS, Shown
from gainjax.show.sheets import LEVEL
from gainjax.statistics import best_mean_test


def sentences(shown: Shown) -> list[str]:
    """Return the main finding: the smallest gap, at what accuracy, and how certain that is.

    Args:
        shown: Curves.
    """
    curves = shown.curves
    if not shown.has_switch:
        return ["There is one task, so there is no switch and no stability gap to measure."]
    rows = tables.table(curves)
    if GAP not in rows:
        return ["No metric of the gap can be computed from what was recorded."]
    diverged = rows.index[rows["diverged"] > 0]
    sound = rows[GAP].where(rows["diverged"] == 0).dropna()
    said = []
    if len(sound):
        said += _smallest(shown, rows, sound)
        said += _sureness(shown, str(sound.idxmin()), [str(label) for label in sound.index])
    if len(diverged):
        names = listed([shown.names[label] for label in diverged])
        said.append(f"Excluded: {names}, with at least one diverged seed.")
    return said


def _smallest(shown: Shown, rows: pd.DataFrame, gaps: pd.Series) -> list[str]:
    best = gaps.idxmin()
    name = shown.names[best]
    if len(gaps) == 1:
        said = [f"{name} has a stability gap on task 1 (avg-SG) of {_gap(gaps[best], shown)}"]
    else:
        said = [
            f"{name} has the smallest mean stability gap on task 1 (avg-SG) of {len(gaps)} "
            f"{'settings' if shown.is_sweep else 'methods'}: "
            f"{_gap(gaps[best], shown)}"
        ]
    if ACCURACY not in rows or np.isnan(rows[ACCURACY][best]):
        return [
            f"{said[0]}. {_capital(shown.score)} on all seen tasks was not recorded, without which "
            "a small gap may only mean slow learning."
        ]
    show = METRICS[ACCURACY].show
    reached = rows[ACCURACY].loc[gaps.index]
    unit = " %" if shown.score == "accuracy" else ""
    said[0] += (
        f", at an anytime {shown.score} of {show(reached[best], DIGITS, score=shown.score)}{unit}."
    )
    top = reached.idxmax()
    if reached[top] - reached[best] > tables.TOLERANCE * tables.scale(shown.score, reached):
        value = show(reached[top], DIGITS, score=shown.score)
        said.append(
            f"{shown.names[top]} reaches more, {value}{unit}, with a gap of "
            f"{_gap(gaps[top], shown)}: slower learners may have smaller gaps, so read both."
        )
    return said


def _sureness(shown: Shown, best: str, labels: list[str]) -> list[str]:
    """Say whether the best differs from the others, as far as the number of seeds allows."""
    seeds, name = shown.curves.sizes["seed"], shown.names[best]
    if len(labels) < 2:
        return []
    if seeds < 2:
        return ["One seed cannot distinguish a difference from chance: use at least 6."]
    compared = shown.curves.sel(setting=labels)
    if seeds < tables.LEAST_SEEDS:
        rows = tables.comparison(compared, reference=best, metrics=[GAP])
        apart = [shown.names[label] for label in rows.index[rows[f"{GAP}_low"] > 0]]
        share = f"{len(apart) or 'none'} of {len(rows)}"
        return [
            f"{seeds} seeds are too few for a test at 5 %: at least {tables.LEAST_SEEDS} are "
            f"needed. Of the 95 % intervals of the paired differences from {name}, not corrected, "
            f"{share} {'excludes' if len(apart) < 2 else 'exclude'} 0"
            + (f" ({listed(apart)})." if apart else ".")
        ]
    gaps = measure(compared)[GAP]
    if np.isnan(gaps).any():
        return ["Not every seed has a gap for every one of them, so there is no test."]
    p_values = pd.Series(best_mean_test(gaps), labels).drop(best)
    clear = [shown.names[label] for label in p_values.index[p_values <= LEVEL]]
    rest = [shown.names[label] for label in p_values.index[p_values > LEVEL]]
    tests = (
        f"permutation test of avg-SG alone with {seeds} seeds, corrected for choosing the best of "
        f"{len(labels)}"
    )
    if not clear:
        return [
            f"Its gap is not significantly smaller than any other at 5 % ({tests}; smallest "
            f"p = {p_values.min():.2g})."
        ]
    if not rest:
        whom = "every other" if len(clear) > 1 else f"that of {clear[0]}"
        return [f"Its gap is significantly smaller than {whom} at 5 % ({tests})."]
    return [
        f"Its gap is significantly smaller at 5 % than that of {listed(clear)}, but not than that "
        f"of {listed(rest)} ({tests})."
    ]


def _gap(value: float, shown: Shown) -> str:
    return METRICS[GAP].show(value, DIGITS, score=shown.score)


def listed(names: list[str]) -> str:
    """Return names as a list in words, only the first of many.

    Args:
        names: The names.
    """
    if len(names) > 6:
        return f"{', '.join(names[:5])} and {len(names) - 5} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
