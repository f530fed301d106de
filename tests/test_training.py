"""Whole runs: against a float64 transcription of the specification, and the laws of the engine."""

import dataclasses
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gainjax.data import normalize
from gainjax.methods import get_method
from gainjax.runs.benchmarks import get_benchmark
from gainjax.training import Protocol, collect, make_layout, train
from gainjax.training.loop import abstract_states
from gainjax.training.program import init_runs, one_input
from gainjax.training.sampling import fill_buffer, sample
from gainjax.training.threads import run_all

BENCHMARK = get_benchmark("split-digits")
PLAIN = ("ngm-sgd", "sgd", "msgd", "adam")
# A program compiles for seconds, so tests run the same few: this one, and a sparse one.
USUAL = {"updates_per_task": 8, "batch_size": 64, "seen_every": 1}
SPARSE = {"eval_every": 3, "eval_tasks": "all", "seen_every": 5, "dense_updates": 0}


@pytest.fixture(scope="module")
def stream():
    return BENCHMARK.load()


def run(stream, method="ngm-sgd", seeds=(0,), settings=None, form="optimizer", **options):
    return collect(chunks(stream, method, seeds, settings, form, **options))


def chunks(stream, method="ngm-sgd", seeds=(0,), settings=None, form="optimizer", **options):
    loop = {k: options.pop(k) for k in ("chunk", "layout") if k in options}
    of_program = {k: options.pop(k) for k in ("modulate", "schedules") if k in options}
    program = make_program(stream, method, form=form, **of_program, **options)
    values = BENCHMARK.defaults(program.method) | (settings or {})
    if program.method.borrows_gain:
        trace = 1.5 + np.sin(np.arange(program.protocol.task_ends(5)[-1]))
        values["gain_trace"] = np.tile(trace * 0.3 + 0.5, (len(seeds), 1))
    return train(program, stream, list(seeds), values, **loop)


def make_program(stream, method, *, form="optimizer", modulate=None, schedules=(), **protocol):
    benchmark = BENCHMARK.replace(**(USUAL | protocol))
    schedules = frozenset(schedules)
    return benchmark.program(
        get_method(method), stream, form=form, modulate=modulate, schedules=schedules
    )


# --- The specification, transcribed in NumPy ------------------------------------------------------


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Network:
    """784-400-400-10 and the like: z = g W x with ReLU, weights raw, gain beside them."""

    def __init__(self, weights):
        self.weights = [np.asarray(w, np.float64) for w in weights]
        self.gain = 1.0

    def forward(self, x):
        inputs = []
        for i, w in enumerate(self.weights):
            inputs.append(x)
            z = self.gain * (x @ w)
            x = np.maximum(z, 0) if i < len(self.weights) - 1 else z
        return x, inputs

    def gradients(self, x, y):
        logits, inputs = self.forward(x)
        log_p = log_softmax(logits)
        loss = -log_p[np.arange(len(y)), y].mean()
        entropy = -(np.exp(log_p) * log_p).sum(-1).mean()
        delta = (np.exp(log_p) - np.eye(logits.shape[1])[y]) / len(y)
        grads = []
        for i in reversed(range(len(self.weights))):
            grads.append(self.gain * inputs[i].T @ delta)
            delta = self.gain * (delta @ self.weights[i].T) * (inputs[i] > 0)
        return loss, entropy, grads[::-1]

    def test(self, x, y):
        log_p = log_softmax(self.forward(x)[0])
        return (log_p.argmax(-1) == y).mean(), -log_p[np.arange(len(y)), y].mean()


def sgd_rule(hp):
    def step(grads, t):
        return [-hp["learning_rate"] * g for g in grads]

    return step


def msgd_rule(hp):
    velocity = {}

    def step(grads, t):
        for i, g in enumerate(grads):
            velocity[i] = hp["momentum"] * velocity.get(i, 0.0) + g
        return [-hp["learning_rate"] * velocity[i] for i in range(len(grads))]

    return step


def adam_rule(hp):
    first, second = {}, {}

    def step(grads, t):
        updates = []
        for i, g in enumerate(grads):
            first[i] = hp["b1"] * first.get(i, 0.0) + (1 - hp["b1"]) * g
            second[i] = hp["b2"] * second.get(i, 0.0) + (1 - hp["b2"]) * g**2
            m = first[i] / (1 - hp["b1"] ** (t + 1))
            v = second[i] / (1 - hp["b2"] ** (t + 1))
            updates.append(-hp["learning_rate"] * m / (np.sqrt(v) + 1e-8))
        return updates

    return step


