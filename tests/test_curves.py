"""Curves in memory: their labels, and what they must not contain."""

import json

import numpy as np
import pytest
import xarray as xr
from hand_made_curves import SETTINGS, WHEN, make, records

from gainjax import curves as results
from gainjax.curves import Setting, difference


def test_labels_are_those_of_the_arrays():
    arrays = records()
    curves = make(arrays=arrays)
    assert curves.task.values.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    picked = curves.accuracy.sel(setting="a", seed=7, eval_update=6, eval_task=2)
    assert picked == arrays["accuracy"][0, 1, 2, 1]
    seen = curves.seen_accuracy.sel(setting="b", seed=3, seen_update=8)
    assert seen == arrays["seen_accuracy"][1, 0, 1]
    assert curves.train_loss.sel(setting="a", seed=3, update=1) == arrays["train_loss"][0, 0, 0]
    assert curves.title.sel(setting="b") == "B"
    assert results.task_ends(curves).tolist() == [4, 8]
    spec = json.loads(curves.attrs["spec"])
    assert spec["benchmark"] == curves.attrs["benchmark"] == "mine"
    assert spec["seeds"] == [3, 7]
    assert spec["settings"][0] == {
        "label": "a", "method": "a", "title": "A", "hyperparameters": {"rate": 0.1}, "swept": [],
    }  # fmt: skip
    assert curves.attrs["wall_time_seconds"] == 2
    assert curves.attrs["score"] == "accuracy"


def test_what_was_not_recorded_is_not_there():
    curves = make(arrays={"accuracy": records()["accuracy"]}, seen_updates=())
    assert set(curves.data_vars) == {"accuracy", "diverged_update"}
    assert not curves.diverged_update.any()
    assert not results.has(curves, "seen_accuracy")


def test_swept_hyper_parameters_are_coordinates():
    rows = [
        Setting("x rate=none", "x", "X", {"rate": None, "b": 1.0}, ("rate",)),
        Setting(
            "x rate=warm", "x", "X", {"rate": {"schedule": "warm", "values": [1.0]}}, ("rate",)
        ),
        Setting("y b=2", "y", "Y", {"b": 2.0}, ("b",)),
    ]
    arrays = {"accuracy": np.full((3, 2, 4, 1), 0.5)}
    numbers = make([rows[0], rows[2]], {"accuracy": arrays["accuracy"][:2]}, seen_updates=())
    np.testing.assert_array_equal(numbers["rate"], [np.inf, np.nan])
    np.testing.assert_array_equal(numbers["b"], [np.nan, 2])
    with_schedule = make(rows, arrays, seen_updates=())
    assert with_schedule["rate"].values.tolist() == ["inf", "warm", ""]
    assert results.swept_names(with_schedule) == ["rate", "b"]
    assert results.swept_names(with_schedule.sel(setting=["y b=2"])) == ["b"]


def test_several_gains_have_names(tmp_path):
    gains = np.random.default_rng(1).random((2, 2, 8, 3))
    gains[1, :, :, 1:] = np.nan
    attrs = WHEN["attrs"] | {"gain_names": ["body", "head", "norm"]}
    curves = make(arrays=records(gains=gains), attrs=attrs)
    assert curves.gains.sel(setting="a", seed=7, update=2, group="head") == gains[0, 1, 1, 1]
    xr.testing.assert_identical(results.load(results.save(curves, tmp_path)), curves)


def test_divergence_is_the_first_loss_that_is_not_finite():
    arrays = {"accuracy": np.ones((1, 4, 4, 1)), "train_loss": np.ones((1, 4, 8))}
    arrays["eval_loss"] = np.ones((1, 4, 4, 1))
    arrays["train_loss"][0, 1, 2:] = np.nan
    arrays["train_loss"][0, 2, [4, 6]] = np.inf
    arrays["eval_loss"][0, 3, 3] = np.nan  # the very last update
    options = {"seeds": range(4), "seen_updates": ()}
    curves = make(SETTINGS[:1], arrays, **options)
    assert curves.diverged_update.values.tolist() == [[0, 3, 5, 8]]
    assert curves.diverged_update.dtype == np.int32
    del arrays["train_loss"]
    arrays["eval_loss"][0, 1, 2:] = np.nan
    curves = make(SETTINGS[:1], arrays, **options)
    assert curves.diverged_update.values.tolist() == [[0, 6, 0, 8]]


