"""How the pages write numbers."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

Row = Mapping[str, Any]  # of the stored numbers
Lines = list[list[str]]  # of a table in a page; the first is its head

METHODS = {"ngm-sgd": "NGM-SGD", "sgd": "SGD", "msgd": "momentum SGD", "adam": "Adam"}

MNIST = {
    "split-mnist": "Split MNIST",
    "permuted-mnist": "Permuted MNIST",
    "rotated-mnist": "Rotated MNIST",
}

DIGITS = {"split-digits": "split", "permuted-digits": "permuted", "rotated-digits": "rotated"}


def number(value: float, digits: int) -> str:
    """Return a number as the pages write it: −.012, .5, 12.3."""
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # plus 0: none is -0
    return re.sub(r"^(-?)0\.", r"\1.", text).replace("-", "−")


def gap(value: float) -> str:
    """Return a gap, with three digits."""
    return number(value, 3)


def percent(value: float) -> str:
    """Return a fraction in percent."""
    return number(100 * value, 1)


def points(value: float) -> str:
    """Return a fraction in points, with two digits."""
    return number(100 * value, 2)


def rate(value: float) -> str:
    """Return a learning rate without zeros at its end."""
    return number(value, 4).rstrip("0").rstrip(".")


def interval(row: Row, name: str, show: Callable[[float], str]) -> str:
    """Return a mean and, if there is one, its interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):  # of a single seed
        return show(row[name])
    return f"{show(row[name])} [{show(low)}, {show(high)}]"


def gap_and_anytime(row: Row) -> str:
    """Return the gap and, in percent, the anytime accuracy of a row."""
    return f"{gap(row['avg_sg'])}, {percent(row['anytime_accuracy'])}"


def records(rows: pd.DataFrame) -> list[Row]:
    """Return the rows of a table."""
    return rows.to_dict("records")
