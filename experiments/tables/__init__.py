"""The tables of the pages, made from the stored numbers.

    python -m experiments tables

A table stands in a page between ``<!-- NAME -->`` and ``<!-- end -->``, where NAME is one of
:data:`TABLES`. What stands there is replaced, so that no number is copied by hand.
"""

import re
from collections.abc import Callable
from pathlib import Path

from experiments.lab import markdown_table
from experiments.tables.analysis import (
    burst_loss,
    bursts,
    curvature,
    drop_parts,
    gain_claims,
    landscape_paths,
    landscape_points,
    tonic,
)
from experiments.tables.cells import Lines
from experiments.tables.contests import claim, league, league_mnist, level, paper_claims, replay
from experiments.tables.paper import de_lange, paper_table, recovery, split_mnist
from experiments.tables.programs import (
    cifar,
    cifar_first_switch,
    controls,
    controls_in_short,
    digits_learning_rates,
    domain_cifar100,
    learning_rates,
    protocols,
    sensitivity,
)
from gainjax.files import write_file

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "experiments/README.md", "docs/agreement.md"),
    *("experiments/analysis/drop.md", "experiments/analysis/bursts.md"),
)
RESULTS = ROOT / "experiments/results"


def tables() -> None:
    """Write the tables of README, experiments and documentation from the stored numbers."""
    for name in PAGES:
        page = ROOT / name
        write_file(page, with_tables(page.read_text()).encode())


def with_tables(text: str, results: Path = RESULTS) -> str:
    """Return a page with its tables made anew.

    Args:
        text: The page.
        results: Folder with the numbers.
    """

    def table(mark: re.Match[str]) -> str:
        make = TABLES.get(mark[2])
        return mark[0] if make is None else mark[1] + markdown_table(make(results)) + mark[3]

    return re.sub(r"(<!-- (\S+) -->\n)(?=\|).*?(<!-- end -->)", table, text, flags=re.S)


TABLES: dict[str, Callable[[Path], Lines]] = {
    "paper-table": paper_table,
    "recovery": recovery,
    "de-lange": de_lange,
    "split-mnist": split_mnist,
    "learning-rates": learning_rates,
    "digits-learning-rates": digits_learning_rates,
    "controls": controls,
    "controls-in-short": controls_in_short,
    "sensitivity": sensitivity,
    "protocols": protocols,
    "cifar": cifar,
    "cifar-first-switch": cifar_first_switch,
    "domain-cifar100": domain_cifar100,
    "league": league,
    "league-mnist": league_mnist,
    "claim": claim,
    "level": level,
    "replay": replay,
    "paper-claims": paper_claims,
    "drop-parts": drop_parts,
    "curvature": curvature,
    "landscape-paths": landscape_paths,
    "landscape-points": landscape_points,
    "bursts": bursts,
    "tonic": tonic,
    "burst-loss": burst_loss,
    "gain-claims": gain_claims,
}
