"""The tables of docs/adoption.md, generated from the csv files.

python -m experiments.adoption.document
"""

import re
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "adoption.md"


def recipes_table(results: Path = RESULTS) -> str:
    """Return test loss and score of each recipe under each rule, in Markdown."""
    rows = pd.read_csv(results / "adoption-recipes.csv")
    rules = list(dict.fromkeys(rows.rule))

    def cell(row: pd.Series) -> str:
        if row.recipe.startswith("CartPole"):
            return f"{row.score:.0f}"
        if not row.test_loss < 1e3:
            return f"diverged, {row.score:.0f} %"
        return f"{row.test_loss:.2f}, {row.score:.1f} %"

    lines = [_line(["recipe", *rules]), _line(["---"] * (1 + len(rules)))]
    for recipe, group in rows.groupby("recipe", sort=False):
        by_rule = {row.rule: cell(row) for _, row in group.iterrows()}
        lines.append(_line([recipe, *(by_rule[rule] for rule in rules)]))
    return "\n".join(lines)


def switch_table(results: Path = RESULTS) -> str:
    """Return gap and anytime accuracy of each base and the differences that rules make."""
    rows = pd.read_csv(results / "adoption-switch.csv")
    rules = [rule for rule in dict.fromkeys(rows.rule) if rule != "alone"]
    changes = [f"{rule}: Δ gap, Δ anytime" for rule in rules]
    head = ["stream", "optimizer", "alone: gap, anytime", *changes]
    lines = [_line(head), _line(["---"] * len(head))]
    for (stream, base), group in rows.groupby(["stream", "base"], sort=False):
        by_rule = group.set_index("rule")
        alone = by_rule.loc["alone"]
        cells = [f"{alone.gap:.3f}, {alone.anytime:.1f} %"]
        for rule in rules:
            row = by_rule.loc[rule]
            cells.append(
                f"{row.gap_difference:+.3f} ± {row.gap_error:.3f}, "
                f"{row.anytime_difference:+.2f} ± {row.anytime_error:.2f}"
            )
        lines.append(_line([stream, base, *cells]))
    return "\n".join(lines)


def filled(text: str, results: Path = RESULTS) -> str:
    """Return the document with its tables regenerated, each between its two marks."""
    for name, table in (("recipes", recipes_table), ("switch", switch_table)):
        block = f"<!-- {name} -->\n{table(results)}\n<!-- end -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, b=block: b, text, flags=re.S)
    return text


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
