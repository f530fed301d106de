"""Models that users bring, of every library, end to end on real data."""

import math

import flax.linen as nn
import jax
import pytest
from flax import nnx
from user_runs import digits_stream, survives

import gainjax

pytestmark = pytest.mark.slow

SHORT = {"updates_per_task": [6, 4], "batch_size": 16}


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


@pytest.mark.exhaustive
def test_an_nnx_model(tmp_path):
    model = gainjax.models.from_nnx(lambda rngs: Net(rngs))
    survives(tmp_path, gainjax.Benchmark("mine", stream=digits_stream(), model=model, **SHORT))


@pytest.mark.exhaustive
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
