"""The laws of the training loop."""

import threading
from functools import partial

import jax
import numpy as np
import pytest
from digits_training import BENCHMARK, PLAIN, USUAL, chunks, make_program, run

from gainjax.training import Protocol, collect, make_layout, train
from gainjax.training.loop import abstract_states
from gainjax.training.threads import run_all

SPARSE = {"eval_every": 3, "eval_tasks": "all", "seen_every": 5, "dense_updates": 0}


@pytest.fixture(scope="module")
def stream():
    return BENCHMARK.load()


def assert_same(a, b, **tolerance):
    for name in a._fields:
        x, y = getattr(a, name), getattr(b, name)
        if tolerance:
            np.testing.assert_allclose(x, y, err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.slow
# One of each kind of state; the contract tests put every method through vmap.
@pytest.mark.parametrize(
    "name",
    [
        "ngm-sgd",
        "adam",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("replayed-gain", "sgd-ema")
        ),
    ],
)
def test_a_seed_alone_gives_the_run_it_gives_in_a_batch(stream, name):
    together = run(stream, name, seeds=(0, 5, 2**31))
    alone = run(stream, name, seeds=(5,))
    assert_same(jax.tree.map(lambda x: x[1:2], together), alone)


@pytest.mark.slow
def test_the_batched_layout_gives_the_same_runs(stream):
    one_by_one, batched = (
        run(stream, seeds=(0, 1, 2), layout=make_layout(x), **SPARSE) for x in ("map", "vmap")
    )
    assert_same(one_by_one, batched, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_setting_alone_gives_the_run_it_gives_in_a_batch(stream):
    together = run(stream, seeds=(1, 1, 1), settings={"sensitivity": np.array([0.0, 0.2, 0.4])})
    alone = run(stream, seeds=(1,), settings={"sensitivity": 0.2})
    assert_same(jax.tree.map(lambda x: x[1:2], together), alone)
    assert np.all(together.gain[0] == 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chunk", [1, 1000, *(pytest.param(chunk, marks=pytest.mark.exhaustive) for chunk in (4, 5))]
)
def test_the_length_of_a_chunk_changes_no_number(stream, chunk):
    whole, parts = (run(stream, seeds=(0, 1, 2), chunk=n, **SPARSE) for n in (8, chunk))
    assert_same(parts, whole)


@pytest.mark.exhaustive
@pytest.mark.parametrize("modulate", ["all", "head"])
def test_the_two_forms_give_the_same_runs(stream, modulate):
    options = {"updates_per_task": 40, "batch_size": 32, "seen_every": 10, "modulate": modulate}
    in_optimizer, in_model = (
        run(stream, seeds=(0, 1), form=form, **options) for form in ("optimizer", "model")
    )
    assert np.ptp(in_model.gain) > 0.5
    assert_same(in_optimizer, in_model, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_methods_share_weights_and_batches(stream):
    first = {
        name: [run(stream, name, seeds=(seed,)).train_loss[0, 0] for seed in (0, 1)]
        for name in PLAIN
    }
    for losses in first.values():
        np.testing.assert_array_equal(losses, first["sgd"])
    assert first["sgd"][0] != first["sgd"][1]


def test_without_sensitivity_the_gain_does_nothing(stream):
    rate = {"learning_rate": 0.05}
    still = run(stream, "ngm-sgd", settings=rate | {"sensitivity": 0.0})
    assert_same(still, run(stream, "sgd", settings=rate), rtol=1e-6, atol=1e-7)


@pytest.mark.exhaustive
def test_evaluation_happens_where_the_protocol_says(stream):
    every = run(stream, eval_tasks="all")
    sparse = run(stream, seeds=(0, 1, 2), **SPARSE)
    ends = {8, 16, 24, 32, 40}
    protocol = Protocol(**(USUAL | SPARSE))
    updates = np.arange(1, 41)
    # A network has a loss on a test set wherever it was evaluated; elsewhere a record holds 0.
    np.testing.assert_array_equal(updates[sparse.eval_loss[0, :, 0] > 0], protocol.eval_updates(5))
    evaluated = np.isin(updates, list(ends | set(range(3, 41, 3))))
    seen = np.isin(updates, list(ends | set(range(5, 41, 5))))
    for name, due, wanted in (
        ("accuracy", protocol.eval_updates(5), evaluated),
        ("eval_loss", protocol.eval_updates(5), evaluated),
        ("seen_accuracy", protocol.seen_updates(5), seen),
    ):
        np.testing.assert_array_equal(due, updates[wanted])
        few, all_of_them = getattr(sparse, name), getattr(every, name)
        np.testing.assert_array_equal(few[0, wanted], all_of_them[0, wanted])
        assert np.all(few[:, ~wanted] == 0)
    assert np.all(every.seen_accuracy > 0)
    np.testing.assert_array_equal(every.accuracy[..., :1], run(stream).accuracy)


@pytest.mark.slow
def test_accuracy_on_seen_tasks_pools_their_images(stream):
    records = run(stream, eval_tasks="all")
    sizes = stream.test_sizes
    for n in range(40):
        seen = slice(0, n // 8 + 1)
        pooled = np.average(records.accuracy[0, n, seen], weights=sizes[seen])
        np.testing.assert_allclose(records.seen_accuracy[0, n], pooled, rtol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("eval_batch_size", [1, 7, 71, 500])
def test_batches_of_the_evaluation_change_no_count(stream, eval_batch_size):
    small = run(stream, eval_batch_size=eval_batch_size, eval_tasks="all")
    whole = run(stream, eval_tasks="all")
    assert_same(small, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_diverged_seed_does_not_spoil_the_others(stream):
    rates = np.array([0.01, 1e6, 0.01])
    records = run(stream, "sgd", seeds=(0, 1, 2), settings={"learning_rate": rates})
    for seed in (0, 2):
        good = run(stream, "sgd", seeds=(seed,), settings={"learning_rate": 0.01})
        assert_same(jax.tree.map(lambda x, i=seed: x[[i]], records), good)
    assert not np.isfinite(records.train_loss[1, -1])
    assert np.all(records.accuracy[1, -8:] == 0), "an answer that is not a number is wrong"


@pytest.mark.slow
def test_every_chunk_is_told_once_and_none_crosses_a_switch(stream):
    told = list(chunks(stream, seeds=(0, 1, 2), chunk=5, **SPARSE))
    assert [c.done for c in told] == [5, 8, 13, 16, 21, 24, 29, 32, 37, 40]
    assert [c.start for c in told] == [0, *(c.done for c in told[:-1])]
    assert {c.total for c in told} == {40}
    joined = np.concatenate([c.records.train_loss for c in told], axis=1)
    np.testing.assert_array_equal(joined, run(stream, seeds=(0, 1, 2), **SPARSE).train_loss)


@pytest.mark.slow
@pytest.mark.parametrize(
    "evaluation",  # seen_every is a multiple of eval_every in the first three
    [{}, {"eval_every": 3}, {"eval_tasks": "all"}, {"eval_every": 4, "eval_tasks": "all"}],
    ids=["after every update", "where both are due", "all tasks", "at other updates"],
)
def test_what_is_evaluated_otherwise_leaves_the_score_on_seen_tasks_as_it_is(stream, evaluation):
    options = {"seen_every": 6, "dense_updates": 0}
    records = run(stream, **options, **evaluation)
    alone = run(stream, **options, eval_every=7)
    np.testing.assert_array_equal(records.seen_accuracy, alone.seen_accuracy)
    updates = np.flatnonzero(records.seen_accuracy[0]) + 1
    np.testing.assert_array_equal(updates, [6, 8, 12, 16, 18, 24, 30, 32, 36, 40])


@pytest.mark.exhaustive
def test_tasks_may_have_different_numbers_of_updates(stream):
    updates = (8, 3, 1, 12, 5)
    options = {"updates_per_task": updates, "seen_every": 10, "dense_updates": 2}
    told = list(chunks(stream, seeds=(0,), chunk=7, **options))
    assert [c.done for c in told] == [7, 8, 11, 12, 19, 24, 29]
    records = collect(iter(told))
    assert_same(run(stream, **options), records)
    # Until the second switch nothing differs from tasks of equal length.
    usual = run(stream)
    np.testing.assert_array_equal(records.train_loss[0, :11], usual.train_loss[0, :11])
    assert records.train_loss[0, 11] != usual.train_loss[0, 11]
    seen = np.flatnonzero(records.seen_accuracy[0]) + 1
    np.testing.assert_array_equal(seen, [1, 2, 8, 9, 10, 11, 12, 13, 14, 20, 24, 25, 26, 29])


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["optimizer", "model"])
def test_a_constant_schedule_is_that_number_and_another_is_followed(stream, form):
    still = run(stream, form=form, settings={"learning_rate": 0.02})
    options = {"form": form, "schedules": ["learning_rate"]}
    rates = np.full((1, 40), 0.02)
    constant = run(stream, settings={"learning_rate": rates}, **options)
    assert_same(constant, still, rtol=1e-5, atol=1e-6)
    rates[:, 20:] = 0
    stopped = run(stream, settings={"learning_rate": rates}, **options)
    np.testing.assert_array_equal(stopped.train_loss[0, :21], constant.train_loss[0, :21])
    assert np.ptp(stopped.gain[0, 21:]) > 0, "the gain goes on"
    assert np.ptp(constant.eval_loss[0, 25:]) > np.ptp(stopped.eval_loss[0, 25:])


def test_no_further_part_begins_after_one_has_failed():
    """The next of the queue would hold up a stopped run for as long as a chunk takes."""
    begun, stopped, where = [], threading.Event(), []

    def stop():
        where.append(threading.current_thread().name)
        stopped.set()

    def fails():
        raise OSError("the disk is full")

    def runs():
        assert stopped.wait(60)
        raise RuntimeError("stopped")  # as a part does that is asked to stop

    with pytest.raises(OSError, match="the disk is full"):
        run_all([runs, fails, *[partial(begun.append, True)] * 5], 2, stop)
    assert not begun
    # Not where the caller, which under load is late, hears of the error: the thread goes on to the
    # next part at once.
    assert where[0].startswith("gainjax")
    assert run_all([lambda: 1, lambda: 2, lambda: 3], 2, stop) == [1, 2, 3]


def test_stops_and_shapes_do_not_depend_on_how_jax_promotes(stream):
    program = make_program(stream, "ngm-sgd")
    values = BENCHMARK.defaults(program.method)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        first = next(train(program, stream, [0], values, stops=[0]))
        shapes = abstract_states(program, stream, values)
    assert (first.start, first.done, first.records.accuracy.shape) == (0, 0, (1, 0, 1))
    found = jax.tree.map(lambda x: (x.shape[1:], x.dtype), first.states)
    assert found == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
