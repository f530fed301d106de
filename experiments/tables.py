"""The tables of the pages, made from the stored numbers.

    python -m experiments tables

A table stands in a page between ``<!-- NAME -->`` and ``<!-- end -->``, where NAME is one of
:data:`TABLES`. What stands there is replaced, so that no number is copied by hand.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.paper_table import PUBLISHED
from gainjax.files import write_file

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "experiments/README.md", "docs/agreement.md")
RESULTS = Path(__file__).parent / "results"

Row = Mapping[str, Any]  # of the stored numbers
Lines = list[list[str]]  # of a table in a page; the first is its head

METHODS = {"ngm-sgd": "NGM-SGD", "sgd": "SGD", "msgd": "momentum SGD", "adam": "Adam"}
_ON_CIFAR = METHODS | {
    "ngm-sgd-everywhere": "NGM-SGD, gain in every layer",
    "ngm-sgd-ema": "NGM-SGD, averaged",
    "fixed-gain-ema": "fixed gain, averaged",
    "adagrad-ema": "AdaGrad, averaged",
}
_MNIST = {
    "split-mnist": "Split MNIST",
    "permuted-mnist": "Permuted MNIST",
    "rotated-mnist": "Rotated MNIST",
}
_CONTROLS = {
    "ngm-sgd": "NGM-SGD",
    "sgd": "SGD",
    "sgd-raised": "SGD at .01 × the mean of NGM-SGD's squared gain",
    "constant-gain": "NGM-SGD's mean gain, held constant",
    "shuffled-gain": "NGM-SGD's gains, shuffled in time",
}
_DIGITS = {"split-digits": "split", "permuted-digits": "permuted", "rotated-digits": "rotated"}
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
_VERDICTS = {"agrees": "✓", "near": "~", "no": "✗"}


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
    for name, make in TABLES.items():
        # A page has some of the tables; the text between the marks is whatever it is.
        text = re.sub(
            rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)",
            lambda _, make=make: _markdown(make(results)),
            text,
            flags=re.S,
        )
    return text


def _markdown(lines: Lines) -> str:
    head, *rows = (
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) + "\n" for line in lines
    )
    return "".join([head, "|---" * len(lines[0]) + "|\n", *rows])


# --- Cells ---------------------------------------------------------------------------------------


def _number(value: float, digits: int) -> str:
    """Return a number as the pages write it: −.012, .5, 12.3."""
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # plus 0: none is -0
    return re.sub(r"^(-?)0\.", r"\1.", text).replace("-", "−")


def _gap(value: float) -> str:
    return _number(value, 3)


def _percent(value: float) -> str:
    return _number(100 * value, 1)


def _points(value: float) -> str:
    return _number(100 * value, 2)


def _rate(value: float) -> str:
    return _number(value, 4).rstrip("0").rstrip(".")


def _interval(row: Row, name: str, show: Callable[[float], str]) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):  # of a single seed
        return show(row[name])
    return f"{show(row[name])} [{show(low)}, {show(high)}]"


def _gap_and_anytime(row: Row) -> str:
    return f"{_gap(row['avg_sg'])}, {_percent(row['anytime_accuracy'])}"


def _records(rows: pd.DataFrame) -> list[Row]:
    return rows.to_dict("records")  # type: ignore[return-value]


# --- The paper's table ---------------------------------------------------------------------------


def paper_table(results: Path) -> Lines:
    """Return all cells of the paper's table on MNIST with the published numbers."""
    columns = {
        "avg-ACC": "avg-ACC, %",
        "min-ACC": "min-ACC (v1), %",
        "WC-ACC": "WC-ACC, %",
        "avg-SG": "avg-SG",
    }
    head = ["benchmark", "method", *columns.values(), "avg-SG per seed", "anytime accuracy, %"]
    rows = [head]
    for benchmark in _MNIST:
        for method, name in METHODS.items():
            cells = _cells(results, benchmark, method)
            shown = [_of_mean_curve(cells[quantity]) for quantity in columns]
            of_seeds = _of_seeds(cells["avg-SG"], 3), _of_seeds(cells["anytime accuracy"], 1)
            rows.append([benchmark, name, *shown, *of_seeds])
    return rows


