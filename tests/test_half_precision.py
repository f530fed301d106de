"""Models and states in half precision."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruptions import crash, numbers
from small_benchmarks import linear, small

import gainjax

pytestmark = pytest.mark.exhaustive


def test_models_in_half_precision_are_trained():
    bench = small(model=linear(jnp.bfloat16))
    methods = ["sgd", "msgd", "adam", "sgd-ema", "msgd-ncm", "schedule-free"]
    _, states = gainjax.run(
        bench, methods, 2, snapshots=[1, 8], hyperparameters={"learning_rate": 0.1}
    )
    for state in states.values():
        assert state.params["kernel"].dtype == jnp.bfloat16
    first, second = (states[name].params["kernel"] for name in ("sgd", "msgd"))
    np.testing.assert_array_equal(first[:, 0], second[:, 0])  # momentum comes with the second step
    assert (first[:, 1] != second[:, 1]).any()
    average = states["sgd-ema"].opt_state.average["kernel"]
    assert average.dtype == jnp.bfloat16


@pytest.mark.parametrize("method", ["fixed-gain", "ngm-sgd"])
def test_a_gain_keeps_half_precision(method):
    """The first effective weights are the raw ones times the gain, in the dtype of the weights."""
    bench = small(model=linear(jnp.bfloat16))
    level = "level" if method == "fixed-gain" else "baseline"
    own = {"hyperparameters": {method: {level: 1.25}}}
    _, states = gainjax.run(bench, [method, "sgd"], 2, snapshots=[0, 8], **own)
    kernel, raw = (states[name].params["kernel"] for name in (method, "sgd"))
    assert kernel.dtype == jnp.bfloat16
    wanted = (1.25 * raw[:, 0].astype(np.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(kernel[:, 0], wanted)


def test_states_in_half_precision_survive_a_crash_and_are_read_again(tmp_path):
    bench = small(model=linear(jnp.bfloat16))
    options = {"seeds": 2, "threads": 1, "chunk": 2, "return_states": True}
    wanted = gainjax.run(bench, ["msgd"], **options)
    crash(4, bench, ["msgd"], out=tmp_path, **options)
    for _ in range(2):  # resumed, then read
        curves, states = gainjax.run(bench, ["msgd"], out=tmp_path, **options)
        assert numbers(curves).identical(numbers(wanted[0]))
        assert states["msgd"].params["kernel"].dtype == jnp.bfloat16
        jax.tree.map(np.testing.assert_array_equal, states, wanted[1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_outputs_in_half_precision_are_measured_in_single_precision(dtype, tmp_path):
    """The loss of a test set, summed in float16, would be infinite, and the gain is rounded."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), np.arange(40) // 10
    many = np.tile(x, (2500, 1)), np.tile(y, 2500)
    stream = gainjax.data.class_incremental(x, y, *many, tasks=[[0, 1], [2, 3]])
    bench = gainjax.Benchmark(
        "b", stream=stream, model=nn.Dense(4, dtype=dtype), updates_per_task=2, batch_size=8
    )
    options = {"seeds": 1, "threads": 1, "hyperparameters": {"sensitivity": 0.4}}
    curves = gainjax.run(bench, ["ngm-sgd"], out=tmp_path, **options)
    exact = gainjax.run(bench.replace(model=nn.Dense(4)), ["ngm-sgd"], **options)
    assert (curves.diverged_update == 0).all()
    for name in ("train_loss", "eval_loss", "gain", "uncertainty"):
        assert curves[name].dtype == np.float32
    np.testing.assert_allclose(curves.eval_loss, exact.eval_loss, rtol=0.02)
    wanted = [1.0]
    for uncertainty in curves.uncertainty.values[0, 0, :-1]:
        wanted.append(0.9 * wanted[-1] + 0.1 + 0.4 * uncertainty)
    decay = bench.defaults(gainjax.get_method("ngm-sgd"))["decay"]
    assert decay == 0.9
    np.testing.assert_allclose(curves.gain[0, 0], wanted, rtol=1e-6)
