"""Methods of users that do not fit: told before training, or measured as they are."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interruptions import crash, numbers
from small_benchmarks import small

import gainjax

pytestmark = pytest.mark.exhaustive

SHORT = {"seeds": 2, "updates_per_task": 3, "eval_examples": 20, "threads": 1}


def test_an_optimizer_whose_state_holds_a_random_key(tmp_path):
    def noisy(learning_rate=0.1):
        return optax.chain(
            optax.add_noise(0.01, 0.55, key=jax.random.key(0)), optax.sgd(learning_rate)
        )

    wanted, states = gainjax.run("split-digits", {"noisy": noisy}, return_states=True, **SHORT)
    options = SHORT | {"out": tmp_path, "return_states": True, "chunk": 2}
    crash(9, "split-digits", {"noisy": noisy}, **options)
    found, again = gainjax.run("split-digits", {"noisy": noisy}, **options)
    assert numbers(found).identical(numbers(wanted))
    jax.tree.map(np.testing.assert_array_equal, states, again)
    _, kept = gainjax.run("split-digits", {"noisy": noisy}, **options)
    jax.tree.map(np.testing.assert_array_equal, states, kept)


@pytest.mark.parametrize("gain", [None, gainjax.GainDynamics])
@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.lbfgs(memory_size=3),
        lambda: optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)),
        lambda: optax.polyak_sgd(max_learning_rate=0.1),
    ],
)
def test_line_searches_run(make, gain):
    method = gainjax.Method("searching", make, gain=gain)
    curves = gainjax.run("split-digits", [method], **SHORT)
    assert np.isfinite(curves.train_loss).all()


def test_an_edited_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    text = "import optax\ndef m(learning_rate=0.01): return optax.{}(learning_rate)\n"
    path.write_text(text.format("sgd"))
    first = gainjax.run("split-digits", ["./mine.py:m"], **SHORT)
    path.write_text(text.format("sign_sgd"))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    second = gainjax.run("split-digits", ["./mine.py:m"], **SHORT)
    assert not first.train_loss.equals(second.train_loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def m(:\n", "SyntaxError"),
        ("raise RuntimeError('no')\n", "RuntimeError: no"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
    ],
)
def test_a_file_that_cannot_be_imported(text, message, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(text)
    from gainjax.cli import main

    with pytest.raises(SystemExit):
        main(["run", "split-digits", "--methods", f"{tmp_path}/bad.py:m"])
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_factories_that_need_plain_numbers_say_which():
    def counted(n=2):
        return optax.chain(*[optax.sgd(0.1) for _ in range(n)])

    with pytest.raises(TypeError, match="'counted' needs a plain number"):
        gainjax.run("split-digits", {"x": counted}, **SHORT)

    def accumulated(learning_rate=0.1, k=2):  # MultiSteps takes any k but an int for a schedule
        return optax.MultiSteps(optax.sgd(learning_rate), k)

    with pytest.raises(TypeError, match="'accumulated' needs a plain number"):
        gainjax.run("split-digits", {"accumulated": accumulated}, **SHORT)

    def doubled(learning_rate=0.1):
        return optax.sgd(learning_rate * 2)

    with pytest.raises(TypeError, match="'doubled' takes no schedule for learning_rate"):
        gainjax.run(
            "split-digits", {"x": doubled},
            hyperparameters={"learning_rate": lambda count: 0.1}, **SHORT,
        )  # fmt: skip


def test_optimizers_that_do_not_fit_a_method_say_why():
    made = gainjax.ngm_sgd(0.1)
    for optimizer, message in (
        (optax.lookahead(made, 2, 0.5), "method x cannot train .*'fast'.*optax.lookahead"),
        (optax.contrib.sam(made, optax.sgd(0.01)), "optax.contrib.sam belongs inside the gain"),
    ):
        with pytest.raises(TypeError, match=message):
            gainjax.run("split-digits", {"x": optimizer}, **SHORT)


def test_an_optimizer_that_names_its_extra_arguments_gets_these():
    def update(grads, state, params=None, *, uncertainty):
        del params
        return jax.tree.map(lambda g: -0.1 * g, grads), uncertainty

    mine = optax.GradientTransformation(lambda params: jnp.zeros(()), update)
    curves = gainjax.run("split-digits", {"mine": mine, "same": optax.sgd(0.1)}, **SHORT)
    np.testing.assert_allclose(*curves.train_loss.values, rtol=1e-6)


def test_seeds_as_arrays():
    for seeds in (np.array(2), jnp.arange(2), np.arange(2), range(2)):
        curves = gainjax.run("split-digits", ["sgd"], **SHORT | {"seeds": seeds})
        assert curves.seed.values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "value", "there"),
    [("learning_rate", 1e39, "inf"), ("learning_rate", 1e-46, "0.0"), ("decay", 1 - 1e-9, "1.0")],
)
def test_numbers_that_are_others_in_single_precision(name, value, there):
    with pytest.raises(ValueError, match=f"{name} of ngm-sgd must be .* which is {there} there"):
        gainjax.run(small(), ["ngm-sgd"], 1, hyperparameters={name: value})


def test_an_optimizer_may_take_some_extra_arguments_only():
    def follows(learning_rate=0.1):
        base = optax.sgd(learning_rate)

        def update(grads, state, params=None, *, uncertainty):
            return base.update(jax.tree.map(lambda g: g * uncertainty, grads), state, params)

        return optax.GradientTransformationExtraArgs(base.init, update)

    bench = small(uncertainty=lambda outputs: 0.5)
    rates = {"hyperparameters": {"sgd": {"learning_rate": 0.05}}}
    curves = gainjax.run(bench, {"mine": follows, "sgd": "sgd"}, 1, **rates)
    np.testing.assert_allclose(curves.train_loss[0], curves.train_loss[1], rtol=1e-6)
