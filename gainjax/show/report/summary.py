"""What is seen, in a sentence or two that say no more than the numbers."""

import xarray as xr

from gainjax.curves import swept_names, task_ends
from gainjax.metrics import METRICS
from gainjax.show import tables
from gainjax.show.names import printable, setting_names

_LEVEL = 0.05


def summary(dataset: xr.Dataset) -> list[str]:
    """Return sentences: who has the smallest gap, at which accuracy, and how sure that is.

    Args:
        dataset: Curves.
    """
    if len(task_ends(dataset)) < 2:
        return ["There is one task, so no switch and no stability gap to measure."]
    rows, names = tables.table(dataset), setting_names(dataset)
    score, seeds = dataset.attrs["score"], dataset.sizes["seed"]
    whole = rows[(rows["diverged"] == 0) & rows["avg_sg"].notna()]
    texts = []
    if len(whole) < len(rows):
        out = [names[label] for label in rows.index.difference(whole.index, sort=False)]
        texts.append(f"Not compared, since seeds diverged or there is no gap: {', '.join(out)}.")
    if whole.empty:
        return texts
    best = whole["avg_sg"].idxmin()

    def told(label: str, metric: str) -> str:
        unit = " %" if score == "accuracy" else ""
        return METRICS[metric].show(whole.loc[label, metric], 1, score=score) + unit

    text = f"{names[best]} has the smallest gap (avg-SG {told(best, 'avg_sg')}"
    if len(whole) == 1:
        text = f"{names[best]} has a gap (avg-SG) of {told(best, 'avg_sg')}"
    else:
        text += ")"
    if "anytime_accuracy" in whole and whole["anytime_accuracy"].notna()[best]:
        at = told(best, "anytime_accuracy")
        text += f", at an anytime {printable(score)} of {at}"
        highest = whole["anytime_accuracy"].idxmax()
        if highest != best:
            text += f"; {names[highest]} has the highest, {told(highest, 'anytime_accuracy')}"
    texts.insert(0, text + ".")
    if len(whole) > 1:
        texts.insert(1, _sureness(dataset.sel(setting=list(whole.index)), best, seeds))
    return texts


def _sureness(dataset: xr.Dataset, best: str, seeds: int) -> str:
    """Say which differences of the gap are significant, if that can be known."""
    if swept_names(dataset):
        return "Settings were chosen on the seeds that are shown, so there is no test of them."
    if seeds < tables.LEAST_SEEDS:
        return (
            f"Whether this is chance cannot be told: with {seeds} seed{'s' * (seeds > 1)} no "
            f"difference can be significant at 5 %, which needs at least {tables.LEAST_SEEDS}."
        )
    found = tables.comparison(dataset, best, ["avg_sg"])["avg_sg_p_holm"]
    names = setting_names(dataset)
    sure = [names[label] for label, p in found.items() if p <= _LEVEL]
    unsure = [names[label] for label, p in found.items() if not p <= _LEVEL]
    parts = [f"significantly smaller than that of {', '.join(sure)}"] if sure else []
    parts += [f"not significantly smaller than that of {', '.join(unsure)}"] if unsure else []
    return (
        f"Its gap is {' and '.join(parts)} (5 %, {seeds} seeds, paired by seed, corrected by "
        "Holm's method for these comparisons)."
    )