def _cells(results: Path, benchmark: str, method: str) -> dict[str, Row]:
    stored = pd.read_csv(results / "paper-table.csv")
    stored = stored[(stored["benchmark"] == benchmark) & (stored["method"] == method)]
    return {cell["quantity"]: cell for cell in _records(stored)}


def _of_mean_curve(cell: Row) -> str:
    digits = 3 if cell["quantity"] == "avg-SG" else 2

    def with_error(value: str, error: str) -> str:
        return f"{_number(cell[value], digits)} ± {_number(cell[error], digits)}"

    ours = with_error("value", "error")
    if pd.isna(cell["published"]):
        return ours
    return f"{ours} ({with_error('published', 'published_error')}) {_VERDICTS[cell['verdict']]}"


def _of_seeds(cell: Row, digits: int) -> str:
    return _interval(cell, "per_seed", lambda value: _number(value, digits))


def recovery(results: Path) -> Lines:
    """Return the updates to recovery, and how often there is one."""
    rows = [["benchmark", *METHODS.values()]]
    for benchmark in _MNIST:
        row = [benchmark]
        for method in METHODS:
            cells = _cells(results, benchmark, method)
            share = _number(cells["recovered"]["per_seed"], 0)
            row.append(f"{_of_seeds(cells['updates to recovery'], 0)}, {share} %")
        rows.append(row)
    return rows


def de_lange(results: Path) -> Lines:
    """Return the metrics of De Lange et al."""
    columns = {
        "de_lange_acc": "ACC",
        "de_lange_min_acc": "min-ACC",
        "de_lange_wc_acc": "WC-ACC",
        "windowed_forgetting": "windowed forgetting",
        "windowed_plasticity": "windowed plasticity",
    }
    stored = pd.read_csv(results / "paper-table-de-lange.csv")
    return [["benchmark", "method", *columns.values()]] + [
        [row["benchmark"], METHODS[row["method"]], *(_interval(row, c, _percent) for c in columns)]
        for row in _records(stored)
    ]


def split_mnist(results: Path) -> Lines:
    """Return the paper's table on Split MNIST in short."""
    theirs = pd.read_csv(PUBLISHED).set_index(["benchmark", "method", "quantity"])["value"]
    rows = [
        ["method", "avg-ACC, %", "published", "avg-SG", "published", "gain per task", "published"]
    ]
    for method, name in METHODS.items():
        cells = _cells(results, "split-mnist", method)
        accuracy, gap = cells["avg-ACC"], cells["avg-SG"]
        gains = [quantity for quantity in cells if quantity.startswith("gain of task")]
        if method != "ngm-sgd":
            gains = []  # it is 1
        rows.append(
            [
                name,
                _number(accuracy["value"], 2),
                _number(accuracy["published"], 2),
                f"{_gap(gap['value'])} ± {_gap(gap['error'])}",
                f"{_gap(gap['published'])} ± {_gap(gap['published_error'])}",
                ", ".join(f"{cells[quantity]['value']:.2f}" for quantity in gains),
                ", ".join(f"{theirs['split-mnist', method, q]:.2f}" for q in gains),
            ]
        )
    return rows


# --- The other programs --------------------------------------------------------------------------


def learning_rates(results: Path) -> Lines:
    """Return each method at the rate that the rule chooses."""
    last = "rate near the best accuracy of any method"
    head = ["rate", "avg-SG", "anytime accuracy, %", "min-ACC (v1), %", last]
    rows = [["benchmark", "method", *head]]
    for benchmark in _MNIST:
        stored = pd.read_csv(results / f"learning-rates-{benchmark}.csv")
        for method, name in METHODS.items():
            of_method = stored[stored["method"] == method]
            near = of_method.loc[of_method["chosen_any"], "learning_rate"]
            for row in _records(of_method[of_method["chosen"]]):
                gap, anytime = (
                    _interval(row, "avg_sg", _gap),
                    _interval(row, "anytime_accuracy", _percent),
                )
                rate = _rate(near.iloc[0]) if len(near) else "none"
                rows.append(
                    [
                        *(benchmark, name, _rate(row["learning_rate"]), gap, anytime),
                        *(_percent(row["min_acc"]), rate),
                    ]
                )
    return rows


