"""What makes a run another run: its program, whatever its parts are called."""

import jax
import numpy as np
import optax
import pytest
from interruptions import numbers

import gainjax
from gainjax.runs.benchmarks import get_benchmark

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 6, "batch_size": 16, "seen_every": 3, "dense_updates": 0}
FUNCTIONS = (
    lambda key, x: (jax.random.normal(key, (x[0].size, 10)) * 0.1, {}),
    lambda params, state, x, *, train, key: (x.reshape(len(x), -1) @ params, state),
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": gainjax.MLP((9, 10), (0.1, 0.1))},
        {"model": gainjax.models.from_functions(*FUNCTIONS)},
    ],
)
def test_another_benchmark_of_the_same_name_is_another_run(tmp_path, change):
    ours = get_benchmark("split-digits")
    options = {"methods": ["sgd"], "seeds": 1, "out": tmp_path, **SHORT}
    gainjax.run(ours, **options)
    with pytest.raises(ValueError, match="holds another run: it differs in model"):
        gainjax.run(ours.replace(**change), **options)


def test_other_code_under_the_same_name_is_another_run(tmp_path):
    """What identifies a run is its program, whatever its functions and classes are called."""

    def digits(augment=None, preprocess=None, loss=None):
        stream = get_benchmark("split-digits").load()
        return gainjax.Benchmark(
            "mine", stream=stream, augment=augment, preprocess=preprocess, loss=loss, **SHORT
        )

    def rate(learning_rate=0.1):
        return optax.sgd(learning_rate)

    def other_rate(learning_rate=0.1):
        return optax.sgd(2 * learning_rate)

    options = {"seeds": 1, "out": tmp_path}
    curves = gainjax.run(digits(), {"mine": rate}, **options)
    assert gainjax.run(digits(), {"mine": rate}, **options).identical(curves)
    for bench, method in (
        (digits(augment=lambda key, images: images + 1), rate),
        (digits(preprocess=lambda images: images + 1), rate),
        (digits(), other_rate),
    ):
        with pytest.raises(ValueError, match=r"holds another run|but of another program"):
            gainjax.run(bench, {"mine": method}, **options)
    assert gainjax.load(tmp_path).identical(curves)


def test_other_python_code_behind_a_callback_is_another_run(tmp_path):
    """The text of a compiled program does not contain what the program calls back."""

    def digits(change):
        def augment(key, images):
            shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
            return jax.pure_callback(change, shape, images, vmap_method="sequential")

        stream = get_benchmark("split-digits").load()
        return gainjax.Benchmark("mine", stream=stream, augment=augment, **SHORT)

    def kept(x):
        return np.asarray(x)

    def constant(x):
        return np.asarray(x) * 0 + 5

    options = {"methods": ["sgd"], "seeds": 1, "threads": 1}
    curves = gainjax.run(digits(kept), out=tmp_path, **options)
    assert gainjax.run(digits(lambda x: np.asarray(x)), out=tmp_path, **options).identical(curves)
    with pytest.raises(ValueError, match="but of another program"):
        gainjax.run(digits(constant), out=tmp_path, **options)
    assert gainjax.load(tmp_path).identical(curves)
    calls = []

    def counting(x):
        calls.append(0)
        return np.asarray(x)

    bench = digits(counting)
    gainjax.run(bench, out=tmp_path / "counting", **options)
    with pytest.raises(ValueError, match="repeat the call in a new process"):
        gainjax.run(bench, out=tmp_path / "counting", **options)
    other = gainjax.run(digits(constant), **options)  # nor is it taken from the compiled program
    assert not np.array_equal(other.train_loss, curves.train_loss)


@pytest.mark.parametrize("changed", ["method", "init", "apply", "loss", "augment", "preprocess"])
def test_code_that_changed_within_a_process_is_compiled_again(changed):
    """As in a notebook that redefines what a function calls: the objects stay the same."""
    factors = {}

    def times(name, x):
        return x * factors.get(name, 1.0)

    def fresh():
        def init(key, x):
            return {"w": times("init", 0.01 * jax.random.normal(key, (64, 10)))}, {}

        def apply(params, state, x, *, train, key):
            return times("apply", x.reshape(len(x), -1)) @ params["w"], state

        def loss(outputs, targets):
            each = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
            return times("loss", each)

        def mine(learning_rate=0.1):
            return optax.chain(optax.scale(times("method", 1.0)), optax.sgd(learning_rate))

        bench = gainjax.Benchmark(
            "mine",
            stream=gainjax.get_benchmark("split-digits").load(),
            model=gainjax.models.from_functions(init, apply),
            loss=loss,
            augment=lambda key, images: times("augment", images),
            preprocess=lambda images: times("preprocess", images),
            updates_per_task=2,
            batch_size=16,
        )
        return bench, gainjax.Method("mine", mine)

    def trained(bench, method):
        return numbers(gainjax.run(bench, [method], 1, threads=1))

    same = fresh()
    before = trained(*same)
    factors[changed] = 3.0
    after = trained(*same)
    assert not after.identical(before)
    assert after.identical(trained(*fresh()))
    factors.clear()
    assert trained(*same).identical(before)
