"""What the methods of the league do, against transcriptions and exact equivalences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax.methods import METHODS
from gainjax.optim import clipping, warmup

SHORT = {"updates_per_task": 12, "batch_size": 16, "eval_examples": 50, "threads": 1}


def run(methods, seeds=2, benchmark="split-digits", **options):
    return gainjax.run(benchmark, methods, seeds, **SHORT | options)


def close(a, b, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_every_method_says_what_it_is_and_where_it_comes_from():
    for method in METHODS.values():
        assert method.summary
        assert len(method.summary) < 90
        assert method.source != "not stated", method.name
        assert ("oracle" in method.summary) == method.needs_boundary, method.name


def test_a_method_in_a_file_is_the_same_object_each_time(tmp_path):
    """Compiled programs are cached by it."""
    path = tmp_path / "mine.py"
    path.write_text("import optax\ndef mine(learning_rate=0.1): return optax.sgd(learning_rate)\n")
    first = gainjax.methods.as_method(f"{path}:mine")
    assert gainjax.methods.as_method(f"{path}:mine") is first
    assert first.reference == f"{path}:mine"
    path.write_text("import optax\ndef mine(learning_rate=0.2): return optax.sgd(learning_rate)\n")
    assert gainjax.methods.as_method(f"{path}:mine").hyperparameters == {"learning_rate": 0.2}


# --- level only ---


@pytest.mark.exhaustive
def test_a_fixed_gain_is_a_softmax_temperature():
    # Three layers without biases, ReLU between them: the outputs are the gain cubed times theirs.
    curves = gainjax.concat(
        [
            run(["fixed-gain"], hyperparameters={"level": 1.5}),
            run(["temperature"], hyperparameters={"level": 1.5**3}),
        ],
        "setting",
    )
    np.testing.assert_array_equal(
        curves.accuracy.sel(setting="fixed-gain"), curves.accuracy.sel(setting="temperature")
    )
    # The loss of the first is that of the outputs times the cube; both steps follow it.
    assert (curves.train_loss[0] != curves.train_loss[1]).any()


@pytest.mark.exhaustive
def test_a_fixed_gain_is_larger_initial_weights_and_larger_steps():
    options = {"fixed-gain": {"learning_rate": 0.01}, "larger-init": {"learning_rate": 0.04}}
    curves = run(["fixed-gain", "larger-init"], hyperparameters=options)
    close(curves.train_loss[0], curves.train_loss[1], rtol=1e-3)
    np.testing.assert_array_equal(curves.accuracy[0], curves.accuracy[1])


def test_a_ramped_gain_arrives_at_its_level():
    curves = run(["ramped-gain"], hyperparameters={"level": 3.0, "decay": 0.5})
    expected = 3 - 2 * 0.5 ** np.arange(60)
    close(curves.gain[0, 0], expected)


# --- clips ---


def test_a_clip_by_the_running_norm_follows_each_layer(x64):
    rng = np.random.default_rng(0)
    clip = clipping.clip_by_running_norm(1.2, 0.9)
    state = clip.init({"a": jnp.zeros(3), "b": jnp.zeros(2)})
    usual = {}
    for _ in range(30):
        grads = {k: rng.normal(size=n) * rng.lognormal() for k, n in (("a", 3), ("b", 2))}
        found, state = clip.update(jax.tree.map(jnp.asarray, grads), state)
        for name, g in grads.items():
            norm = np.linalg.norm(g)
            before = usual.get(name, norm)
            expected = g * min(1, 1.2 * before / norm)
            close(found[name], expected)
            usual[name] = 0.9 * before + 0.1 * np.linalg.norm(expected)


def test_a_clip_by_the_score_shortens_outliers_only(x64):
    rng = np.random.default_rng(0)
    clip = clipping.clip_by_z_score(2.0, 0.9, warmup=10)
    state = clip.init(jnp.zeros(4))
    kept = []
    for i in range(60):
        g = rng.normal(size=4) * (10 if i % 17 == 16 else 1)
        found, state = clip.update(jnp.asarray(g), state)
        norm, expected = np.linalg.norm(g), g
        if i == 10:
            mean, variance = np.mean(kept), np.var(kept)
        if i >= 10:
            score = (norm - mean) / variance**0.5
            if score > 2:
                expected = g / norm * (mean + 4 / score * variance**0.5)
        kept.append(np.linalg.norm(expected))
        if i >= 10:
            away = kept[-1] - mean
            mean, variance = mean + 0.1 * away, 0.9 * (variance + 0.1 * away**2)
        close(found, expected, rtol=1e-4)


# --- warm-ups ---


def test_warmups_begin_again():
    at = {"is_switch": [True, False, False, True, False], "value": [1.0, 1.1, 5.0, 1.0, 1.0]}
    made = {
        "is_switch": (warmup.warmup_at_switches, [0.5, 1, 1, 0.5, 1]),
        "value": (warmup.warmup_at_surprise, [1, 1, 0.5, 1, 1]),
    }
    for name, (make, expected) in made.items():
        optimizer = make(optax.sgd(1.0), 2)
        state = optimizer.init(jnp.zeros(1))
        for value, scale in zip(at[name], expected, strict=True):
            updates, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1), **{name: value})
            close(updates, -scale)
