"""Whole runs against a float64 transcription of the specification."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from digits_training import BENCHMARK, USUAL, make_program

from gainjax.data import normalize
from gainjax.methods import get_method
from gainjax.training import collect, make_layout, train
from gainjax.training.program import init_runs, one_input


@pytest.fixture(scope="module")
def stream():
    return BENCHMARK.load()


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Network:
    """784-400-400-10 and the like: z = g W x with ReLU, weights raw, gain beside them."""

    def __init__(self, weights):
        self.weights = [np.asarray(w, np.float64) for w in weights]
        self.gain = 1.0

    def forward(self, x):
        inputs = []
        for i, w in enumerate(self.weights):
            inputs.append(x)
            z = self.gain * (x @ w)
            x = np.maximum(z, 0) if i < len(self.weights) - 1 else z
        return x, inputs

    def gradients(self, x, y):
        logits, inputs = self.forward(x)
        log_p = log_softmax(logits)
        loss = -log_p[np.arange(len(y)), y].mean()
        entropy = -(np.exp(log_p) * log_p).sum(-1).mean()
        delta = (np.exp(log_p) - np.eye(logits.shape[1])[y]) / len(y)
        grads = []
        for i in reversed(range(len(self.weights))):
            grads.append(self.gain * inputs[i].T @ delta)
            delta = self.gain * (delta @ self.weights[i].T) * (inputs[i] > 0)
        return loss, entropy, grads[::-1]

    def test(self, x, y):
        log_p = log_softmax(self.forward(x)[0])
        return (log_p.argmax(-1) == y).mean(), -log_p[np.arange(len(y)), y].mean()


def sgd_rule(hp):
    def step(grads, t):
        return [-hp["learning_rate"] * g for g in grads]

    return step


def msgd_rule(hp):
    velocity = {}

    def step(grads, t):
        for i, g in enumerate(grads):
            velocity[i] = hp["momentum"] * velocity.get(i, 0.0) + g
        return [-hp["learning_rate"] * velocity[i] for i in range(len(grads))]

    return step


def adam_rule(hp):
    first, second = {}, {}

    def step(grads, t):
        updates = []
        for i, g in enumerate(grads):
            first[i] = hp["b1"] * first.get(i, 0.0) + (1 - hp["b1"]) * g
            second[i] = hp["b2"] * second.get(i, 0.0) + (1 - hp["b2"]) * g**2
            m = first[i] / (1 - hp["b1"] ** (t + 1))
            v = second[i] / (1 - hp["b2"] ** (t + 1))
            updates.append(-hp["learning_rate"] * m / (np.sqrt(v) + 1e-8))
        return updates

    return step


RULES = {"ngm-sgd": sgd_rule, "sgd": sgd_rule, "msgd": msgd_rule, "adam": adam_rule}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "growth"),
    [
        ("ngm-sgd", "constant"),
        ("adam", "constant"),
        *(pytest.param(n, "constant", marks=pytest.mark.exhaustive) for n in ("sgd", "msgd")),
        pytest.param("sgd", "linear", marks=pytest.mark.exhaustive),
    ],
)
def test_runs_follow_a_float64_transcription_update_by_update(stream, name, growth):
    per_task, seed = USUAL["updates_per_task"], 3
    hp = BENCHMARK.defaults(get_method(name))
    program = make_program(stream, name, batch_growth=growth)
    records = collect(train(program, stream, [seed], hp))

    settings = {k: jnp.asarray([v], jnp.float32) for k, v in hp.items() if v is not None}
    seeds = jnp.asarray([seed], jnp.uint32)
    start = init_runs(program, make_layout("map"), seeds, settings, one_input(program, stream))
    layers = [start.params[f"layer_{i}"]["kernel"][0] for i in range(3)]
    network, rule = Network(layers), RULES[name](hp)
    images = np.asarray(normalize(stream, stream.train_inputs), np.float64)
    images = images.reshape(len(images), -1)
    tests = []
    for x, y, size in zip(stream.test_inputs, stream.test_targets, stream.test_sizes, strict=True):
        tests.append((np.float64(x[:size]).reshape(size, -1), y[:size]))

    key = jax.random.fold_in(jax.random.key(seed), 1)
    for t in range(5 * per_task):
        task = t // per_task
        batch = USUAL["batch_size"] * (task + 1 if growth == "linear" else 1)
        index = jax.random.randint(
            jax.random.fold_in(key, t + 1), (batch,), 0, stream.task_end[task]
        )
        gain = network.gain
        loss, entropy, grads = network.gradients(images[index], stream.train_targets[index])
        for w, update in zip(network.weights, rule(grads, t), strict=True):
            w += update
        if name == "ngm-sgd":
            network.gain = hp["decay"] * gain + (1 - hp["decay"]) * hp["baseline"]
            network.gain += hp["sensitivity"] * entropy
        accuracy, eval_loss = network.test(*tests[0])
        seen = [network.test(*tests[i])[0] * len(tests[i][1]) for i in range(task + 1)]
        seen_accuracy = sum(seen) / sum(len(tests[i][1]) for i in range(task + 1))

        close = {"rtol": 2e-4, "atol": 2e-5}
        np.testing.assert_allclose(records.train_loss[0, t], loss, **close)
        np.testing.assert_allclose(records.uncertainty[0, t], entropy, **close)
        np.testing.assert_allclose(records.gain[0, t], gain, **close)
        np.testing.assert_allclose(records.eval_loss[0, t, 0], eval_loss, **close)
        # One test image on the edge between two classes may fall to either side.
        assert abs(records.accuracy[0, t, 0] - accuracy) <= 1.01 / len(tests[0][1])
        assert abs(records.seen_accuracy[0, t] - seen_accuracy) <= 2.01 / sum(
            len(tests[i][1]) for i in range(task + 1)
        )
