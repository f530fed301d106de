"""Recipes of other people under the default gain: not harmed, in any library."""

import sys
from pathlib import Path

import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import gainjax

pytestmark = pytest.mark.exhaustive

sys.path.append(str(Path(__file__).resolve().parents[1]))
try:
    from experiments.adoption import __main__ as program
    from experiments.adoption import document, images, switch
    from experiments.adoption.policy import policy_gradient
except ImportError:
    pytest.skip("experiments/, Equinox or Haiku is not here", allow_module_level=True)

RECIPE = {
    "nnx": (images.flax_nnx, optax.sgd(0.05, 0.9)),
    "equinox": (images.equinox, optax.adam(3e-3)),
    "linen": (images.flax_linen, optax.sgd(0.1, 0.9)),
    "haiku": (images.haiku, optax.rmsprop(1e-3)),
}


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits, three times as large, on the canvas of MNIST."""
    x, y = load_digits(return_X_y=True)
    x = np.kron(x.reshape(-1, 8, 8) / 16, np.ones((3, 3)))
    x = np.pad(x, ((0, 0), (2, 2), (2, 2)))[..., None].astype(np.float32)
    y = y.astype(np.int32)
    return images.Images(x[:1500], y[:1500], x[1500:], y[1500:], updates=50)


@pytest.mark.parametrize("name", RECIPE)
def test_default_does_no_harm(name, digits):
    make, base = RECIPE[name]
    alone = make(base, digits, optax.with_extra_args_support)(0)
    default = make(base, digits, gainjax.gain_modulation)(0)
    assert alone.train_loss < 1.5  # it does learn
    assert default.train_loss < 1.15 * alone.train_loss + 0.02
    assert default.test_loss < 2 * alone.test_loss  # 297 images, and statistics of few batches


def test_what_the_default_protects_from(digits):
    def loss(wrap):
        return images.haiku(optax.sgd(0.1, 0.9), digits, wrap)(0).train_loss

    alone, default = loss(optax.with_extra_args_support), loss(gainjax.gain_modulation)
    unbounded = loss(lambda base: gainjax.gain_modulation(base, sensitivity=0.4, mask=True))
    assert default < 1.15 * alone + 0.02
    assert not unbounded < 3 * alone


def test_a_policy_whose_entropy_stays_high():
    alone = policy_gradient(optax.adam(0.01), None, optax.with_extra_args_support)(0)
    default = policy_gradient(optax.adam(0.01), None, gainjax.gain_modulation)(0)
    assert alone.train_loss > 0.3  # nats of ln 2: the gain stays raised
    assert default.score > 0.97 * alone.score


def test_the_program_writes_what_the_document_shows(digits, tmp_path, monkeypatch):
    x, x_test = (np.uint8(255 * many[..., 0]) for many in (digits.x, digits.x_test))
    arrays = {"x_train": x, "y_train": digits.y, "x_test": x_test, "y_test": digits.y_test}
    np.savez(tmp_path / "mnist.npz", **arrays)
    short = ("mnist", lambda base, data, wrap: images.haiku(base, data._replace(updates=2), wrap))
    monkeypatch.setattr(program, "RECIPES", {"MLP": (*short, optax.sgd(0.1))})
    monkeypatch.setattr(program, "BASES", {"SGD": optax.sgd(0.1)})
    monkeypatch.setattr(program, "SWITCH_RULES", ("alone", "default"))
    rules = {name: program.RULES[name] for name in ("alone", "default", "output 4")}
    monkeypatch.setattr(program, "RULES", rules)
    monkeypatch.setattr(switch, "_UPDATES", 4)
    arguments = ["--data", str(tmp_path), "--results", str(tmp_path), "--seeds", "1"]
    program.main([*arguments, "--switch-seeds", "2"])
    assert document.recipes_table(tmp_path).splitlines()[0].endswith("| default | output 4 |")
    assert [line[:12] for line in document.switch_table(tmp_path).splitlines()[2:]] == [
        "| split | SG",
        "| permuted |",
    ]


def test_the_document_shows_the_results():
    text = document.DOCUMENT.read_text()
    assert document.filled(text) == text
    for name in program.RECIPES:
        assert f"| {name} |" in text