RULES = {"ngm-sgd": sgd_rule, "sgd": sgd_rule, "msgd": msgd_rule, "adam": adam_rule}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "growth"), [*((n, "constant") for n in PLAIN), ("sgd", "linear")])
def test_runs_follow_a_float64_transcription_update_by_update(stream, name, growth):
    per_task, seed = USUAL["updates_per_task"], 3
    hp = BENCHMARK.defaults(get_method(name))
    program = make_program(stream, name, batch_growth=growth)
    records = collect(train(program, stream, [seed], hp))

    settings = {k: jnp.asarray([v], jnp.float32) for k, v in hp.items() if v is not None}
    seeds = jnp.asarray([seed], jnp.uint32)
    start = init_runs(program, make_layout("map"), seeds, settings, one_input(program, stream))
    layers = [start.params[f"layer_{i}"]["kernel"][0] for i in range(3)]
    network, rule = Network(layers), RULES[name](hp)
    images = np.asarray(normalize(stream, stream.train_inputs), np.float64)
    images = images.reshape(len(images), -1)
    tests = []
    for x, y, size in zip(stream.test_inputs, stream.test_targets, stream.test_sizes, strict=True):
        tests.append((np.float64(x[:size]).reshape(size, -1), y[:size]))

    key = jax.random.fold_in(jax.random.key(seed), 1)
    for t in range(5 * per_task):
        task = t // per_task
        batch = USUAL["batch_size"] * (task + 1 if growth == "linear" else 1)
        index = jax.random.randint(
            jax.random.fold_in(key, t + 1), (batch,), 0, stream.task_end[task]
        )
        gain = network.gain
        loss, entropy, grads = network.gradients(images[index], stream.train_targets[index])
        for w, update in zip(network.weights, rule(grads, t), strict=True):
            w += update
        if name == "ngm-sgd":
            network.gain = hp["decay"] * gain + (1 - hp["decay"]) * hp["baseline"]
            network.gain += hp["sensitivity"] * entropy
        accuracy, eval_loss = network.test(*tests[0])
        seen = [network.test(*tests[i])[0] * len(tests[i][1]) for i in range(task + 1)]
        seen_accuracy = sum(seen) / sum(len(tests[i][1]) for i in range(task + 1))

        close = {"rtol": 2e-4, "atol": 2e-5}
        np.testing.assert_allclose(records.train_loss[0, t], loss, **close)
        np.testing.assert_allclose(records.uncertainty[0, t], entropy, **close)
        np.testing.assert_allclose(records.gain[0, t], gain, **close)
        np.testing.assert_allclose(records.eval_loss[0, t, 0], eval_loss, **close)
        # One test image on the edge between two classes may fall to either side.
        assert abs(records.accuracy[0, t, 0] - accuracy) <= 1.01 / len(tests[0][1])
        assert abs(records.seen_accuracy[0, t] - seen_accuracy) <= 2.01 / sum(
            len(tests[i][1]) for i in range(task + 1)
        )


# --- The laws of the engine -----------------------------------------------------------------------


def assert_same(a, b, **tolerance):
    for name in a._fields:
        x, y = getattr(a, name), getattr(b, name)
        if tolerance:
            np.testing.assert_allclose(x, y, err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.slow
# One of each kind of state; the contract tests put every method through vmap.
@pytest.mark.parametrize("name", ["ngm-sgd", "adam", "replayed-gain", "sgd-ema"])
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


def test_a_setting_alone_gives_the_run_it_gives_in_a_batch(stream):
    together = run(stream, seeds=(1, 1, 1), settings={"sensitivity": np.array([0.0, 0.2, 0.4])})
    alone = run(stream, seeds=(1,), settings={"sensitivity": 0.2})
    assert_same(jax.tree.map(lambda x: x[1:2], together), alone)
    assert np.all(together.gain[0] == 1)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 4, 5, 1000])
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


def test_one_diverged_seed_does_not_spoil_the_others(stream):
    rates = np.array([0.01, 1e6, 0.01])
    records = run(stream, "sgd", seeds=(0, 1, 2), settings={"learning_rate": rates})
    for seed in (0, 2):
        good = run(stream, "sgd", seeds=(seed,), settings={"learning_rate": 0.01})
        assert_same(jax.tree.map(lambda x, i=seed: x[[i]], records), good)
    assert not np.isfinite(records.train_loss[1, -1])
    assert np.all(records.accuracy[1, -8:] == 0), "an answer that is not a number is wrong"


def test_every_chunk_is_told_once_and_none_crosses_a_switch(stream):
    told = list(chunks(stream, seeds=(0, 1, 2), chunk=5, **SPARSE))
    assert [c.done for c in told] == [5, 8, 13, 16, 21, 24, 29, 32, 37, 40]
    assert [c.start for c in told] == [0, *(c.done for c in told[:-1])]
    assert {c.total for c in told} == {40}
    joined = np.concatenate([c.records.train_loss for c in told], axis=1)
    np.testing.assert_array_equal(joined, run(stream, seeds=(0, 1, 2), **SPARSE).train_loss)


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


