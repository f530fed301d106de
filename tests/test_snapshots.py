"""Snapshots: states on the way, which change no number and survive what the curves survive."""

import shutil

import jax
import numpy as np
import pytest
from interruptions import crash, numbers

import gainjax
from gainjax.runs import execution
from gainjax.runs.part_store import CheckpointWarning

METHODS = ["sgd", "ngm-sgd"]
AT = [0, 5, 8, 9, 40]
SHORT = {"seeds": 2, "updates_per_task": 8, "batch_size": 16, "eval_examples": 20, "chunk": 3}
SHORT |= {"threads": 1}


@pytest.fixture(scope="module")
def wanted():
    return gainjax.run("split-digits", METHODS, snapshots=AT, **SHORT)


def again(out, **options):
    return gainjax.run("split-digits", METHODS, out=out, **{"snapshots": AT} | SHORT | options)


def assert_same(found, wanted):
    assert numbers(found[0]).identical(numbers(wanted[0]))
    assert list(found[1]) == list(wanted[1])
    jax.tree.map(np.testing.assert_array_equal, found[1], wanted[1])


def trains_nothing(monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("it trains again"))


@pytest.mark.exhaustive
def test_they_are_the_final_states_of_shorter_runs_and_change_no_curve(wanted):
    curves, states = wanted
    plain, final = gainjax.run("split-digits", METHODS, return_states=True, **SHORT)
    assert numbers(curves).identical(numbers(plain))
    short = SHORT | {"updates_per_task": [8, 1, 1, 1, 1]}
    _, ninth = gainjax.run("split-digits", METHODS, snapshots=[9], **short)
    _, fifth = gainjax.run(
        "split-digits", METHODS, snapshots=[5], **SHORT | {"updates_per_task": [5, 1, 1, 1, 1]}
    )
    for label in METHODS:
        for at, other in ((-1, final[label]), (3, ninth[label]), (1, fifth[label])):
            mine = jax.tree.map(lambda x, at=at: x[:, at], states[label])
            if at != -1:
                other = jax.tree.map(lambda x: x[:, 0], other)
            jax.tree.map(np.testing.assert_array_equal, mine, other)
    # Before the first update, methods differ by nothing but the gain, which is 1.
    first = (states[label].params["layer_0"]["kernel"][:, 0] for label in METHODS)
    np.testing.assert_array_equal(*first)


@pytest.mark.exhaustive
def test_parts_and_threads_give_the_same(wanted):
    found = gainjax.run(
        "split-digits", METHODS, snapshots=AT, memory=1, **SHORT | {"threads": 2, "chunk": 7}
    )
    assert_same(found, wanted)


@pytest.mark.exhaustive
@pytest.mark.parametrize("update", [3, 12])
def test_an_interrupted_run_has_those_before_it_too(tmp_path, wanted, update):
    crash(update, "split-digits", METHODS, label="ngm-sgd", out=tmp_path, snapshots=AT, **SHORT)
    assert_same(again(tmp_path), wanted)


@pytest.mark.exhaustive
def test_a_finished_run_gives_them_back(tmp_path, wanted, monkeypatch):
    again(tmp_path)
    with monkeypatch.context() as patched:
        trains_nothing(patched)
        assert_same(again(tmp_path), wanted)
        assert_same(gainjax.resume(tmp_path, snapshots=AT), wanted)
        fewer = again(tmp_path, snapshots=[8])[1]["sgd"]
        jax.tree.map(
            lambda x, y: np.testing.assert_array_equal(x[:, 0], y[:, 2]), fewer, wanted[1]["sgd"]
        )
    damaged = next((tmp_path / "states" / "9").rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.warns(CheckpointWarning, match="states are damaged, in .*states/9 or"):
        assert_same(again(tmp_path), wanted)


@pytest.mark.slow
def test_a_damaged_one_of_an_unfinished_run_is_made_again(tmp_path, wanted):
    crash(12, "split-digits", METHODS, label="ngm-sgd", out=tmp_path, snapshots=AT, **SHORT)
    (folder,) = tmp_path.rglob("ngm-sgd.states")
    shutil.rmtree(folder / "5")
    with (
        pytest.warns(CheckpointWarning, match="no intact checkpoint"),
        pytest.warns(
            CheckpointWarning, match=r"ngm-sgd.states/5 is missing or damaged: continuing"
        ),
    ):
        assert_same(again(tmp_path), wanted)


@pytest.mark.slow
def test_a_damaged_one_of_a_finished_method_is_named(tmp_path, wanted):
    crash(3, "split-digits", METHODS, label=METHODS[1], out=tmp_path, snapshots=AT, **SHORT)
    (folder,) = tmp_path.rglob(f"{METHODS[0]}.states")
    damaged = next((folder / "9").rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.warns(
        CheckpointWarning, match=r".states/9 is missing or damaged: .* trained again"
    ):
        assert_same(again(tmp_path), wanted)


@pytest.mark.parametrize(
    ("snapshots", "message"),
    [
        ([], "different updates in ascending order"),
        ([3, 2], "different updates in ascending order"),
        ([1, 1], "different updates in ascending order"),
        ([1.5], "different updates in ascending order"),
        ([True], "different updates in ascending order"),
        ([-1, 2], "got -1"),
        ([1, 41], "to 40, after the last one: got 41"),
    ],
)
def test_wrong_updates_are_refused(snapshots, message):
    with pytest.raises(ValueError, match=message):
        gainjax.run("split-digits", ["sgd"], snapshots=snapshots, **SHORT)


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give snapshots only, including 40"):
        gainjax.run("split-digits", ["sgd"], snapshots=[1], return_states=True, **SHORT)
    with pytest.raises(TypeError, match="list of updates: got 5"):
        gainjax.run("split-digits", ["sgd"], snapshots=5, **SHORT)
    with pytest.raises(ValueError, match="no snapshots"):
        gainjax.run("split-digits", ["sgd"], snapshots=[1], out=tmp_path, extend=True, **SHORT)