def test_a_score_without_a_value_before_the_first_update_is_a_divergence():
    score = np.ones((1, 2, 3, 1))
    score[0, 1] = np.nan
    found = make(
        SETTINGS[:1], {"accuracy": score}, seeds=range(2), seen_updates=(), task_ends=[4, 8],
        eval_updates=[0, 4, 8], attrs=WHEN["attrs"] | {"score": "return"},
    )  # fmt: skip
    assert found.diverged_update.values.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("rows", "arrays", "changes", "message"),
    [
        ([], {}, {}, "different labels, at least one: got"),
        (SETTINGS[:1] * 2, {}, {}, "different labels"),
        ([Setting("a", "", "A", {})] * 1, {}, {}, "must be text: got ''"),
        ([SETTINGS[0], Setting("c", "c", "C", {"gain": 1.0}, ("gain",))], {}, {}, "called 'gain'"),
        (None, {"gain": np.ones((2, 3, 8))}, {}, r"gain must be numbers of shape .*\(2, 2, 8\)"),
        (None, {"gain": np.ones((2, 2, 8, 1))}, {}, "gain must be numbers of shape"),
        (None, {"train_loss": np.ones((2, 2, 7))}, {}, "train_loss must be numbers of shape"),
        (None, {"accuracy": np.ones((2, 2, 4, 3))}, {}, "task 1 or of all 2 tasks"),
        (None, {"accuracy": np.ones((2, 2, 4, 1))}, {}, "the same shape"),
        (None, {"accuracy": np.full((2, 2, 4, 2), 98.0)}, {}, r"\[0, 1\]: got 98.0; divide perc"),
        (None, {"accuracy": np.full((2, 2, 4, 2), np.nan)}, {}, "must be finite: got nan"),
        (None, {"accuracy": np.full((2, 2, 4, 2), "a")}, {}, "accuracy must be numbers"),
        (None, {"loss": np.ones((2, 2, 8))}, {}, "records must be among .*got 'loss'"),
        (None, {"accuracy": None}, {}, "records must hold accuracy"),
        (None, {}, {"task_ends": [3, 8]}, r"task_ends must be among eval_updates: \[3\]"),
        (None, {}, {"task_ends": [4, 6]}, "must end with the last task, at 6: got 8"),
        (None, {}, {"task_ends": [4, 4]}, "strictly increasing"),
        (None, {}, {"attrs": {}}, "must be names: got None"),
        (None, {}, {"seeds": [1, 1]}, r"different integers: got \[1, 1\]"),
        (None, {}, {"seeds": [0.5, 1]}, "list of integers"),
        (
            None,
            {},
            {"attrs": {"benchmark": "x", "spec": {"a": object()}}},
            "JSON-serializable: got",
        ),
        (None, {}, {"attrs": {"benchmark": "x", "spec": {"seeds": [1]}}}, "must describe these"),
    ],
)
def test_wrong_curves_are_refused(rows, arrays, changes, message):
    with pytest.raises(ValueError, match=message):
        make(SETTINGS if rows is None else rows, records(**arrays), **changes)


@pytest.mark.parametrize("name", ["task_ends", "eval_updates", "seen_updates"])
def test_updates_are_integers(name):
    with pytest.raises(TypeError, match=f"{name} must hold integers: got dtype float64"):
        make(**{name: [0.5, 8]})


def test_other_scores_may_be_anything():
    arrays = {"accuracy": np.full((2, 2, 4, 2), -3.0), "seen_accuracy": np.full((2, 2, 2), 7.0)}
    curves = make(arrays=arrays, attrs={"benchmark": "x", "score": "R²"})
    assert curves.attrs["score"] == "R²"
    with pytest.raises(ValueError, match="finite"):
        make(
            arrays={"accuracy": np.full((2, 2, 4, 2), np.inf)},
            attrs={"benchmark": "x", "score": "R²"},
        )


# --- differences ---


def test_only_the_difference_is_told():
    rows = [{"label": f"sgd rate={i}", "hyperparameters": {"rate": i}} for i in range(500)]
    changed = [*rows[:3], {**rows[3], "hyperparameters": {"rate": -1}}, *rows[4:]]
    text = difference({"settings": rows, "a": 1}, {"settings": changed, "a": 1})
    assert text == (
        "settings[sgd rate=3].hyperparameters.rate:\n"
        "  settings[sgd rate=3].hyperparameters.rate: 3 -> -1"
    )
    seeds = difference({"seeds": list(range(100))}, {"seeds": list(range(101))})
    assert seeds == "seeds:\n  seeds: 100 values -> 101 values, among them 100"
    assert len(difference({"settings": rows}, {"settings": rows[:1]})) < 5000
    turned = difference({"s": rows[:2]}, {"s": rows[1::-1]})
    assert turned.startswith("order of s:")