def digits_learning_rates(results: Path) -> Lines:
    """Return anytime accuracy and gap on the digits benchmarks, and the chosen rate."""
    rows = [["benchmark", *METHODS.values()]]
    for benchmark in _DIGITS:
        stored = pd.read_csv(results / f"digits-learning-rates-{benchmark}.csv")
        chosen = {row["method"]: row for row in _records(stored[stored["chosen"]])}
        rows.append(
            [benchmark]
            + [
                f"{_points(row['anytime_accuracy'])}, {_gap(row['avg_sg'])} "
                f"({_rate(row['learning_rate'])})"
                for row in (chosen[method] for method in METHODS)
            ]
        )
    return rows


def controls(results: Path) -> Lines:
    """Return gap and anytime accuracy of the controls, and their differences from NGM-SGD."""
    head, parts = ["method"], []
    for benchmark, short in {"split-mnist": "Split", "rotated-mnist": "Rotated"}.items():
        head += [f"{short}: avg-SG, anytime", "Δ avg-SG", "Δ anytime"]
        stored = pd.read_csv(results / f"controls-{benchmark}.csv")
        parts.append({row["method"]: row for row in _records(stored)})
    rows = [head]
    for method in parts[0]:
        cells = [method]
        for row in (part[method] for part in parts):
            cells.append(_gap_and_anytime(row))
            if method == "ngm-sgd":
                cells += ["", ""]
            else:
                cells.append(_interval(row, "minus_ngm_avg_sg", _gap))
                cells.append(_interval(row, "minus_ngm_anytime_accuracy", _points))
        rows.append(cells)
    return rows


def controls_in_short(results: Path) -> Lines:
    """Return gap and anytime accuracy of the controls that tell step from timing."""
    benchmarks = ("split-mnist", "rotated-mnist")
    stored = [
        pd.read_csv(results / f"controls-{name}.csv").set_index("method") for name in benchmarks
    ]
    return [["method", *(_MNIST[name] for name in benchmarks)]] + [
        [name, *(f"{_gap_and_anytime(rows.loc[method])} %" for rows in stored)]  # type: ignore[arg-type]
        for method, name in _CONTROLS.items()
    ]


def sensitivity(results: Path) -> Lines:
    """Return gap and anytime accuracy of each sensitivity, the paper's own in bold."""
    own = {"split-mnist": 0.4, "permuted-mnist": 0.3, "rotated-mnist": 0.5}
    stored = pd.read_csv(results / "sensitivity.csv")
    rows = [["sensitivity", *_MNIST.values()]]
    for value, of_value in stored.groupby("sensitivity"):
        cells = {}
        for row in _records(of_value):
            gap = _interval(row, "avg_sg", _gap)
            text = f"{gap}, {_percent(row['anytime_accuracy'])}"
            cells[row["benchmark"]] = f"**{text}**" if own[row["benchmark"]] == value else text
        rows.append([_rate(value), *(cells[benchmark] for benchmark in _MNIST)])  # type: ignore[arg-type]
    return rows


def protocols(results: Path) -> Lines:
    """Return the comparison under each protocol."""
    return [["protocol", "method", "avg-SG", "anytime accuracy, %", "final accuracy, %"]] + [
        [
            row["protocol"],
            METHODS[row["method"]],
            _interval(row, "avg_sg", _gap),
            _interval(row, "anytime_accuracy", _percent),
            _percent(row["final_accuracy"]),
        ]
        for row in _records(pd.read_csv(results / "protocols.csv"))
    ]


def cifar(results: Path) -> Lines:
    """Return the results on the reduced Split CIFAR-10."""
    return [["method", "avg-SG", "avg-ACC, %", "anytime accuracy, %", "final accuracy, %"]] + [
        [
            _ON_CIFAR[row["method"]],
            _interval(row, "avg_sg", _gap),
            *(
                _interval(row, c, _percent)
                for c in ("avg_acc", "anytime_accuracy", "final_accuracy")
            ),
        ]
        for row in _records(pd.read_csv(results / "cifar.csv"))
    ]


def cifar_first_switch(results: Path) -> Lines:
    """Return the first switch of Split CIFAR-10."""
    head = ["accuracy on task 1 before the switch, %", "lowest after it, %"]
    head += ["SG of the first switch", "at the end, %", "anytime accuracy, %"]
    return [["method", *head]] + [
        [
            METHODS[row["method"]],
            _percent(row["before"]),
            f"{_percent(row['lowest'])} (update {row['lowest_update']})",
            _gap(row["avg_sg"]),
            *(_percent(row[column]) for column in ("end", "anytime_accuracy")),
        ]
        for row in _records(pd.read_csv(results / "cifar-first-switch.csv"))
    ]


