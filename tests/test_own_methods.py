"""Methods that users bring, end to end: trained, killed, resumed, tabulated, plotted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interruptions import crash, numbers
from user_runs import digits_stream, lion, survives

import gainjax
from gainjax.cli import main

pytestmark = pytest.mark.slow


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


@pytest.mark.exhaustive
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
