"""Regimes: which examples of which tasks a batch is drawn from."""

import jax
import numpy as np
import pytest
from digits_training import BENCHMARK, run

from gainjax.training.sampling import fill_buffer, sample


@pytest.fixture(scope="module")
def stream():
    return BENCHMARK.load()


@pytest.mark.exhaustive
def test_fine_tuning_sees_only_the_current_task_and_forgets(stream):
    joint, tuned = (
        run(stream, "sgd", regime=regime, updates_per_task=60, settings={"learning_rate": 0.1})
        for regime in ("joint", "fine-tuning")
    )
    assert joint.accuracy[0, -1, 0] > 0.9
    assert tuned.accuracy[0, -1, 0] < 0.2
    np.testing.assert_array_equal(joint.accuracy[0, :60], tuned.accuracy[0, :60])


@pytest.mark.exhaustive
@pytest.mark.parametrize("buffer", ["reservoir", "balanced"])
def test_replay_remembers_with_a_small_memory(stream, buffer):
    options = {"updates_per_task": 60, "settings": {"learning_rate": 0.1}}
    replay = run(stream, "sgd", regime="replay", buffer=buffer, buffer_size=100, **options)
    assert replay.accuracy[0, -1, 0] > 0.7
    # Half of a batch is new: at a switch, replay sees more of the new task than joint training.
    assert not np.array_equal(replay.train_loss, run(stream, "sgd", **options).train_loss)


@pytest.mark.parametrize("task", [0, 1, 4])
def test_a_reservoir_is_a_uniform_nested_sample_of_the_past(stream, task):
    fill = jax.jit(fill_buffer, static_argnums=(3, 4, 5))
    past = int(stream.task_start[task])
    counts = np.zeros(len(stream.train_targets))
    for seed in range(200):
        buffer = np.asarray(fill(jax.random.key(seed), stream, task, 50, "reservoir", 10))
        stored = buffer[buffer >= 0]
        assert len(stored) == len(set(stored)) == min(50, past)
        assert np.all(stored < past)
        counts[stored] += 1
        if task == 4:
            earlier = np.asarray(fill(jax.random.key(seed), stream, 3, 50, "reservoir", 10))
            old = stored[stored < stream.task_start[3]]
            assert set(old) <= set(earlier), "what was dropped never comes back"
    if past:
        expected = 200 * 50 / past
        assert abs(counts[: past // 2].mean() / expected - 1) < 0.1
        assert counts[:past].max() < expected + 6 * np.sqrt(expected)


@pytest.mark.parametrize("size", [7, 40, 5000])
def test_a_balanced_memory_holds_as_many_of_each_class(stream, size):
    for task in range(5):
        buffer = fill_buffer(jax.random.key(1), stream, task, size, "balanced", 10)
        stored = np.asarray(buffer)[np.asarray(buffer) >= 0]
        held = np.bincount(stream.train_targets[stored], minlength=10)
        there = np.bincount(stream.train_targets[: stream.task_start[task]], minlength=10)
        share = size // max((there > 0).sum(), 1)
        np.testing.assert_array_equal(held, np.minimum(there, share))


def test_half_of_a_replayed_batch_is_new(stream):
    buffer = fill_buffer(jax.random.key(0), stream, 2, 30, "reservoir", 10)
    index = np.asarray(sample(jax.random.key(1), stream, 2, 64, buffer, joint=False))
    assert set(index[:32]) <= set(np.asarray(buffer))
    assert np.all((index[32:] >= stream.task_start[2]) & (index[32:] < stream.task_end[2]))
