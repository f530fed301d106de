"""Final states: what a run ends with, kept beside its curves."""

import jax
import numpy as np
import pytest
from interruptions import Crash, crash, numbers

import gainjax
from gainjax.runs import execution, part_store
from gainjax.runs.part_store import CheckpointWarning, PartStore

METHODS = ["sgd", "adam"]
SHORT = {"seeds": 2, "updates_per_task": 8, "batch_size": 16, "eval_examples": 20, "chunk": 3}
SHORT |= {"threads": 1, "return_states": True}


@pytest.fixture(scope="module")
def wanted():
    return gainjax.run("split-digits", METHODS, **SHORT)


def trains_nothing(monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("it trains again"))


def assert_same(found, wanted):
    assert numbers(found[0]).identical(numbers(wanted[0]))
    jax.tree.map(np.testing.assert_array_equal, found[1], wanted[1])
    assert jax.tree.structure(found[1]) == jax.tree.structure(wanted[1])


@pytest.mark.slow
def test_states_are_those_that_the_last_evaluation_used(wanted):
    curves, states = wanted
    assert list(states) == METHODS
    bench = gainjax.get_benchmark("split-digits").replace(updates_per_task=8)
    stream = bench.load(eval_examples=20)
    model = bench.model_for(stream)
    size = stream.test_sizes[0]
    inputs, targets = stream.test_inputs[0, :size], stream.test_targets[0, :size]
    for label in METHODS:
        for seed in (0, 1):
            mine = jax.tree.map(lambda x, i=seed: x[i], states[label])
            outputs = model.apply(mine.params, mine.model_state, inputs, train=False, key=None)[0]
            right = np.mean(np.argmax(outputs, -1) == targets)
            assert right == pytest.approx(curves.accuracy.sel(setting=label, seed=seed)[-1, 0])


@pytest.mark.exhaustive
def test_they_are_kept_with_a_finished_run(tmp_path, wanted, monkeypatch):
    assert_same(gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT), wanted)
    with monkeypatch.context() as patched:
        trains_nothing(patched)
        assert_same(gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT), wanted)
        assert_same(gainjax.resume(tmp_path, return_states=True), wanted)
    # A damaged file is noticed, and the run gives the same again.
    damaged = next(tmp_path.rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.warns(CheckpointWarning, match="states are damaged, in .*states/40 or"):
        found = gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT)
    assert_same(found, wanted)
    with pytest.raises(ValueError, match="holds another run"):
        gainjax.run("split-digits", ["sgd"], out=tmp_path, **SHORT)


@pytest.mark.slow
def test_a_finished_part_is_not_trained_again(tmp_path, wanted, monkeypatch):
    crash(10, "split-digits", METHODS, label="adam", out=tmp_path, **SHORT)
    trained = []
    train = execution.train
    monkeypatch.setattr(
        execution, "train", lambda program, *a, **k: trained.append(1) or train(program, *a, **k)
    )
    assert_same(gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT), wanted)
    assert len(trained) == 1


def test_a_crash_between_final_states_and_curves_costs_nothing(tmp_path, wanted, monkeypatch):
    with monkeypatch.context() as patched:
        monkeypatch.setattr(part_store, "FIRST", 0.0)

        def fail(*_):
            raise Crash

        patched.setattr(PartStore, "finish", fail)
        with pytest.raises(Crash):
            gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT)
    assert_same(gainjax.run("split-digits", METHODS, out=tmp_path, **SHORT), wanted)
