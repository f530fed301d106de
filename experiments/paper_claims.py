"""Claims of the paper's versions at its own settings, with replay, and about the test loss.

    python -m experiments paper-claims --data-dir DIR

The claims of :mod:`gainjax.analysis.claims`, and a few more, tested on ten seeds at each
benchmark's own settings (on MNIST the paper's: learning rate .01 for every method), in joint
training and with a replay memory. ``gain-claims`` tests them at tuned settings.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.lab import MNIST, Lab
from experiments.league.contest import DIGITS
from gainjax import get_method
from gainjax.analysis import CLAIMS, Claim, judge_claims, smaller_gap
from gainjax.curves import per_seed
from gainjax.files import write_file

SEEDS = 10
REGIMES = ("joint", "replay")
METHODS = ("ngm-sgd", "sgd", "msgd", "adam", "entropy-lr", "msgd-reset", "adam-reset")
ONE = "one setting"  # NGM-SGD at one sensitivity for all benchmarks, whose own are .3 to .5
_SENSITIVITY, _AFTER = 0.4, 50
_PAPER, _GAP = "arXiv 2507.14056", "smaller avg-SG"


def less_loss(better: str, reference: str) -> Callable[[xr.Dataset], np.ndarray]:
    """Return the measure of a claim that a method's test loss rises less at switches.

    Args:
        better: Method that is claimed to be better.
        reference: The other method.
    """

    def measure(curves: xr.Dataset) -> np.ndarray:
        loss, rises = curves["eval_loss"].sel(eval_task=1), []
        for switch in curves["task_end"].values[:-1]:
            after = (loss["eval_update"] > switch) & (loss["eval_update"] <= switch + _AFTER)
            highest = loss.sel(eval_update=after).max("eval_update")
            rises.append(highest - loss.sel(eval_update=switch))
        rise = xr.concat(rises, "switch").mean("switch")
        return (rise.sel(setting=reference) - rise.sel(setting=better)).values

    return measure


def more_accurate(better: str, reference: str) -> Callable[[xr.Dataset], np.ndarray]:
    """Return the measure of a claim that a method has the higher anytime accuracy.

    Args:
        better: Method that is claimed to be better.
        reference: The other method.
    """

    def measure(curves: xr.Dataset) -> np.ndarray:
        rows = per_seed(curves).pivot(index="seed", columns="method", values="anytime_accuracy")
        return (rows[better] - rows[reference]).to_numpy(np.float64)

    return measure


def _of_two(
    name: str, statement: str, measure: Callable[..., Callable[..., np.ndarray]], *two: str
) -> Claim:
    unit = _GAP if measure is smaller_gap else measure.__name__.replace("_", " ")
    return Claim(name, statement, _PAPER, two, measure(*two), unit)


FURTHER = {
    claim.name: claim
    for claim in (
        _of_two("less-than-msgd", "NGM-SGD has a smaller gap than momentum SGD.",
                smaller_gap, "ngm-sgd", "msgd"),
        _of_two("less-than-adam", "NGM-SGD has a smaller gap than Adam.",
                smaller_gap, "ngm-sgd", "adam"),
        _of_two("more-accurate", "NGM-SGD has a higher anytime accuracy than plain SGD.",
                more_accurate, "ngm-sgd", "sgd"),
        _of_two("loss-msgd", "Its test loss rises less at switches than momentum SGD's.",
                less_loss, "ngm-sgd", "msgd"),
        _of_two("loss-sgd", "Its test loss rises less at switches than plain SGD's.",
                less_loss, "ngm-sgd", "sgd"),
        _of_two("one-setting", "Sensitivity .4 has a smaller gap than the benchmark's own.",
                smaller_gap, ONE, "ngm-sgd"),
        _of_two("one-setting-accuracy", "Sensitivity .4 is more accurate.",
                more_accurate, ONE, "ngm-sgd"),
    )
}  # fmt: skip


def paper_claims(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = (*DIGITS, *MNIST),
) -> None:
    """Judge each claim on each benchmark, in joint training and with replay.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
    """
    tables, every = [], []
    for benchmark in lab.benchmarks(benchmarks):
        own = benchmark.defaults(get_method("ngm-sgd"))["sensitivity"]
        one = {} if own == _SENSITIVITY else {ONE: "ngm-sgd"}  # the same setting is no comparison
        methods = {name: name for name in METHODS} | one
        for regime in REGIMES:
            curves = lab.run(
                f"paper-claims/{benchmark.name}/{regime}",
                benchmark,
                methods,
                SEEDS,
                regime=regime,
                hyperparameters={name: {"sensitivity": _SENSITIVITY} for name in one},
                eval_examples=None if "digits" in benchmark.name else 1000,
            )
            every.append(curves)
            table = judge_claims(curves, {**CLAIMS, **FURTHER})
            table.insert(0, "benchmark", benchmark.name)
            table.insert(1, "regime", regime)
            tables.append(table)
    every_claim = pd.concat(tables)
    lab.write("paper-claims", every_claim, every)
    write_file(lab.results / "paper-claims.md", page(every_claim).encode())


def page(claims: pd.DataFrame) -> str:
    """Return the claims as Markdown: a row per claim, a column per benchmark and regime.

    Args:
        claims: The rows of ``paper-claims.csv``.
    """
    measured = claims[claims["verdict"] != "not measured"]
    cells = [
        f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] **{row['verdict']}**"
        if row["seeds"]
        else row["verdict"]
        for _, row in measured.iterrows()
    ]
    columns = measured["benchmark"] + ", " + measured["regime"]
    table = measured.assign(cell=cells, column=columns)
    keys = list(dict.fromkeys(table["claim"]))
    wide = table.pivot(index="claim", columns="column", values="cell").loc[keys, columns.unique()]
    units = table.drop_duplicates("claim").set_index("claim")
    lines = [_HEAD, f"| claim | in | {' | '.join(wide)} |", "|---" * (2 + wide.shape[1]) + "|"]
    for name, row in wide.fillna("").iterrows():
        told = units.loc[name, ["statement", "unit"]]
        lines.append(f"| {' | '.join([*told, *row])} |")
    return "\n".join([*lines, ""])


_HEAD = """# What the paper claims

Made by `python -m experiments paper-claims --data-dir DIR`: ten seeds, the benchmarks' own settings
(on MNIST, the paper's), in joint training and with a replay memory. A claim is a number per seed
that is above 0 where it holds; means with 95 % Student's t intervals. A claim holds or fails if its
interval lies on one side of 0, and is open otherwise; a claim about other streams only is not
applicable.
"""
