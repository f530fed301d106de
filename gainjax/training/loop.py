"""The host's part of training: call the compiled program chunk by chunk and collect the curves."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.checks import check_integer
from gainjax.data.streams import Stream
from gainjax.methods import TRACE
from gainjax.training.layout import Layout, make_layout
from gainjax.training.program import Position, Program, Record, advance_runs, init_runs
from gainjax.training.step import TrainState

# From the abstract states of all runs to the number of updates done and the states to go on from,
# or None to start at the beginning.
Restore = Callable[[TrainState], tuple[int, TrainState] | None]


class Chunk(NamedTuple):
    """A finished chunk, as the callback of :func:`train` sees it."""

    done: int  # updates finished so far
    total: int  # updates of the whole run
    records: Record  # of this chunk: NumPy arrays of shape (R, updates, ...)
    states: TrainState  # after it, on the devices, until the callback returns

    def snapshot(self) -> TrainState:
        """Return a copy of the states on the host, shape (R, ...), whatever the devices."""
        runs = len(self.records.gain)
        return jax.tree.map(lambda x: np.array(np.asarray(x)[:runs]), self.states)


def train(
    program: Program,
    stream: Stream,
    seeds: Sequence[int] | np.ndarray,
    hyperparameters: Mapping[str, float | np.ndarray],
    *,
    chunk: int = 100,
    layout: Layout | None = None,
    on_chunk: Callable[[Chunk], None] | None = None,
    restore: Restore | None = None,
) -> Record:
    """Train R runs of one method at once, through all tasks of a stream.

    Args:
        program: The static part: model, method, protocol.
        stream: The tasks. Arrays are moved to the default device.
        seeds: Seed of each run, shape (R,), integers in [0, 2**32).
        hyperparameters: Each hyper-parameter of the method: a number, or one per run, shape (R,).
            A method that replays the gain of another run also needs its ``gain_trace``, > 0, shape
            (R, updates).
        chunk: Updates per call of the compiled program, >= 1. It changes no number.
        layout: How the runs are laid out on hardware; None for :func:`make_layout`'s choice.
        on_chunk: Called on the host after every chunk, with the curves of that chunk.
        restore: Finds states to go on from, see :data:`Restore`. The rest of the run is what it
            would have been.

    Returns:
        The curves of all updates trained here: NumPy arrays of shape (R, updates, ...), NaN where
        nothing was evaluated.

    Raises:
        ValueError: If seeds, hyper-parameters, the chunk length or the number of updates done are
            out of range.

    Example:
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> from gainjax.methods import get_method
        >>> benchmark = get_benchmark("split-digits")
        >>> program = benchmark.program(get_method("sgd"), updates_per_task=10)
        >>> records = train(program, benchmark.load(), [0, 1], benchmark.defaults("sgd"))
        >>> records.accuracy.shape, records.train_loss.shape
        ((2, 50, 1), (2, 50))
    """
    check_integer("chunk", chunk, 1)
    layout = layout or make_layout()
    seed_array = _check_seeds(seeds)
    runs = len(seed_array)
    per_task = program.protocol.updates_per_task
    total = per_task * len(stream.task_end)
    settings = _check_hyperparameters(program, hyperparameters, runs, total)
    image_shape = stream.train_images.shape[1:]
    stream = layout.replicate(stream)

    length = min(chunk, per_task)
    found = None
    if restore is not None:
        one = dataclasses.replace(layout, devices=layout.devices[:1])
        start = partial(init_runs, program, one, image_shape=image_shape)
        found = restore(jax.eval_shape(start, seed_array, settings))
    seed_array, settings = layout.put((seed_array, settings), runs)
    if found is None:
        done, states = 0, init_runs(program, layout, seed_array, settings, image_shape)
    else:
        done, states = found[0], layout.put(found[1], runs)
    if not 0 <= done < total:
        raise ValueError(f"restore must leave something of {total} updates: got {done} done")
    finished: list[Record] = []
    while done < total:
        task = done // per_task
        count = min(length, (task + 1) * per_task - done)
        states, records = advance_runs(
            program,
            layout,
            length,
            program.protocol.batch_size_of(task),
            states,
            seed_array,
            settings,
            stream,
            Position(*map(jnp.int32, (task, done, count))),
        )
        done += count
        finished.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:runs, :n], records))
        if on_chunk is not None:
            on_chunk(Chunk(done, total, finished[-1], states))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *finished)


def _check_seeds(seeds: Sequence[int] | np.ndarray) -> np.ndarray:
    array = np.asarray(seeds)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ValueError(f"seeds must be a non-empty list of integers: got {seeds!r}")
    if array.min() < 0 or array.max() >= 2**32:
        raise ValueError(f"seeds must be in [0, 2**32): got {seeds!r}")
    return array.astype(np.uint32)


def _check_hyperparameters(
    program: Program, hyperparameters: Mapping[str, float | np.ndarray], runs: int, updates: int
) -> dict[str, np.ndarray]:
    method = program.method
    needed = {*method.hyperparameters, *([TRACE] if method.needs_trace else [])}
    if missing := needed - set(hyperparameters):
        raise ValueError(f"hyperparameters of {method.name} lack {', '.join(sorted(missing))}")
    arrays = {name: np.asarray(value, float) for name, value in hyperparameters.items()}
    numbers = {name: array for name, array in arrays.items() if name != TRACE}
    for name, array in numbers.items():
        if array.shape not in ((), (runs,)):
            raise ValueError(
                f"{name} must be a number or one per run, shape ({runs},): got shape {array.shape}"
            )
        arrays[name] = np.broadcast_to(array, (runs,))
    for i in range(runs):
        method.check({name: float(arrays[name][i]) for name in numbers})
    if method.needs_trace:
        trace = arrays[TRACE]
        if trace.shape != (runs, updates) or not (np.isfinite(trace) & (trace > 0)).all():
            raise ValueError(
                f"{TRACE} must be finite gains > 0 of shape ({runs}, {updates}), one per run and "
                f"update: got shape {trace.shape}"
            )
    # The width of parameters, whatever JAX's default is.
    return {name: array.astype(np.float32) for name, array in arrays.items()}
