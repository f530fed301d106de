"""The host's part of training: call the compiled program chunk by chunk and collect the curves."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.data.streams import Stream
from gainjax.training.program import (
    Layout,
    Program,
    Record,
    advance_runs,
    default_layout,
    init_runs,
)


class Chunk(NamedTuple):
    """A finished chunk, as the callback of :func:`train` sees it."""

    done: int  # updates finished so far
    total: int  # updates of the whole run
    records: Record  # of this chunk: NumPy arrays of shape (R, updates, ...)


def train(
    program: Program,
    stream: Stream,
    seeds: Sequence[int] | np.ndarray,
    hyperparameters: Mapping[str, float | np.ndarray],
    *,
    chunk: int = 100,
    layout: Layout | None = None,
    on_chunk: Callable[[Chunk], None] | None = None,
) -> Record:
    """Train R runs of one method at once, through all tasks of a stream.

    Args:
        program: The static part: model, method, protocol.
        stream: The tasks. Arrays are moved to the default device.
        seeds: Seed of each run, shape (R,), integers in [0, 2**32).
        hyperparameters: Each hyper-parameter of the method: a number, or one per run, shape (R,).
        chunk: Updates per call of the compiled program, >= 1. It changes no number.
        layout: Runs one after the other ("map") or as one batched program ("vmap") on a device;
            None takes what measured fastest on this kind of device.
        on_chunk: Called on the host after every chunk, with the curves of that chunk.

    Returns:
        The curves of all updates: NumPy arrays of shape (R, updates, ...), NaN where nothing was
        evaluated.

    Raises:
        ValueError: If seeds, hyper-parameters or the chunk length are out of range.

    Example:
        >>> from gainjax.benchmarks import get_benchmark
        >>> from gainjax.methods import get_method
        >>> benchmark = get_benchmark("split-digits")
        >>> program = benchmark.program(get_method("sgd"), updates_per_task=5)
        >>> records = train(program, benchmark.load(), [0, 1], benchmark.defaults("sgd"))
        >>> records.accuracy.shape, records.train_loss.shape
        ((2, 25, 1), (2, 25))
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 update: got {chunk}")
    layout = layout or default_layout()
    if layout not in ("map", "vmap"):
        raise ValueError(f"layout must be 'map' or 'vmap': got {layout!r}")
    seed_array = _check_seeds(seeds)
    settings = _check_hyperparameters(program, hyperparameters, len(seed_array))
    stream = jax.device_put(stream)

    per_task = program.protocol.updates_per_task
    total = per_task * len(stream.task_end)
    length = min(chunk, per_task)
    states = init_runs(program, layout, seed_array, settings, stream)
    finished: list[Record] = []
    for done in range(0, total, per_task):
        for start in range(done, done + per_task, length):
            count = min(length, done + per_task - start)
            states, records = advance_runs(
                program,
                layout,
                length,
                states,
                seed_array,
                settings,
                stream,
                jnp.int32(done // per_task),
                jnp.int32(start),
                jnp.int32(count),
            )
            finished.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:, :n], records))
            if on_chunk is not None:
                on_chunk(Chunk(start + count, total, finished[-1]))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *finished)


def _check_seeds(seeds: Sequence[int] | np.ndarray) -> jax.Array:
    array = np.asarray(seeds)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ValueError(f"seeds must be a non-empty list of integers: got {seeds!r}")
    if array.min() < 0 or array.max() >= 2**32:
        raise ValueError(f"seeds must be in [0, 2**32): got {seeds!r}")
    return jnp.asarray(array.astype(np.uint32))


def _check_hyperparameters(
    program: Program, hyperparameters: Mapping[str, float | np.ndarray], runs: int
) -> dict[str, jax.Array]:
    method = program.method
    if missing := set(method.hyperparameters) - set(hyperparameters):
        raise ValueError(f"hyperparameters of {method.name} lack {', '.join(sorted(missing))}")
    arrays = {}
    for name, value in hyperparameters.items():
        array = np.asarray(value, float)
        if array.shape not in ((), (runs,)):
            raise ValueError(
                f"{name} must be a number or one per run, shape ({runs},): got shape {array.shape}"
            )
        arrays[name] = np.broadcast_to(array, (runs,))
    for i in range(runs):
        method.check({name: float(array[i]) for name, array in arrays.items()})
    dtype = jnp.result_type(float)
    return {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
