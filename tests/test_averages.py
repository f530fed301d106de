"""Methods that are evaluated at an average of their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interruptions import crash, numbers

import gainjax
from gainjax.methods import get_method
from gainjax.methods.averages import averaged
from gainjax.methods.class_means import read_by_nearest_mean
from gainjax.optim.averaging import averaged_weights

SHORT = {"updates_per_task": 12, "batch_size": 16, "eval_examples": 50, "threads": 1}


def run(methods, seeds=2, benchmark="split-digits", **options):
    return gainjax.run(benchmark, methods, seeds, **SHORT | options)


def close(a, b, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["sgd", "ngm-sgd", "adam"])
def test_an_averaged_method_trains_alike_and_is_evaluated_at_the_average(name):
    rate = {"learning_rate": 0.01}
    plain, states = run([name], hyperparameters=rate, return_states=True)
    mean, found = run(
        [f"{name}-ema"], hyperparameters=rate | {"average_decay": 0.0}, return_states=True
    )
    np.testing.assert_array_equal(plain.train_loss, mean.train_loss)
    np.testing.assert_array_equal(plain.accuracy, mean.accuracy)  # without memory, the weights
    jax.tree.map(np.testing.assert_array_equal, states[name].params, found[f"{name}-ema"].params)
    lagging = run([f"{name}-ema"], hyperparameters=rate | {"average_decay": 0.9})
    np.testing.assert_array_equal(plain.train_loss, lagging.train_loss)
    assert (plain.accuracy.values != lagging.accuracy.values).any()


def test_the_average_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(20, 3))
    optimizer = averaged_weights(optax.sgd(0.1), 0.8)
    params, mean = np.ones(3), np.ones(3)
    state = optimizer.init(jnp.ones(3))
    theirs = jnp.ones(3)
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        params = params - 0.1 * gradient
        mean = 0.8 * mean + 0.2 * params
    close(state.average, mean)


@pytest.mark.exhaustive
def test_slow_weights_are_averaged_without_their_gain():
    # In a network without biases a gain changes no answer, but the average weighs bursts more.
    options = {"hyperparameters": {"sensitivity": 1.0, "average_decay": 0.9}}
    curves, states = run(["ngm-sgd-ema", "ngm-sgd-slow-ema"], return_states=True, **options)
    np.testing.assert_array_equal(curves.train_loss[0], curves.train_loss[1])
    fast, slow = (jax.tree.leaves(states[m].opt_state.average)[0] for m in states)
    assert np.linalg.norm(fast) > 1.2 * np.linalg.norm(slow)


@pytest.mark.exhaustive
def test_an_averaged_network_has_batch_statistics_of_its_own(tmp_path):
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(16)(x.reshape(len(x), -1))
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
            return nn.Dense(10)(nn.relu(x))

    model = gainjax.models.from_linen(Net())
    rate = {"hyperparameters": {"learning_rate": 0.2, "average_decay": 0.95}, "batch_size": 256}
    curves, states = run(["sgd-ema", "sgd"], seeds=1, model=model, return_states=True, **rate)
    state = jax.tree.map(lambda x: x[0], states["sgd-ema"])
    ours, theirs = (s["batch_stats"]["BatchNorm_0"] for s in (state.eval_state, state.model_state))
    # The trained network is where SGD is; the averaged one is elsewhere, and so are its statistics.
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b[0]),
        state.params, states["sgd"].params,
    )  # fmt: skip
    assert (np.abs(ours["mean"] - theirs["mean"]) > 1e-3).any()
    stream = gainjax.get_benchmark("split-digits").load(eval_examples=50)
    inputs = gainjax.data.normalize(stream, stream.train_inputs)
    hidden = inputs.reshape(len(inputs), -1) @ state.opt_state.average["Dense_0"]["kernel"]
    hidden += state.opt_state.average["Dense_0"]["bias"]
    # They are those of its own hidden units, up to the noise of a running mean of small batches.
    error = np.abs(ours["mean"] - hidden.mean(0)).mean()
    assert error < 0.5 * np.abs(theirs["mean"] - hidden.mean(0)).mean()
    # And they survive a crash.
    options = {"model": model, "chunk": 5, **SHORT | rate}
    crash(20, "split-digits", ["sgd-ema", "sgd"], 1, out=tmp_path, **options)
    resumed = gainjax.run("split-digits", ["sgd-ema", "sgd"], 1, out=tmp_path, **options)
    assert numbers(resumed).identical(numbers(curves))


def test_what_cannot_be_averaged_is_refused():
    for make in (averaged, read_by_nearest_mean):
        with pytest.raises(TypeError, match=r"method must be a gainjax.Method.*got 'sgd'"):
            make("sgd")
    with pytest.raises(TypeError, match=r"average_decay of sgd-ema must be one number: got a sch"):
        run(["sgd-ema"], hyperparameters={"average_decay": lambda count: 0.5})
    with pytest.raises(ValueError, match="schedule-free is not"):
        averaged(get_method("schedule-free"))
    with pytest.raises(ValueError, match="sgd has none"):
        averaged(get_method("sgd"), of="slow")
    with pytest.raises(ValueError, match="of must be one of"):
        averaged(get_method("ngm-sgd"), of="raw")
    with pytest.raises(ValueError, match="use form='optimizer'"):
        run(["ngm-sgd-ema"], form="model")
