"""What the three versions of the paper claim, each asked of the same runs.

    python -m experiments paper-claims --data-dir DIR

Ten seeds at each benchmark's own settings (on MNIST the paper's: learning rate .01 for every
method). A claim is a difference between two methods that should be negative. On a benchmark it is
``seen`` if the 95 % interval of Student's t over the paired seeds lies below zero, ``opposite`` if
it lies above, else ``not seen``.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import MNIST, Lab
from experiments.league.contest import DIGITS
from gainjax import Benchmark
from gainjax.curves import measure
from gainjax.curves.dims import ROWS
from gainjax.files import write_file
from gainjax.statistics import mean_interval, paired_permutation_test

SEEDS = 10
_NGM, _ONE, _AFTER = "ngm-sgd", "one setting", 50
_METHODS = (_NGM, "sgd", "msgd", "adam", "entropy-lr", "msgd-reset", "adam-reset")
# One sensitivity for all benchmarks, which have .3 to .5 of their own.
_ONE_SETTING = {_ONE: {"sensitivity": 0.4}}


class Claim(NamedTuple):
    """That a measure is smaller for one method than for another."""

    text: str
    version: str
    measured: Callable[[xr.Dataset], np.ndarray]
    method: str
    other: str
    regime: str = "joint"


def gap(curves: xr.Dataset) -> np.ndarray:
    """Return avg-SG, shape (settings, seeds)."""
    return measure(curves)["avg_sg"]


def error(curves: xr.Dataset) -> np.ndarray:
    """Return the anytime error on the tasks seen so far, shape (settings, seeds)."""
    return 1 - measure(curves)["anytime_accuracy"]


def rise_of_loss(curves: xr.Dataset) -> np.ndarray:
    """Return how far the test loss on task 1 rises soon after a switch, mean over switches.

    Args:
        curves: Curves with ``eval_loss``.
    """
    loss, rises = curves["eval_loss"].sel(eval_task=1), []
    for switch in curves["task_end"].values[:-1]:
        after = (loss["eval_update"] > switch) & (loss["eval_update"] <= switch + _AFTER)
        rises.append(loss.sel(eval_update=after).max("eval_update") - loss.sel(eval_update=switch))
    return xr.concat(rises, "switch").mean("switch").transpose(*ROWS).values


_LESS = "NGM-SGD has a smaller gap than"
_RISES = "NGM-SGD's test loss rises less at switches than that of"
_SAME = "than the benchmark's own"
CLAIMS = (
    Claim(f"{_LESS} momentum SGD", "v1", gap, _NGM, "msgd"),
    Claim(f"{_LESS} Adam", "v1", gap, _NGM, "adam"),
    Claim(f"{_LESS} plain SGD", "not claimed", gap, _NGM, "sgd"),
    Claim("NGM-SGD is more accurate than plain SGD on all tasks", "v1", error, _NGM, "sgd"),
    Claim(f"{_LESS} a step scaled by entropy: that is not enough", "v3", gap, _NGM, "entropy-lr"),
    Claim(f"{_RISES} momentum SGD", "v2", rise_of_loss, _NGM, "msgd"),
    Claim(f"{_RISES} plain SGD", "v2", rise_of_loss, _NGM, "sgd"),
    Claim("a reset of momentum at switches makes its gap smaller", "v3", gap, "msgd-reset", "msgd"),
    Claim("a reset of Adam at switches makes its gap smaller", "v3", gap, "adam-reset", "adam"),
    Claim(f"with replay, {_LESS} momentum SGD", "v1", gap, _NGM, "msgd", "replay"),
    Claim(f"with replay, {_LESS} Adam", "v1", gap, _NGM, "adam", "replay"),
    Claim("with replay, a reset of momentum helps", "v3", gap, "msgd-reset", "msgd", "replay"),
    Claim("with replay, a reset of Adam helps", "v3", gap, "adam-reset", "adam", "replay"),
    Claim(f"sensitivity .4 has a smaller gap {_SAME}", "one for all", gap, _ONE, _NGM),
    Claim(f"sensitivity .4 is more accurate {_SAME}", "one for all", error, _ONE, _NGM),
)


def paper_claims(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = (*DIGITS, *MNIST),
) -> None:
    """Answer each claim on each benchmark, and write the table of claims.

    Args:
        lab: Where things are.
        benchmarks: Benchmarks to run.
    """
    rows, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        runs = _runs(lab, benchmark)
        every += runs.values()
        rows += [_answer(benchmark.name, claim, runs[claim.regime]) for claim in CLAIMS]
    found = pd.DataFrame(rows)
    lab.write("paper-claims", found, every)
    write_file(lab.results / "paper-claims.md", page(found).encode())


def page(found: pd.DataFrame) -> str:
    """Return the table of claims as Markdown.

    Args:
        found: A row per claim and benchmark, as in ``paper-claims.csv``.
    """
    names = list(dict.fromkeys(found["benchmark"]))
    lines = [
        f"| claim | version | {' | '.join(names)} | in all |",
        "|---" * (3 + len(names)) + "|",
    ]
    for claim, rows in found.groupby("claim", sort=False):
        by_name = rows.set_index("benchmark")
        cells = [
            f"{row['difference']:+.3f} [{row['low']:.3f}, {row['high']:.3f}] {row['verdict']}"
            for row in (by_name.loc[name] for name in names)
        ]
        seen = int((rows["verdict"] == "seen").sum())
        in_all = "true" if seen == len(rows) else "partly" if seen else "not seen"
        lines.append(
            f"| {claim} | {rows['version'].iloc[0]} | {' | '.join(cells)} | "
            f"{in_all} ({seen} of {len(rows)}) |"
        )
    return "\n".join(lines) + "\n"


def _runs(lab: Lab, benchmark: Benchmark) -> dict[str, xr.Dataset]:
    """Return the curves of all methods by what later tasks train on."""
    methods = {name: name for name in _METHODS}
    runs = {}
    for regime in ("joint", "replay"):
        own = methods | ({_ONE: _NGM} if regime == "joint" else {})
        runs[regime] = lab.run(
            f"paper-claims/{benchmark.name}/{regime}",
            benchmark,
            own,
            SEEDS,
            regime=regime,
            hyperparameters=_ONE_SETTING if regime == "joint" else {},
            eval_examples=None if "digits" in benchmark.name else 1000,
        )
    return runs


def _answer(benchmark: str, claim: Claim, curves: xr.Dataset) -> dict[str, object]:
    values = dict(zip(curves["setting"].values.tolist(), claim.measured(curves), strict=True))
    ours, theirs = values[claim.method], values[claim.other]
    mean, low, high = mean_interval(ours - theirs)
    verdict = "seen" if high < 0 else "opposite" if low > 0 else "not seen"
    diverged = dict(
        zip(curves["setting"].values.tolist(), (curves["diverged_update"] > 0).values, strict=True)
    )
    return {
        "claim": claim.text,
        "version": claim.version,
        "benchmark": benchmark,
        "measure": claim.measured.__name__,
        "method": float(ours.mean()),
        "other": float(theirs.mean()),
        "difference": float(mean),
        "low": float(low),
        "high": float(high),
        "p": float(paired_permutation_test(ours, theirs)),
        "diverged": int((diverged[claim.method] | diverged[claim.other]).sum()),
        "verdict": verdict,
    }
