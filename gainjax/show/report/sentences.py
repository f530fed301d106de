"""What is seen in curves, in words: no more than the numbers say."""

import numpy as np
import pandas as pd
import xarray as xr

from gainjax.curves import swept_names, task_ends
from gainjax.metrics import METRICS
from gainjax.show import tables
from gainjax.show.names import setting_names


def sentences(curves: xr.Dataset) -> list[str]:
    """Return a few sentences on which setting has the smallest gap, and how sure that is.

    Args:
        curves: Curves of a run, a sweep or from elsewhere.

    Example:
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> print(
        ...     sentences(from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20]))[0]
        ... )
        Of 2 methods, ewc has the smallest stability gap: avg-SG 0.333.
    """
    if len(task_ends(curves)) < 2:
        return ["There is only one task, hence no switch and no stability gap."]
    table, names = tables.table(curves), setting_names(curves)
    sound = table[(table["diverged"] == 0) & table["avg_sg"].notna()]
    told = []
    if sound.empty:
        told.append("No setting finished without a seed that diverged.")
    else:
        told += _of_gap(curves, table, sound, names)
    told += [
        f"{int(row['diverged'])} of {int(row['seeds'])} seeds of {names[label]} diverged."
        for label, row in table[table["diverged"] > 0].iterrows()
    ]
    return told


def _of_gap(
    curves: xr.Dataset, table: pd.DataFrame, sound: pd.DataFrame, names: dict[str, str]
) -> list[str]:
    best, kind = str(sound["avg_sg"].idxmin()), "settings" if swept_names(curves) else "methods"
    gap = _number(sound.loc[best], "avg_sg")
    told = [f"Avg-SG of {names[best]}: {gap}."]
    if len(table) > 1:
        told = [
            f"Of {len(table)} {kind}, {names[best]} has the smallest stability gap: avg-SG {gap}."
        ]
    score = curves.attrs["score"]
    if "anytime_accuracy" in sound and sound["anytime_accuracy"].notna().any():
        top = str(sound["anytime_accuracy"].idxmax())
        reached = _number(sound.loc[top], "anytime_accuracy", score)
        if top == best:
            told.append(f"It also has the highest anytime {score}, {reached}.")
        else:
            own = _number(sound.loc[best], "anytime_accuracy", score)
            told.append(
                f"Its anytime {score} is {own}; the highest is that of {names[top]}, {reached}, "
                f"whose avg-SG is {_number(sound.loc[top], 'avg_sg')}."
            )
    told += _how_sure(curves, sound, best, names)
    return told


def _how_sure(
    curves: xr.Dataset, sound: pd.DataFrame, best: str, names: dict[str, str]
) -> list[str]:
    """Say whether the smallest gap differs from the second smallest by more than chance."""
    seeds = curves.sizes["seed"]
    if len(sound) < 2:
        return []
    if seeds < 2:
        return ["With one seed nothing is known of chance."]
    second = str(sound["avg_sg"].drop(best).idxmin())
    pair = curves.sel(setting=[best, second])
    row = tables.comparison(pair, reference=best, metrics=["avg_sg"]).loc[second]
    mean, low, high = (METRICS["avg_sg"].show(row[f"avg_sg{end}"]) for end in ("", "_low", "_high"))
    told = f"The next, {names[second]}, is {mean} [{low}, {high}] above it, paired by seed"
    if np.isnan(row["avg_sg_p"]):
        return [
            f"{told}; {seeds} seeds are too few for a test ({tables.LEAST_SEEDS} can reach 5 %)."
        ]
    chosen = " (the best of many, so this p-value is optimistic)" if len(sound) > 2 else ""
    return [f"{told}; p = {row['avg_sg_p']:.2g} by the exact paired test{chosen}."]


def _number(row: pd.Series, name: str, score: str = "accuracy") -> str:
    metric = METRICS[name]
    shown = [metric.show(row[f"{name}{end}"], 1, score=score) for end in ("", "_low", "_high")]
    percent = " %" if metric.unit == "percent" and score == "accuracy" else ""
    if np.isnan(row[f"{name}_low"]):
        return f"{shown[0]}{percent}"
    return f"{shown[0]}{percent} [{shown[1]}, {shown[2]}]"
