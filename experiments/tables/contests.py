"""Tables of the claims, and of what stands on the league."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from experiments.league.page import at_a_glance, of_benchmark, read_stored
from experiments.tables.cells import DIGITS, MNIST, Lines, gap_and_anytime, number, points

_SHARES = {
    "fixed-gain-ema": "share of NGM-SGD's gap",
    "sgd-ema": "averaging alone over SGD, tuned: share",
}

_LEVELS = {
    "neither": "neither (SGD)",
    "constant gain": "constant gain",
    "temperature": "softmax temperature",
    "ramped gain": "gain ramped up from 1",
    "larger initial weights": "larger initial weights",
    "larger steps": "larger steps (rate × 6.25)",
}

_WITH_MEMORY = (
    *("adagrad-ema+cosine-head", "sgd-ema+cosine-head", "adagrad-ema", "fixed-gain-ema"),
    *("msgd+cosine-head", "ngm-sgd", "sgd"),
)

_MEMORIES = {"joint": "all (joint)", "reservoir": "reservoir", "balanced": "balanced"}

_CLAIMS = {
    "less-than-msgd": "a smaller gap than momentum SGD",
    "less-than-adam": "than Adam",
    "gap": "than plain SGD",
    "more-accurate": "at a higher anytime accuracy than plain SGD",
    "loss-msgd": "test loss rises less at switches than momentum SGD's",
    "loss-sgd": "than plain SGD's",
    "not-step-size": "a learning rate that follows the entropy is not enough",
    "reset-momentum": "resetting momentum at switches helps",
    "reset-adam": "resetting Adam at switches helps",
    "burst": "the gain bursts at every switch",
    "tonic-rise": "the tonic level rises over tasks that bring new classes",
    "tonic-flat": "it is flat, within a tenth, over tasks with the same classes",
}


def league(results: Path) -> Lines:
    """Return gap and anytime accuracy of fifteen methods on the digits."""
    return _league(results, DIGITS)


def league_mnist(results: Path) -> Lines:
    """Return gap and anytime accuracy of the same methods on MNIST, as far as they have run."""
    return _league(results, MNIST)


def _league(results: Path, benchmarks: Iterable[str]) -> Lines:
    stored = read_stored(results)
    names = [name for name in stored if name in benchmarks]
    return at_a_glance({name: of_benchmark(stored[name]) for name in names}, names)


def claim(results: Path) -> Lines:
    """Return the shares of NGM-SGD's gap in the claim about a method of ours."""
    stored = pd.concat(
        [pd.read_csv(results / f"claim-{name}.csv") for name in (*DIGITS, *MNIST)]
    ).set_index(["setting", "benchmark"])
    lines = [["", *DIGITS, *MNIST]]
    for method, share in _SHARES.items():
        rows = stored.loc[method].loc[[*DIGITS, *MNIST]]
        lines.append([share, *(number(value, 2) for value in rows["ratio"])])
        lines.append(["more anytime accuracy, points", *map(points, rows["more_accurate"])])
    return lines


def level(results: Path) -> Lines:
    """Return gap and anytime accuracy of the parts of a raised level."""
    stored = pd.read_csv(results / "level.csv").set_index(["variant", "benchmark", "averaged"])
    head = [text for name in DIGITS.values() for text in (f"{name}, averaged", "not")]
    return [["variant", *head]] + [
        [
            text,
            *(
                gap_and_anytime(stored.loc[(variant, benchmark, averaged)].to_dict())
                for benchmark in DIGITS
                for averaged in (True, False)
            ),
        ]
        for variant, text in _LEVELS.items()
    ]


def replay(results: Path) -> Lines:
    """Return gap and anytime accuracy with all data and with a memory."""
    stored = pd.read_csv(results / "replay.csv").set_index(["benchmark", "regime", "method"])
    lines = [["benchmark", "memory", *(name.replace("+", " +") for name in _WITH_MEMORY)]]
    for benchmark in DIGITS:
        for regime, memory in _MEMORIES.items():
            rows = stored.loc[benchmark].loc[regime]
            cells = [gap_and_anytime(rows.loc[method].to_dict()) for method in _WITH_MEMORY]
            lines.append([benchmark if regime == "joint" else "", memory, *cells])
    return lines


def paper_claims(results: Path) -> Lines:
    """Return which claims of the paper hold where."""
    stored = pd.read_csv(results / "paper-claims.csv")
    verdicts = stored.set_index(["claim", "benchmark", "regime"])["verdict"]
    shown = {"not applicable": "–", "fails": "**fails**"}
    head = [text for name in DIGITS.values() for text in (f"{name}, joint", "replay")]
    return [["claim", *head]] + [
        [
            text,
            *(
                shown.get(verdict := verdicts[name, benchmark, regime], verdict)
                for benchmark in DIGITS
                for regime in ("joint", "replay")
            ),
        ]
        for name, text in _CLAIMS.items()
    ]
