"""Is a gain worth having in such a recipe? The stability gap at task switches.

Split MNIST (five tasks of two digits) and permuted MNIST (three tasks), joint training: task k
trains on the pooled data of the tasks up to k. The network has biases and the usual initial
weights; task 1 is evaluated after every update.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gainjax
from experiments.adoption.images import Wrap, load
from gainjax.metrics import average_stability_gap

_UPDATES, _BATCH, _HIDDEN = 200, 128, 100


class Stream(NamedTuple):
    """Tasks of MNIST; images shape (N, 784), sorted by task, test sets shape (tasks, M, 784)."""

    x: jax.Array
    y: jax.Array
    ends: jax.Array  # training examples up to each task, shape (tasks,)
    x_test: jax.Array
    y_test: jax.Array


def streams(folder: Path) -> dict[str, Stream]:
    """Return the streams by name."""
    data = load(folder, "mnist")

    def flat(x: np.ndarray) -> np.ndarray:
        return ((x.reshape(len(x), -1) - 0.1307) / 0.3081).astype(np.float32)

    x, x_test = flat(data.x), flat(data.x_test)
    order = np.argsort(data.y, kind="stable")
    tests = [np.flatnonzero(data.y_test // 2 == task) for task in range(5)]
    tests = [test[: min(150, *map(len, tests))] for test in tests]
    ends = np.searchsorted(data.y[order], [2, 4, 6, 8, 10])
    split = (x[order], data.y[order], ends, x_test[np.stack(tests)], data.y_test[np.stack(tests)])
    rng = np.random.RandomState(42)
    pixels = [np.arange(784), rng.permutation(784), rng.permutation(784)]
    permuted = (
        np.concatenate([x[:, p] for p in pixels]),
        np.tile(data.y, 3),
        len(x) * np.arange(1, 4),
        np.stack([x_test[:300, p] for p in pixels]),
        np.tile(data.y_test[:300], (3, 1)),
    )
    found = {"split": split, "permuted": permuted}
    return {name: Stream(*map(jnp.asarray, arrays)) for name, arrays in found.items()}


def _logits(params: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ params[-1]["kernel"] + params[-1]["bias"]


def _first_params(key: jax.Array) -> list[dict[str, jax.Array]]:
    sizes = (784, _HIDDEN, _HIDDEN, 10)
    return [
        {"kernel": jax.random.normal(k, (i, o)) / i**0.5, "bias": jnp.zeros(o)}
        for k, i, o in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:], strict=True)
    ]


def stability_gap(
    base: optax.GradientTransformation, stream: Stream, wrap: Wrap
) -> Callable[[int], tuple[float, float]]:
    """Return a function from a seed to its gap on task 1 and its anytime accuracy in %."""
    optimizer, tasks = wrap(base), len(stream.ends)

    def update(carry: Any, n: jax.Array, key: jax.Array, stream: Stream) -> tuple[Any, Any]:
        params, opt_state = carry
        task = n // _UPDATES
        # With replacement, from all tasks so far.
        of_update = jax.random.fold_in(key, n)
        index = jax.random.randint(of_update, (_BATCH,), 0, stream.ends[task])
        x = stream.x[index]

        def loss_fn(params: Any) -> tuple[jax.Array, jax.Array]:
            logits = _logits(params, x)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, stream.y[index]).mean()
            return loss, gainjax.predictive_entropy(logits)

        grads, entropy = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params, uncertainty=entropy)
        params = optax.apply_updates(params, updates)
        outputs = _logits(params, stream.x_test)
        is_right = (outputs.argmax(-1) == stream.y_test) & jnp.isfinite(outputs).all(-1)
        right = is_right.mean(-1)
        seen = jnp.where(jnp.arange(tasks) <= task, right, 0).sum() / (task + 1)
        return (params, opt_state), (right[0], seen)

    @jax.jit
    def train(seed: jax.Array, stream: Stream) -> tuple[jax.Array, jax.Array]:
        first, key = jax.random.split(jax.random.key(seed))
        params = _first_params(first)
        return jax.lax.scan(
            lambda carry, n: update(carry, n, key, stream),
            (params, optimizer.init(params)),
            jnp.arange(tasks * _UPDATES),
        )[1]

    def run(seed: int) -> tuple[float, float]:
        first_task, seen = map(np.asarray, train(seed, stream))
        ends = _UPDATES * np.arange(1, tasks + 1)
        gap = average_stability_gap(first_task, range(1, ends[-1] + 1), ends)
        return float(gap), float(100 * seen.mean())

    return run
