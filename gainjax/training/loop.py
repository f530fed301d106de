"""The host side of training: call the compiled program chunk by chunk."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.checks import check_integer
from gainjax.data import Stream
from gainjax.methods import TRACE
from gainjax.training.advance import Position, Record, Work, advance_runs
from gainjax.training.keys import as_data, as_keys
from gainjax.training.layout import Layout, make_layout
from gainjax.training.program import (
    Program,
    abstract_hyperparameters,
    abstract_runs,
    init_runs,
    one_input,
)
from gainjax.training.step import TrainState

# From the abstract states of all runs to the number of updates done and the states to continue
# from, or None to start at the beginning.
Restore = Callable[[TrainState], tuple[int, TrainState] | None]


class Chunk(NamedTuple):
    """A finished chunk of R runs."""

    start: int  # updates finished before it
    done: int  # updates finished so far; 0 in the empty chunk of a new run
    total: int  # updates of the whole run
    records: Record  # of this chunk: NumPy arrays of shape (R, updates, ...)
    states: TrainState  # after it, on the devices, until the next chunk is requested

    def snapshot(self) -> TrainState:
        """Return a copy of the states on the host, shape (R, ...), whatever the devices.

        Keys are stored as their data.
        """
        runs = len(self.records.gain)
        return jax.tree.map(lambda x: np.array(np.asarray(x)[:runs]), as_data(self.states))


def train(
    program: Program,
    stream: Stream,
    seeds: Sequence[int] | np.ndarray,
    hyperparameters: Mapping[str, Any],
    *,
    chunk: int = 100,
    layout: Layout | None = None,
    restore: Restore | None = None,
    stops: Collection[int] = (),
) -> Iterator[Chunk]:
    """Train R runs of one method together, through all tasks of a stream, chunk by chunk.

    Args:
        program: The static part: model, method, protocol.
        stream: The tasks. Arrays are moved to the devices.
        seeds: Seed of each run, shape (R,), integers in [0, 2**32).
        hyperparameters: Each hyperparameter of the method: a number, or one per run, shape (R,);
            a scheduled one (``program.schedules``) or a borrowed ``gain_trace`` has one per run and
            update, shape (R, updates). None values are omitted.
        chunk: Updates per call of the compiled program, >= 1. It does not affect the results.
        layout: How the runs are laid out on hardware; None for :func:`make_layout`'s choice.
        restore: Finds states to continue from, see ``Restore``. The rest of the run is the same as
            without an interruption.
        stops: Updates after which a chunk must end; after 0, an empty one. They do not affect the
            results.

    Yields:
        Each chunk, with curves and states.

    Raises:
        ValueError: If seeds, hyperparameters, the chunk length or the number of updates done are
            out of range.

    Example:
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> from gainjax.methods import get_method
        >>> benchmark = get_benchmark("split-digits").replace(updates_per_task=10)
        >>> program = benchmark.program(get_method("sgd"))
        >>> for chunk in train(program, benchmark.load(), [0, 1], {"learning_rate": 0.1}):
        ...     print(chunk.done, chunk.records.accuracy.shape)
        10 (2, 10, 1)
        20 (2, 10, 1)
        30 (2, 10, 1)
        40 (2, 10, 1)
        50 (2, 10, 1)
    """
    check_integer("chunk", chunk, 1)
    layout = layout or make_layout()
    seed_array = check_seeds(seeds)
    runs = len(seed_array)
    ends = program.protocol.task_ends(len(stream.task_end))
    total = int(ends[-1])
    settings = check_hyperparameters(program, hyperparameters, runs, total)
    length = min(chunk, program.protocol.longest_task)
    with reproducible():
        example = one_input(program, stream)
    found = None
    if restore is not None:
        one = dataclasses.replace(layout, devices=layout.devices[:1])
        with reproducible():
            abstract = abstract_runs(program, one, seed_array, settings, example)
        if (found := restore(as_data(abstract))) is not None:
            found = (found[0], as_keys(found[1], abstract))
    stream = layout.replicate(stream)
    seed_array, settings = layout.put((seed_array, settings), runs)
    with reproducible():
        if found is None:
            done, states = 0, init_runs(program, layout, seed_array, settings, example)
        else:
            done, states = found[0], layout.put(found[1], runs)
    if not 0 <= done <= total:
        raise ValueError(f"restore must return at most {total} updates: got {done} done")
    while done < total:
        task = int(np.searchsorted(ends, done, side="right"))
        begin, end = int(ends[task - 1]) if task else 0, int(ends[task])
        count = min([length, end - done, *(stop - done for stop in stops if stop > done)])
        work = Work(program, layout, length, program.protocol.batch_size_of(task))
        place = Position(*map(jnp.int32, (task, begin, end, done, count)))
        if done == 0 and 0 in stops:
            with reproducible():
                _, rows = advance_runs.eval_shape(work, states, seed_array, settings, stream, place)
            empty = jax.tree.map(lambda x: np.zeros((runs, 0, *x.shape[2:]), x.dtype), rows)
            yield Chunk(0, 0, total, empty, states)
        with reproducible():
            states, records = advance_runs(work, states, seed_array, settings, stream, place)
            curves = jax.tree.map(lambda x, n=count: np.asarray(x)[:runs, :n], records)
        done += count
        yield Chunk(done - count, done, total, curves, states)


def abstract_states(program: Program, stream: Stream, names: Collection[str]) -> TrainState:
    """Return shapes and dtypes of the state of one run.

    Args:
        program: The static part.
        stream: The tasks.
        names: Names of the hyperparameters that are given.
    """
    updates = int(program.protocol.task_ends(len(stream.task_end))[-1])
    hyperparameters = abstract_hyperparameters(program, names, updates)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    layout = make_layout("vmap", jax.local_devices()[:1])
    seeds, settings = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (seed, hyperparameters)
    )
    with reproducible():
        batch = abstract_runs(program, layout, seeds, settings, one_input(program, stream))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)


def collect(chunks: Iterator[Chunk]) -> Record:
    """Return the curves of all chunks, shape (R, updates, ...).

    Args:
        chunks: What :func:`train` yields.
    """
    finished = [chunk.records for chunk in chunks]
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *finished)


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Use default random numbers and type promotion, whatever JAX's configuration."""
    with (
        jax.threefry_partitionable(True),
        jax.default_prng_impl("threefry2x32"),
        jax.numpy_dtype_promotion("standard"),  # Optax needs it
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def check_seeds(seeds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return seeds as uint32, or raise ValueError.

    Args:
        seeds: Integers in [0, 2**32), shape (R,).
    """
    array = np.asarray(seeds)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ValueError(f"seeds must be a non-empty list of integers: got {seeds!r}")
    if array.min() < 0 or array.max() >= 2**32:
        raise ValueError(f"seeds must be in [0, 2**32): got {seeds!r}")
    return array.astype(np.uint32)


def check_hyperparameters(
    program: Program, hyperparameters: Mapping[str, Any], runs: int, updates: int
) -> dict[str, np.ndarray]:
    """Return hyperparameters as arrays with a leading axis of runs, or raise ValueError.

    Args:
        program: The static part.
        hyperparameters: As for :func:`train`.
        runs: Number of runs R.
        updates: Updates of the whole run.
    """
    method = program.method
    given = {name: value for name, value in hyperparameters.items() if value is not None}
    needed = {name for name, value in method.hyperparameters.items() if value is not None}
    if method.borrows_gain:
        needed.add(TRACE)
    if missing := needed - set(given):
        raise ValueError(f"hyperparameters of {method.name} lack {', '.join(sorted(missing))}")
    arrays = {}
    for name, value in given.items():
        array = np.asarray(value, float)
        if name in program.schedules or name == TRACE:
            if array.shape != (runs, updates):
                raise ValueError(
                    f"{name} must have one value per run and update, shape ({runs}, {updates}): got"
                    f" shape {array.shape}"
                )
        elif array.shape not in ((), (runs,)):
            raise ValueError(
                f"{name} must be a number or one per run, shape ({runs},): got shape {array.shape}"
            )
        else:
            array = np.broadcast_to(array, (runs,))
        if name == TRACE:
            if not (np.isfinite(array) & (array > 0)).all():
                raise ValueError(f"{TRACE} must be finite gains > 0")
        else:
            for row in np.unique(array, axis=0):
                method.check({name: tuple(row.tolist()) if row.ndim else float(row)})
        # The width of parameters, whatever JAX's default is.
        arrays[name] = array.astype(np.float32)
    return arrays
