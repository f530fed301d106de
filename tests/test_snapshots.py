"""States at chosen updates of a run."""

import jax
import numpy as np
import pytest
from interruptions import numbers

import gainjax

SHORT = {"updates_per_task": 8, "batch_size": 16, "eval_examples": 20}


@pytest.mark.parametrize(
    "options", [{"threads": 1}, {"threads": 2, "chunk": 3}, {"layout": "vmap"}]
)
def test_they_are_the_final_states_of_shorter_runs_and_change_no_number(options):
    where = SHORT | options
    if "layout" not in options:
        where["layout"] = "map"
    methods = ["ngm-sgd", "sgd-ema"]
    plain, last = gainjax.run("split-digits", methods, 2, return_states=True, **where)
    curves, states = gainjax.run("split-digits", methods, 2, snapshots=[5, 8, 11, 40], **where)
    assert numbers(curves).identical(numbers(plain))
    assert list(states) == methods
    for label in methods:
        of_last = jax.tree.map(lambda x: x[:, 3], states[label])
        jax.tree.map(np.testing.assert_array_equal, of_last, last[label])
        assert jax.tree.structure(states[label]) == jax.tree.structure(last[label])
    # The first task alone, five updates of it.
    short = where | {"updates_per_task": [5, 1, 1, 1, 1]}
    _, first = gainjax.run("split-digits", methods, 2, snapshots=[5], **short)
    for label in methods:
        np.testing.assert_array_equal(
            jax.tree.leaves(first[label].params)[0][:, 0],
            jax.tree.leaves(states[label].params)[0][:, 0],
        )


def test_a_sweep_has_them_by_setting():
    curves, states = gainjax.sweep(
        "split-digits", {"learning_rate": [0.1, 0.01]}, ["sgd"], 2, snapshots=[1, 9], **SHORT
    )
    assert list(states) == curves.setting.values.tolist()
    kernel = jax.tree.leaves(states["sgd learning_rate=0.1"].params)[0]
    assert kernel.shape[:2] == (2, 2)
    assert (kernel[:, 0] != kernel[:, 1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snapshots": [0]}, "each of the snapshots must be an integer of at least 1: got 0"),
        ({"snapshots": [41]}, "each of the snapshots must be at most 40: got 41"),
        ({"snapshots": [5, 3]}, r"ascending order: got \[5, 3\]"),
        ({"snapshots": [5], "out": "x"}, "returned, and not stored: leave out out='x'"),
        ({"snapshots": [5], "return_states": True}, "leave out return_states=True"),
    ],
)
def test_wrong_ones_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        gainjax.run("split-digits", ["sgd"], 1, **SHORT, **options)
    assert not list(tmp_path.iterdir())
