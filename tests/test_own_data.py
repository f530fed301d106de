"""Data and goals that users bring, end to end."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes
from user_runs import DIGITS, survives

import gainjax

pytestmark = pytest.mark.slow

SHORT = {"updates_per_task": [6, 4], "batch_size": 16}


@pytest.mark.exhaustive
def test_a_table_of_20_features(tmp_path):
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0))[:, :20]
    sides = [(x * sign, y) for sign in (1, -1)]
    stream = gainjax.data.domain_incremental([(x[::2], y[::2], x[1::2], y[1::2]) for x, y in sides])
    bench = gainjax.Benchmark("table", stream=stream, updates_per_task=[60, 20], batch_size=32)
    curves = survives(tmp_path, bench, chunk=20, hyperparameters={"sgd": {"learning_rate": 0.1}})
    learned = curves.accuracy.sel(setting="sgd", eval_update=60)
    assert (learned > 0.85).all()


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive  # the README has one
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


@pytest.mark.exhaustive
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