def test_wrong_arguments_are_refused(stream):
    program = make_program(stream, "ngm-sgd", updates_per_task=2)
    good = BENCHMARK.defaults(program.method)

    def start(seeds=(0,), program=program, values=good, **options):
        return next(train(program, stream, list(seeds), values, **options))

    with pytest.raises(ValueError, match="chunk must be an integer of at least 1"):
        start(chunk=0)
    for seeds in ([], [0.5], [-1], [2**32], [[1]]):
        with pytest.raises(ValueError, match="seeds must be"):
            start(seeds)
    with pytest.raises(ValueError, match="modulate must be 'all' or 'head': got 'tail'"):
        make_program(stream, "sgd", modulate="tail")
    with pytest.raises(ValueError, match="batch_growth must be 'constant' or 'linear'"):
        make_program(stream, "sgd", batch_growth="square")
    with pytest.raises(ValueError, match="layout must be"):
        make_layout("pmap")
    with pytest.raises(ValueError, match="restore must return at most 10 updates: got 11"):
        start(restore=lambda states: (11, jax.tree.map(lambda x: np.zeros(x.shape), states)))
    with pytest.raises(ValueError, match="form must be"):
        dataclasses.replace(program, form="both")
    with pytest.raises(ValueError, match="form='model' needs a model that can be made with"):
        dataclasses.replace(
            program, form="model", model=dataclasses.replace(program.model, twin=None)
        )


def test_wrong_hyperparameters_are_refused(stream):
    program = make_program(stream, "ngm-sgd", updates_per_task=2)
    good = BENCHMARK.defaults(program.method)

    def start(values, seeds=(0,), program=program):
        return next(train(program, stream, list(seeds), values))

    with pytest.raises(ValueError, match="lack sensitivity"):
        start({k: v for k, v in good.items() if k != "sensitivity"})
    with pytest.raises(ValueError, match="no hyperparameter 'momentum'"):
        start(good | {"momentum": 0.9})
    with pytest.raises(ValueError, match=r"shape \(2,\): got shape \(3,\)"):
        start(good | {"decay": np.zeros(3)}, [0, 1])
    with pytest.raises(ValueError, match="learning_rate of ngm-sgd must be finite"):
        start(good | {"learning_rate": np.array([0.1, np.nan])}, [0, 1])
    with pytest.raises(ValueError, match="decay of ngm-sgd must be in"):
        start(good | {"decay": 1.0})
    scheduled = dataclasses.replace(program, schedules=frozenset(["learning_rate"]))
    with pytest.raises(ValueError, match=r"one value per run and update, shape \(1, 10\)"):
        start(good | {"learning_rate": np.full(10, 0.1)}, program=scheduled)
    with pytest.raises(ValueError, match="learning_rate of ngm-sgd must be finite"):
        start(good | {"learning_rate": np.full((1, 10), -0.1)}, program=scheduled)
    borrower = make_program(stream, "replayed-gain", updates_per_task=2)
    values = BENCHMARK.defaults(borrower.method)
    for trace, message in (
        (None, "lack gain_trace"),
        (np.ones((1, 9)), r"one value per run and update, shape \(1, 10\)"),
        (np.zeros((1, 10)), "finite gains > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            start(values | {"gain_trace": trace}, program=borrower)
    in_model = dataclasses.replace(borrower, form="model")
    with pytest.raises(ValueError, match="cannot be in the model"):
        start(values | {"gain_trace": np.ones((1, 10))}, program=in_model)


def test_wrong_protocols_are_refused(stream):
    for field in ("updates_per_task", "batch_size", "eval_every", "seen_every"):
        with pytest.raises(ValueError, match=f"{field} must be an integer of at least 1: got 0"):
            Protocol(**({"updates_per_task": 1, "batch_size": 1} | {field: 0}))
    with pytest.raises(ValueError, match="eval_tasks must be"):
        Protocol(1, 1, eval_tasks="last")
    with pytest.raises(ValueError, match="each of updates_per_task must be an integer of at least"):
        Protocol([3, 0], 1)
    with pytest.raises(ValueError, match="updates_per_task must have a number for each task"):
        Protocol([], 1)
    with pytest.raises(ValueError, match=r"one number for each of the 5 tasks: got \[3, 4\]"):
        make_program(stream, "sgd", updates_per_task=[3, 4]).protocol.task_ends(5)


# --- Regimes --------------------------------------------------------------------------------------


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