def domain_cifar100(results: Path) -> Lines:
    """Return the results on Domain CIFAR-100 in full, with its switches."""
    rows, switches = (
        pd.read_csv(results / f"{name}.csv").set_index("benchmark").loc["domain-cifar100"]
        for name in ("cifar-full", "cifar-full-switches")
    )
    numbers = sorted(switches["switch"].unique())
    head = [f"switch {n}: before → lowest, % (update after it)" for n in numbers]
    lines = [["method", "avg-SG", "anytime accuracy, %", "final accuracy, %", *head]]
    for row in _records(rows):
        of_method = switches[switches["method"] == row["method"]]
        means = of_method.groupby("switch")[["before", "lowest", "updates_after_switch"]].mean()
        lines.append(
            [
                _ON_CIFAR[row["method"]],
                _interval(row, "avg_sg", _gap),
                *(_interval(row, c, _percent) for c in ("anytime_accuracy", "final_accuracy")),
                *(
                    f"{_percent(before)} → {_percent(lowest)} ({after:.0f})"
                    for before, lowest, after in means.itertuples(index=False)
                ),
            ]
        )
    return lines


# --- The league's relatives ----------------------------------------------------------------------


def claim(results: Path) -> Lines:
    """Return the shares of NGM-SGD's gap in the claim about a method of ours."""
    stored = pd.concat(
        [pd.read_csv(results / f"claim-{name}.csv") for name in (*_DIGITS, *_MNIST)]
    ).set_index(["setting", "benchmark"])
    lines = [["", *_DIGITS, *_MNIST]]
    for method, shared, more in (
        ("fixed-gain-ema", "share of NGM-SGD's gap", "more anytime accuracy, points"),
        (
            "sgd-ema",
            "averaging alone over SGD, tuned: share",
            "more anytime accuracy, points",
        ),
    ):
        rows = stored.loc[method].loc[[*_DIGITS, *_MNIST]]
        lines.append([shared, *(_number(value, 2) for value in rows["ratio"])])
        lines.append([more, *map(_points, rows["more_accurate"])])
    return lines


def level(results: Path) -> Lines:
    """Return gap and anytime accuracy of the parts of a raised level."""
    stored = pd.read_csv(results / "level.csv").set_index(["variant", "benchmark", "averaged"])
    head = [text for name in _DIGITS.values() for text in (f"{name}, averaged", "not")]
    return [["variant", *head]] + [
        [
            text,
            *(
                _gap_and_anytime(stored.loc[(variant, benchmark, averaged)].to_dict())
                for benchmark in _DIGITS
                for averaged in (True, False)
            ),
        ]
        for variant, text in _LEVELS.items()
    ]


def replay(results: Path) -> Lines:
    """Return gap and anytime accuracy with all data and with a memory."""
    stored = pd.read_csv(results / "replay.csv").set_index(["benchmark", "regime", "method"])
    lines = [["benchmark", "memory", *(name.replace("+", " +") for name in _WITH_MEMORY)]]
    for benchmark in _DIGITS:
        for regime, memory in _MEMORIES.items():
            rows = stored.loc[benchmark].loc[regime]
            cells = [_gap_and_anytime(rows.loc[method].to_dict()) for method in _WITH_MEMORY]
            lines.append([benchmark if regime == "joint" else "", memory, *cells])
    return lines


def paper_claims(results: Path) -> Lines:
    """Return which claims of the paper hold where."""
    stored = pd.read_csv(results / "paper-claims.csv")
    verdicts = stored.set_index(["claim", "benchmark", "regime"])["verdict"]
    shown = {"not applicable": "–", "fails": "**fails**"}
    head = [text for name in _DIGITS.values() for text in (f"{name}, joint", "replay")]
    return [["claim", *head]] + [
        [
            text,
            *(
                shown.get(verdict := verdicts[name, benchmark, regime], verdict)
                for benchmark in _DIGITS
                for regime in ("joint", "replay")
            ),
        ]
        for name, text in _CLAIMS.items()
    ]


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
    "claim": claim,
    "level": level,
    "replay": replay,
    "paper-claims": paper_claims,
}
