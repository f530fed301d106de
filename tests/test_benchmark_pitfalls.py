"""Benchmarks of users that do not fit: told before training, or measured as they are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_benchmarks import linear, small

import gainjax

pytestmark = pytest.mark.exhaustive


def test_values_of_a_benchmark_for_what_no_method_has():
    stream = gainjax.get_benchmark("split-digits").load()
    options = {"stream": stream, "updates_per_task": 3, "batch_size": 8}

    def start(hyperparameters):
        bench = gainjax.Benchmark("mine", hyperparameters=hyperparameters, **options)
        return gainjax.run(bench, ["sgd"], 1)

    with pytest.raises(ValueError, match="'learning_rte': did you mean 'learning_rate'"):
        start({"learning_rte": 0.5})
    with pytest.raises(ValueError, match="unknown hyperparameter of sgd 'lr'"):
        start({"sgd": {"lr": 3}})
    falling = start({"learning_rate": lambda count: 0.1 / (1 + count)})
    same = gainjax.run(
        gainjax.Benchmark("mine", **options), ["sgd"], 1,
        hyperparameters={"learning_rate": lambda count: 0.1 / (1 + count)},
    )  # fmt: skip
    np.testing.assert_array_equal(falling.train_loss, same.train_loss)


def test_another_stream_has_another_default_network():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)

    def stream(classes):
        y = np.arange(60) % classes
        return gainjax.data.class_incremental(x, y, x, y, tasks=[[0, 1], range(2, classes)])

    bench = gainjax.Benchmark("mine", stream=stream(3), updates_per_task=3, batch_size=8)
    bench.model_for(bench.load())
    for classes in (4, 5, 3):
        other = bench.replace(stream=stream(classes))
        params, _ = other.model_for(other.load()).init(jax.random.key(0), x[:1])
        assert params["layer_2"]["kernel"].shape[-1] == classes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": linear(steps=jnp.int32(3))}, r"floating-point: got int32 at \['steps'\]"),
        ({"preprocess": lambda x: x[:1]}, r"preprocess .* an input for each .* returns \(1, 6\)"),
        ({"preprocess": lambda x: x - x.mean(0)}, "preprocess of .* must treat each input indepen"),
        ({"preprocess": lambda x: x.no}, "preprocess of benchmark 'b' cannot take .* AttributeErr"),
        ({"loss": lambda o, t: t}, "loss of benchmark 'b' must return real numbers, of a floating"),
        ({"score": lambda o, t: t * 1j}, "score of benchmark 'b' must return real .* got complex"),
        ({"augment": lambda x: x}, "augment of benchmark 'b' cannot take a key and .* TypeError"),
    ],
)
def test_functions_and_parameters_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_stream_function_takes_its_keywords_and_heeds_them():
    stream = gainjax.get_benchmark("split-digits").load(eval_examples=20)
    protocol = {"updates_per_task": 2, "batch_size": 8}
    with pytest.raises(TypeError, match="stream of benchmark 'bare' must be a function with the"):
        gainjax.Benchmark("bare", stream=lambda: stream, **protocol)
    deaf = gainjax.Benchmark(
        "deaf", stream=lambda data_dir=None, eval_examples=None: stream, **protocol
    )
    assert deaf.load(eval_examples=20) is stream
    with pytest.raises(ValueError, match="eval_examples=5 has no effect on benchmark 'deaf'"):
        gainjax.run(deaf, ["sgd"], seeds=1, eval_examples=5)
    with pytest.raises(TypeError, match="stream of benchmark 'deaf' must be a function"):
        deaf.replace(stream=lambda: stream)


def test_a_reference_to_a_stream_is_refused_in_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gainjax\ndef tasks(): return gainjax.get_benchmark('split-digits').load()\n"
    )
    with pytest.raises(ValueError, match=r"must be a gainjax\.Benchmark, .*of type Stream$"):
        gainjax.get_benchmark(f"{tmp_path}/mine.py:tasks")


def test_an_uncertainty_may_be_a_plain_number():
    curves = gainjax.run(small(uncertainty=lambda outputs: 0.5), ["ngm-sgd"], 1)
    np.testing.assert_array_equal(curves.uncertainty, np.full((1, 1, 8), 0.5))


@pytest.mark.parametrize(
    ("gains", "error", "message"),
    [
        (jnp.ones(3), TypeError, "gains_of of a model must return gains by name, a dict"),
        ({"mine": jnp.ones(3)}, ValueError, r"one real number .* shape \(3,\) for 'mine'"),
        ({"mine": 1j}, ValueError, "one real number .* got complex"),
    ],
)
def test_gains_that_cannot_be_recorded_are_refused_at_once(gains, error, message, tmp_path):
    model = dataclasses.replace(linear(), gains_of=lambda state: gains)
    with pytest.raises(error, match=message):
        gainjax.run(small(model=model), ["sgd"], 1, out=tmp_path)


def test_the_default_model_has_the_classes_of_its_stream():
    def tasks(data_dir=None, eval_examples=None):
        classes = int(data_dir)
        x, y = np.zeros((2 * classes, 3)), np.repeat(np.arange(classes), 2)
        halves = [list(range(classes // 2)), list(range(classes // 2, classes))]
        return gainjax.data.class_incremental(x, y, x, y, tasks=halves)

    bench = gainjax.Benchmark("b", stream=tasks, updates_per_task=1, batch_size=2)
    for classes in (4, 6):
        model = bench.model_for(bench.load(str(classes)))
        params, _ = model.init(jax.random.key(0), jnp.zeros((1, 3)))
        assert jax.tree.leaves(params)[-1].shape[-1] == classes
    assert bench.model_for(bench.load("4")) is bench.model_for(bench.load("4"))
