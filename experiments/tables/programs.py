"""Tables of the programs that train on MNIST, the digits and CIFAR."""

from pathlib import Path

import pandas as pd

from experiments.tables.cells import (
    DIGITS,
    METHODS,
    MNIST,
    Lines,
    gap,
    gap_and_anytime,
    interval,
    percent,
    points,
    rate,
    records,
)

_ON_CIFAR = METHODS | {
    "ngm-sgd-everywhere": "NGM-SGD, gain in every layer",
    "ngm-sgd-ema": "NGM-SGD, averaged",
    "fixed-gain-ema": "fixed gain, averaged",
    "adagrad-ema": "AdaGrad, averaged",
}

_CONTROLS = {
    "ngm-sgd": "NGM-SGD",
    "sgd": "SGD",
    "sgd-raised": "SGD at .01 × the mean of NGM-SGD's squared gain",
    "constant-gain": "NGM-SGD's mean gain, held constant",
    "shuffled-gain": "NGM-SGD's gains, shuffled in time",
}


def learning_rates(results: Path) -> Lines:
    """Return each method at the rate that the rule chooses."""
    last = "rate near the best accuracy of any method"
    head = ["rate", "avg-SG", "anytime accuracy, %", "min-ACC (v1), %", last]
    rows = [["benchmark", "method", *head]]
    for benchmark in MNIST:
        stored = pd.read_csv(results / f"learning-rates-{benchmark}.csv")
        for method, name in METHODS.items():
            of_method = stored[stored["method"] == method]
            near = of_method.loc[of_method["chosen_any"], "learning_rate"]
            for row in records(of_method[of_method["chosen"]]):
                rows.append(
                    [
                        *(benchmark, name, rate(row["learning_rate"])),
                        interval(row, "avg_sg", gap),
                        interval(row, "anytime_accuracy", percent),
                        percent(row["min_acc"]),
                        rate(near.iloc[0]) if len(near) else "none",
                    ]
                )
    return rows


def digits_learning_rates(results: Path) -> Lines:
    """Return anytime accuracy and gap on the digits benchmarks, and the chosen rate."""
    rows = [["benchmark", *METHODS.values()]]
    for benchmark in DIGITS:
        stored = pd.read_csv(results / f"digits-learning-rates-{benchmark}.csv")
        chosen = {row["method"]: row for row in records(stored[stored["chosen"]])}
        rows.append(
            [benchmark]
            + [
                f"{points(row['anytime_accuracy'])}, {gap(row['avg_sg'])} "
                f"({rate(row['learning_rate'])})"
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
        parts.append({row["method"]: row for row in records(stored)})
    rows = [head]
    for method in parts[0]:
        cells = [method]
        for row in (part[method] for part in parts):
            cells.append(gap_and_anytime(row))
            if method == "ngm-sgd":
                cells += ["", ""]
            else:
                cells.append(interval(row, "minus_ngm_avg_sg", gap))
                cells.append(interval(row, "minus_ngm_anytime_accuracy", points))
        rows.append(cells)
    return rows


def controls_in_short(results: Path) -> Lines:
    """Return gap and anytime accuracy of the controls that tell step from timing."""
    benchmarks = ("split-mnist", "rotated-mnist")
    stored = [
        pd.read_csv(results / f"controls-{name}.csv").set_index("method") for name in benchmarks
    ]
    return [["method", *(MNIST[name] for name in benchmarks)]] + [
        [name, *(f"{gap_and_anytime(rows.loc[method])} %" for rows in stored)]
        for method, name in _CONTROLS.items()
    ]


def sensitivity(results: Path) -> Lines:
    """Return gap and anytime accuracy of each sensitivity, the paper's own in bold."""
    own = {"split-mnist": 0.4, "permuted-mnist": 0.3, "rotated-mnist": 0.5}
    stored = pd.read_csv(results / "sensitivity.csv")
    rows = [["sensitivity", *MNIST.values()]]
    for value, of_value in stored.groupby("sensitivity"):
        cells = {}
        for row in records(of_value):
            text = f"{interval(row, 'avg_sg', gap)}, {percent(row['anytime_accuracy'])}"
            cells[row["benchmark"]] = f"**{text}**" if own[row["benchmark"]] == value else text
        rows.append([rate(value), *(cells[benchmark] for benchmark in MNIST)])
    return rows


def protocols(results: Path) -> Lines:
    """Return the comparison under each protocol."""
    return [["protocol", "method", "avg-SG", "anytime accuracy, %", "final accuracy, %"]] + [
        [
            row["protocol"],
            METHODS[row["method"]],
            interval(row, "avg_sg", gap),
            interval(row, "anytime_accuracy", percent),
            percent(row["final_accuracy"]),
        ]
        for row in records(pd.read_csv(results / "protocols.csv"))
    ]


def cifar(results: Path) -> Lines:
    """Return the results on the reduced Split CIFAR-10."""
    stored = pd.read_csv(results / "cifar.csv")
    return [["method", "avg-SG", "avg-ACC, %", "anytime accuracy, %", "final accuracy, %"]] + [
        [
            _ON_CIFAR[row["method"]],
            interval(row, "avg_sg", gap),
            *(interval(row, c, percent) for c in ("avg_acc", "anytime_accuracy", "final_accuracy")),
        ]
        for row in records(stored[stored["benchmark"] == "split-cifar10-small"])
    ]


def cifar_first_switch(results: Path) -> Lines:
    """Return the first switch of Split CIFAR-10."""
    head = ["accuracy on task 1 before the switch, %", "lowest after it, %"]
    head += ["SG of the first switch", "at the end, %", "anytime accuracy, %"]
    return [["method", *head]] + [
        [
            METHODS[row["method"]],
            percent(row["before"]),
            f"{percent(row['lowest'])} (update {row['lowest_update']})",
            gap(row["avg_sg"]),
            *(percent(row[column]) for column in ("end", "anytime_accuracy")),
        ]
        for row in records(pd.read_csv(results / "cifar-first-switch.csv"))
    ]


def domain_cifar100(results: Path) -> Lines:
    """Return the results on Domain CIFAR-100 in full, with its switches."""
    rows, switches = (
        pd.read_csv(results / f"{name}.csv").set_index("benchmark").loc["domain-cifar100"]
        for name in ("cifar", "cifar-switches")
    )
    numbers = sorted(switches["switch"].unique())
    head = [f"switch {n}: before → lowest, % (update after it)" for n in numbers]
    lines = [["method", "avg-SG", "anytime accuracy, %", "final accuracy, %", *head]]
    for row in records(rows):
        of_method = switches[switches["method"] == row["method"]]
        means = of_method.groupby("switch")[["before", "lowest", "updates_after_switch"]].mean()
        lines.append(
            [
                _ON_CIFAR[row["method"]],
                interval(row, "avg_sg", gap),
                *(interval(row, c, percent) for c in ("anytime_accuracy", "final_accuracy")),
                *(
                    f"{percent(before)} → {percent(lowest)} ({after:.0f})"
                    for before, lowest, after in means.itertuples(index=False)
                ),
            ]
        )
    return lines
