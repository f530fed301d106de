"""The registry of metrics."""

import inspect

import numpy as np
import pytest

from gainjax.metrics import INPUTS, METRICS, register_metric, summarize
from gainjax.metrics.registry import OPTIONS

UPDATES, ENDS = [1, 2, 3, 4], [2, 4]


@pytest.fixture
def registered():
    """A metric from outside, for the duration of a test."""
    metric = register_metric(
        "lowest", lambda curves: curves.min(axis=-1), ("first_accuracy",), "lowest", "lowest"
    )
    yield metric
    del METRICS["lowest"]


def test_a_metric_from_outside_is_one_call(registered):
    curves = np.random.default_rng(0).random((3, 4, 2))
    assert list(summarize(curves, UPDATES, ENDS))[-1] == "lowest"
    np.testing.assert_array_equal(
        summarize(curves, UPDATES, ENDS)["lowest"], curves[..., 0].min(axis=-1)
    )
    with pytest.raises(ValueError, match="a new identifier: got 'lowest'"):
        register_metric("lowest", min, ("accuracy",), "x", "x")


def test_the_options_that_a_metric_may_have_are_those_of_summarize():
    names = set(inspect.signature(summarize).parameters)
    assert names - {*INPUTS, "seen_updates", "convention"} == set(OPTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "a new identifier: got 'two words'"),
        ({"needs": ("loss",)}, "needs must be a tuple of names among first_accuracy.*'loss'"),
        ({"needs": ()}, "needs must be a tuple of names"),
        ({"needs": "first_accuracy"}, "needs must be a tuple of names .*: got 'first_accuracy'"),
        ({"unit": "metres"}, "unit must be one of .*got 'metres'"),
        ({"better": "lowest"}, "better must be one of"),
        ({"convention": "mine"}, "convention must be one of"),
        ({"units": "percent"}, "no field 'units'"),
        ({"options": ("level",)}, "options must be a tuple of names among version, window"),
        ({"options": "window"}, "options must be a tuple"),
    ],
)
def test_wrong_metrics_are_refused(changes, message):
    given = {"name": "x", "function": min, "needs": ("accuracy",), "title": "x", "meaning": "x"}
    with pytest.raises(ValueError, match=message):
        register_metric(**(given | changes))
    assert "x" not in METRICS


def test_a_metric_that_does_not_keep_its_rows_is_refused():
    register_metric("x", np.min, ("first_accuracy",), "x", "x")
    try:
        with pytest.raises(
            ValueError, match=r"metric x must return one number for each row.*\(3,\)"
        ):
            summarize(np.full((3, 4, 2), 0.5), UPDATES, ENDS)
    finally:
        del METRICS["x"]


def test_metrics_are_shown_in_their_unit():
    shown = {name: metric.show(0.12345) for name, metric in METRICS.items()}
    assert shown["avg_sg"] == "0.123"
    assert shown["min_acc"] == "12.3"
    assert METRICS["min_acc"].show(-1e-9) == "0.0"
    assert METRICS["recovery"].show(12.4) == "12"
    assert METRICS["min_acc"].show(0.12345, 2) == "12.35"
    assert METRICS["min_acc"].show(-1.5, score="R²") == "-1.500"
    assert {metric.show(np.nan) for metric in METRICS.values()} == {"–"}
    assert METRICS["final_accuracy"].explained() == "accuracy on all tasks at the end, %"
    assert METRICS["final_accuracy"].explained("R²") == "R² on all tasks at the end"
