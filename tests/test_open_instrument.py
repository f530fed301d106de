"""What users bring, end to end on real data: trained, killed, resumed, tabulated, plotted.

The lines of the contract stand here as users write them.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from flax import nnx
from interruptions import crash, numbers
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

import gainjax
from gainjax.cli import main

pytestmark = pytest.mark.slow

DIGITS = load_digits()
SHORT = {"updates_per_task": [6, 4], "batch_size": 16}


def lion(learning_rate=1e-3, b1=0.9):
    return optax.lion(learning_rate, b1=b1)


def survives(out, benchmark, methods=("sgd", "ngm-sgd"), **options):
    """Train, and again with a crash in the middle of the last method; return the curves.

    Then look at them in every way there is.
    """
    options = {"seeds": 2, "chunk": 3, "threads": 1} | options
    wanted = gainjax.run(benchmark, methods, **options)
    last = wanted.setting.values[-1]
    half = wanted.sizes["update"] // 2
    crash(half, benchmark, methods, label=last, out=out, **options)
    assert (
        gainjax.load(out, partial=True).setting.values.tolist()
        == wanted.setting.values.tolist()[:-1]
    )
    resumed = gainjax.run(benchmark, methods, out=out, **options)
    assert numbers(resumed).identical(numbers(wanted))
    assert gainjax.load(out).identical(resumed)
    assert (wanted.diverged_update == 0).all()
    frame = gainjax.per_seed(wanted)
    assert len(frame) == wanted.sizes["setting"] * wanted.sizes["seed"]
    assert len(gainjax.table(wanted)) == wanted.sizes["setting"]
    plt.close(gainjax.plot_curves(wanted))
    return wanted


def digits_stream():
    x, y = DIGITS.images.astype(np.uint8)[..., None] * 15, DIGITS.target
    return gainjax.data.class_incremental(
        x[:1500], y[:1500], x[1500:], y[1500:], tasks=[[7, 1, 3], [9, 0]]
    )


# --- Methods --------------------------------------------------------------------------------------


def test_an_own_optimizer_beside_a_registered_one(tmp_path):
    options = {"seeds": 3, "updates_per_task": 4, "eval_examples": 20}
    curves = gainjax.run(
        "split-digits", {"ngm-sgd": "ngm-sgd", "lion": lion}, out=tmp_path / "mine", **options
    )
    assert curves.setting.values.tolist() == ["ngm-sgd", "lion"]
    assert curves.accuracy.sel(setting="lion").dims == ("seed", "eval_update", "eval_task")
    swept = gainjax.sweep(
        "split-digits", {"learning_rate": [1e-3, 1e-4]}, {"lion": lion}, **options
    )
    assert swept.learning_rate.values.tolist() == [1e-3, 1e-4]
    np.testing.assert_array_equal(swept.train_loss[0], curves.train_loss.sel(setting="lion"))
    mixed = gainjax.run("split-digits", ["sgd", gainjax.Method("lion", lion)], **options)
    np.testing.assert_array_equal(mixed.train_loss[1], curves.train_loss[1])
    survives(tmp_path / "killed", "split-digits", {"sgd": "sgd", "lion": lion}, **options)


def test_registered_factory_and_bare_optimizer_are_one_method(monkeypatch):
    """Through the engine bit for bit; in a plain loop on the same batches to rounding."""
    bench = gainjax.Benchmark("mine", stream=digits_stream(), updates_per_task=8, batch_size=16)
    method = gainjax.Method("lion-by-name", lion)
    monkeypatch.setattr("gainjax.methods.registry._METHODS", {"lion-by-name": method})
    monkeypatch.setattr("gainjax.methods.registry.METHODS", {"lion-by-name": method})
    ways = {"name": "lion-by-name", "factory": lion, "bare": optax.lion(1e-3, b1=0.9)}
    curves = gainjax.run(bench, ways, seeds=[4])
    for name in ("train_loss", "accuracy", "eval_loss", "uncertainty"):
        for label in ("name", "bare"):
            np.testing.assert_array_equal(
                curves[name].sel(setting=label), curves[name].sel(setting="factory")
            )
    loss, right = plain_loop(bench, optax.lion(1e-3, b1=0.9), seed=4)
    np.testing.assert_allclose(curves.train_loss[0, 0], loss, rtol=1e-5)
    np.testing.assert_array_equal(curves.accuracy[0, 0, :, 0], np.float32(right))


def plain_loop(bench, optimizer, seed):
    """Train as the README says, without the engine."""
    stream, model = bench.load(), bench.model_for(bench.load())
    key = jax.random.key(seed)
    inputs = gainjax.data.normalize(stream, stream.train_inputs)
    params, state = model.init(jax.random.fold_in(key, 0), inputs[:1])
    opt_state = optimizer.init(params)

    def loss_fn(params, x, y):
        outputs, _ = model.apply(params, state, x, train=True, key=None)
        return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    losses, right = [], []
    for t in range(16):
        batch = jax.random.fold_in(jax.random.fold_in(key, 1), t + 1)
        index = jax.random.randint(batch, (16,), 0, stream.task_end[t // 8])
        loss, grads = jax.value_and_grad(loss_fn)(
            params, inputs[index], stream.train_targets[index]
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        size = stream.test_sizes[0]
        outputs, _ = model.apply(params, state, stream.test_inputs[0, :size], train=False, key=None)
        losses.append(loss)
        right.append(np.mean(np.argmax(outputs, -1) == stream.test_targets[0, :size]))
    return losses, right


def test_a_stateful_wrapper_and_extra_arguments_of_the_step():
    """A method may take what the step offers; what it sees is what happened."""

    def told(learning_rate=0.1):
        def init(params):
            return jnp.zeros((3,))

        def update(updates, state, params=None, *, value, is_switch, task, **_):
            seen = jnp.stack([state[0] + is_switch, jnp.float32(task), value])
            return jax.tree.map(lambda g: -learning_rate * g, updates), seen

        return optax.GradientTransformationExtraArgs(init, update)

    def wrapped(learning_rate=0.1):
        inner = optax.sgd(learning_rate)
        return optax.apply_if_finite(optax.MultiSteps(inner, every_k_schedule=1), 3)

    curves, states = gainjax.run(
        "split-digits",
        {"told": told, "wrapped": wrapped, "sgd": "sgd"},
        seeds=1,
        updates_per_task=3,
        hyperparameters={"learning_rate": 0.1},
        return_states=True,
    )
    switches, task, value = np.asarray(states["told"].opt_state)[0]
    assert (switches, task) == (4, 4)
    assert value == curves.train_loss.sel(setting="told")[0, -1]
    for label in ("told", "wrapped"):
        np.testing.assert_allclose(
            curves.train_loss.sel(setting=label), curves.train_loss.sel(setting="sgd"), rtol=1e-5
        )


# --- Models ---------------------------------------------------------------------------------------


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x.reshape(len(x), -1)))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x.reshape(len(x), -1))))
        return self.head(self.dropout(x))


def test_an_own_linen_model_on_own_data(tmp_path):
    model = gainjax.models.from_linen(CNN())
    curves = gainjax.run(
        "split-digits", ["sgd", "ngm-sgd"], model=model, seeds=1, updates_per_task=2
    )
    assert curves.gain.sel(setting="ngm-sgd").max() > 1
    bench = gainjax.Benchmark("mine", stream=digits_stream(), model=model, **SHORT)
    curves = survives(tmp_path, bench, seeds=range(5, 7))
    assert curves.seed.values.tolist() == [5, 6]
    assert curves.task_end.values.tolist() == [6, 10]


def test_an_nnx_model(tmp_path):
    model = gainjax.models.from_nnx(lambda rngs: Net(rngs))
    survives(tmp_path, gainjax.Benchmark("mine", stream=digits_stream(), model=model, **SHORT))


def test_an_equinox_model(tmp_path):
    eqx = pytest.importorskip("equinox")

    class EquinoxNet(eqx.Module):
        layers: list

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.layers = [eqx.nn.Linear(64, 16, key=first), eqx.nn.Linear(16, 10, key=second)]

        def __call__(self, x):
            return self.layers[1](jax.nn.relu(self.layers[0](x.reshape(-1))))

    model = gainjax.models.from_equinox(lambda key: EquinoxNet(key))
    survives(tmp_path, gainjax.Benchmark("mine", stream=digits_stream(), model=model, **SHORT))


def test_a_model_of_two_functions(tmp_path):
    def init(key, x):
        return {"w": 0.01 * jax.random.normal(key, (math.prod(x.shape[1:]), 10))}, {}

    def apply(params, state, x, *, train, key):
        return x.reshape(len(x), -1) @ params["w"], state

    model = gainjax.models.from_functions(init, apply)
    survives(tmp_path, gainjax.Benchmark("mine", stream=digits_stream(), model=model, **SHORT))


# --- Data and goals -------------------------------------------------------------------------------


def test_a_table_of_20_features(tmp_path):
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0))[:, :20]
    sides = [(x * sign, y) for sign in (1, -1)]
    stream = gainjax.data.domain_incremental([(x[::2], y[::2], x[1::2], y[1::2]) for x, y in sides])
    bench = gainjax.Benchmark("table", stream=stream, updates_per_task=[60, 20], batch_size=32)
    curves = survives(tmp_path, bench, chunk=20, hyperparameters={"sgd": {"learning_rate": 0.1}})
    learned = curves.accuracy.sel(setting="sgd", eval_update=60)
    assert (learned > 0.85).all()


def test_sequences_of_different_classes(tmp_path):
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(10)(nn.RNN(nn.GRUCell(12))(x)[:, -1])

    rows = (DIGITS.images / 16).astype(np.float32)  # eight rows, one after the other
    y = DIGITS.target
    stream = gainjax.data.class_incremental(
        rows[:1500], y[:1500], rows[1500:], y[1500:], tasks=[[0, 1], [2, 3, 4]]
    )
    survives(tmp_path, gainjax.Benchmark("rows", stream=stream, model=Recurrent(), **SHORT))


def test_tokens_reach_an_embedding(tmp_path):
    class Bag(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return nn.Dense(10)(nn.Embed(17, 6)(tokens).mean(1))

    tokens, y = DIGITS.data.astype(np.int64), DIGITS.target
    stream = gainjax.data.class_incremental(
        tokens[:1500], y[:1500], tokens[1500:], y[1500:], tasks=[[0, 1], [2, 3]]
    )
    survives(tmp_path, gainjax.Benchmark("tokens", stream=stream, model=Bag(), **SHORT))


def test_a_folder_of_png_images(tmp_path):
    for i, (image, y) in enumerate(zip(DIGITS.images[:400], DIGITS.target[:400], strict=True)):
        folder = tmp_path / "images" / ("train" if i < 300 else "test") / f"digit-{y}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(image * 15)).save(folder / f"{i}.png")
    data = gainjax.data.read(tmp_path / "images")
    stream = gainjax.data.class_incremental(*data[:4], tasks=[[3, 4, 5], [6]])
    survives(tmp_path / "run", gainjax.Benchmark("folder", stream=stream, **SHORT))


def test_regression_with_a_score_of_its_own(tmp_path):
    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(0), (y - y.mean()) / y.std()
    stream = gainjax.data.domain_incremental(
        [(x[::2], s * y[::2, None], x[1::2], s * y[1::2, None]) for s in (1, -1)]
    )

    def squared_error(outputs, targets):
        return jnp.sum((outputs - targets) ** 2, -1)

    def r2(outputs, targets):  # targets have variance 1
        return 1 - squared_error(outputs, targets)

    def spread(outputs):
        return jnp.std(outputs)

    bench = gainjax.Benchmark(
        "diabetes", stream=stream, loss=squared_error, score=r2, uncertainty=spread,
        updates_per_task=[40, 20], batch_size=32,
    )  # fmt: skip
    gentle = {"ngm-sgd": {"sensitivity": 0.02}}  # this uncertainty has no bound
    curves = survives(tmp_path, bench, chunk=10, hyperparameters=gentle)
    assert curves.attrs["score"] == "r2"
    at_end = curves.accuracy.sel(setting="sgd", eval_update=40, eval_task=1)
    assert (at_end > 0.1).all()
    # The opposite task undoes it: the gap of a score that may be negative.
    assert (curves.accuracy.sel(setting="sgd").min("eval_update") < at_end).all()


def test_a_loss_that_mixes_examples_is_refused():
    """Outputs (B, 1) and targets (B,) make errors (B, B), whose mean has shape (B,)."""
    x, y = load_diabetes(return_X_y=True)
    stream = gainjax.data.domain_incremental([(x, y / 100, x, y / 100)])

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).mean(-1)

    def score(outputs, targets):
        return -((outputs[:, 0] - targets) ** 2)

    options = {"updates_per_task": 4, "batch_size": 16}
    with pytest.raises(ValueError, match=r"loss of benchmark 'mixed' must treat each example"):
        gainjax.Benchmark("mixed", stream=stream, loss=loss, score=score, **options)
    model = gainjax.models.from_functions(
        lambda key, x: ({"w": jnp.zeros((10, 1))}, {}),
        lambda params, state, x, *, train, key: ((x @ params["w"]).reshape(1, -1), state),
    )
    with pytest.raises(ValueError, match="must return a row of outputs for each example"):
        gainjax.Benchmark("mixed", stream=stream, model=model, loss=loss, score=score, **options)


def test_several_labels(tmp_path):
    y = np.stack([DIGITS.target % 2 == 0, DIGITS.target > 4, DIGITS.target % 3 == 0], 1)
    x, y = (DIGITS.data / 16).astype(np.float32), y.astype(np.float32)
    stream = gainjax.data.domain_incremental(
        [(x[:1500], y[:1500], x[1500:], y[1500:]), (1 - x[:1500], y[:1500], 1 - x[1500:], y[1500:])]
    )

    def loss(outputs, targets):
        return optax.losses.sigmoid_binary_cross_entropy(outputs, targets).mean(-1)

    def exact_match(outputs, targets):
        return jnp.all((outputs > 0) == (targets > 0.5), -1).astype(jnp.float32)

    bench = gainjax.Benchmark(
        "labels", stream=stream, loss=loss, score=exact_match,
        uncertainty=gainjax.sigmoid_entropy, **SHORT,
    )  # fmt: skip
    curves = survives(tmp_path, bench)
    assert curves.attrs["score"] == "exact_match"
    assert 0 < curves.uncertainty.max() <= math.log(2) + 1e-6


# --- From outside the package ---------------------------------------------------------------------

MINE = """
import optax
from sklearn.datasets import load_iris
import gainjax

def lion(learning_rate=1e-3, b1=0.9):
    "The sign of an interpolated momentum."
    return optax.lion(learning_rate, b1=b1)

def bench():
    x, y = load_iris(return_X_y=True)
    stream = gainjax.data.class_incremental(x[::2], y[::2], x[1::2], y[1::2], tasks=[[0], [1, 2]])
    return gainjax.Benchmark("iris", stream=stream, updates_per_task=[20, 30], batch_size=8)
"""


def test_a_benchmark_and_a_method_in_a_file_are_named_and_found_again(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    command = ["run", "./mine.py:bench", "--methods", "ngm-sgd", "./mine.py:lion", "--seeds", "5:8"]
    command += ["--set", "lion.b1=0.8", "--quiet", "--chunk", "10", "--threads", "1"]
    main([*command, "--out", "whole"])

    options = {"chunk": 10, "threads": 1, "hyperparameters": {"lion": {"b1": 0.8}}}
    bench, methods = gainjax.get_benchmark("./mine.py:bench"), ["ngm-sgd", "./mine.py:lion"]
    crash(10, bench, methods, range(5, 8), label="lion", out="killed", **options)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(["resume", "../killed", "--quiet"])
    found, whole = gainjax.load("../killed"), gainjax.load("../whole")
    assert numbers(found).identical(numbers(whole))
    assert whole.setting.values.tolist() == ["ngm-sgd", "lion"]
    assert whole.seed.values.tolist() == [5, 6, 7]
    assert whole.task_end.values.tolist() == [20, 50]
    main(["list", "../mine.py:lion"])
    main(["list", "../mine.py:bench"])
    printed = capsys.readouterr().out
    assert "The sign of an interpolated momentum." in printed
    assert "(20, 30)" in printed


def test_a_registered_method_is_in_every_list(monkeypatch, capsys):
    monkeypatch.setattr("gainjax.methods.registry._METHODS", registered := dict(gainjax.METHODS))
    monkeypatch.setattr("gainjax.methods.registry.METHODS", registered)
    monkeypatch.setattr("gainjax.cli.shown.METHODS", registered)
    gainjax.register(gainjax.Method("my-lion", lion, "mine", "nowhere"))
    main(["list"])
    assert "my-lion" in capsys.readouterr().out
    curves = gainjax.run("split-digits", ["my-lion"], seeds=1, updates_per_task=2)
    assert curves.setting.values.tolist() == ["my-lion"]
    with pytest.raises(ValueError, match="there is already a method 'my-lion'"):
        gainjax.register(gainjax.Method("my-lion", lion))


# --- Curves ---------------------------------------------------------------------------------------


def test_curves_from_elsewhere_in_one_table_with_a_run():
    accuracy = np.random.default_rng(0).uniform(size=(2, 15, 1))
    updates = list(range(10, 160, 10))
    foreign = gainjax.from_curves(
        {"er": accuracy}, eval_updates=updates, task_ends=[100, 150], seeds=[0, 1],
        seen_accuracy=None,
    )  # fmt: skip
    assert "train_loss" not in foreign
    frame = gainjax.per_seed(foreign)
    assert frame.seed.tolist() == [0, 1]
    other = gainjax.from_curves(
        {"mine": accuracy[::-1]}, eval_updates=updates, task_ends=[100, 150], seeds=[0, 1]
    )
    both = gainjax.concat([foreign, other], "setting")
    assert list(gainjax.table(both).index) == ["er", "mine"]
    with pytest.raises(ValueError, match="'er' occurs twice"):
        gainjax.concat([both, foreign], "setting")


def test_seeds_are_added_by_concat_as_by_extend(tmp_path):
    options = {"updates_per_task": 3, "eval_examples": 20}
    a = gainjax.run("split-digits", ["sgd"], seeds=2, **options)
    b = gainjax.run("split-digits", ["sgd"], seeds=range(2, 4), **options)
    both = gainjax.concat([a, b], "seed")
    gainjax.run("split-digits", ["sgd"], seeds=2, out=tmp_path, **options)
    extended = gainjax.run("split-digits", ["sgd"], seeds=4, out=tmp_path, extend=True, **options)
    assert numbers(extended).identical(numbers(both))
    assert gainjax.load(tmp_path).identical(extended)
