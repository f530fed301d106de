"""Parallel runs on CPU cores: how many, by measurement, and under which JAX settings.

A small network leaves most of a CPU idle: its products are too small to be split among cores.
Training parts of a run in separate threads then finishes sooner, without changing any number.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.data import Stream
from gainjax.training.advance import Position, Work, advance_runs
from gainjax.training.layout import Layout
from gainjax.training.loop import check_hyperparameters, check_seeds, reproducible
from gainjax.training.program import Program, init_runs, one_input

_LONG_ENOUGH = 0.02  # minimum seconds of a measurement
_AGAIN = 2  # additional trials
# Thread-local settings, without which numbers or errors would change.
_LOCAL = (
    "enable_x64",
    "default_matmul_precision",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
    "debug_nans",
    "default_prng_impl",
)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_share_cores(layout: Layout) -> bool:
    """Whether parts can be trained in parallel: sequential runs on a single CPU device."""
    alone = len(layout.devices) == 1 and jax.process_count() == 1
    return layout.kind == "map" and alone and layout.devices[0].platform == "cpu"


def with_settings_of_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for another thread that uses this thread's JAX settings.

    Args:
        function: Any function.
    """
    values = {name: getattr(jax.config, f"jax_{name}") for name in _LOCAL}

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for name, value in values.items():
                stack.enter_context(getattr(jax, name)(value))
            return function(*args, **kwargs)

    return inside


def gain_of_company(
    work: Work,
    stream: Stream,
    seeds: Sequence[int] | np.ndarray,
    hyperparameters: Mapping[str, Any],
    threads: int,
    needed: float,
    updates: float,
) -> float | None:
    """Measure how much faster several threads train runs than a single one.

    If one thread already keeps most cores busy, there is little to gain: where that cannot be
    enough, the others are not tried, which saves memory and time. Nor are they if all training
    takes less time than compiling a program.

    Args:
        work: Description of a call of the compiled program; compiled here if necessary.
        stream: The tasks.
        seeds: Seeds of the runs of one thread.
        hyperparameters: Their hyperparameters.
        threads: Number of threads.
        needed: The smallest useful ratio.
        updates: Number of updates of these runs that takes as long as all that is to be trained.

    Returns:
        The ratio of throughputs, or an upper bound on it that is below ``needed``; None if training
        takes less time than compiling.
    """
    first = _trial(work, stream, seeds, hyperparameters)
    compiling, _ = _seconds([first], 1)
    tried, (alone, busy) = 1, _seconds([first], 1)
    while alone < _LONG_ENOUGH and tried < work.length:
        tried = min(4 * tried, work.length)
        alone, busy = _seconds([first], tried)
    if alone / tried * updates < compiling:
        return None
    if (most := cores() / busy) < needed:
        return most
    others = [_trial(work, stream, seeds, hyperparameters) for _ in range(threads - 1)]
    # Other load on the machine only lengthens a trial, so the shortest one counts.
    alone = min(alone, *(_seconds([first], tried)[0] for _ in range(_AGAIN)))
    together = min(_seconds([first, *others], tried)[0] for _ in range(1 + _AGAIN))
    return threads * alone / together


def _trial(
    work: Work, stream: Stream, seeds: Any, hyperparameters: Mapping[str, Any]
) -> Callable[[int], None]:
    """Return a function that trains separate runs for some updates, from the start."""
    program: Program = work.program
    seed_array, ends = check_seeds(seeds), program.protocol.task_ends(len(stream.task_end))
    settings = check_hyperparameters(program, hyperparameters, len(seed_array), int(ends[-1]))
    stream = work.layout.replicate(stream)
    seed_array, settings = work.layout.put((seed_array, settings), len(seed_array))
    with reproducible():
        states = init_runs(program, work.layout, seed_array, settings, one_input(program, stream))

    def train(updates: int) -> None:
        nonlocal states
        place = Position(*map(jnp.int32, (0, 0, ends[0], 0, min(updates, int(ends[0])))))
        with reproducible():
            states, records = advance_runs(work, states, seed_array, settings, stream, place)
        jax.block_until_ready(records)

    return train


def _seconds(trials: Sequence[Callable[[int], None]], updates: int) -> tuple[float, float]:
    """Return how long parallel trials take, and how many cores they keep busy on average."""
    with ThreadPoolExecutor(len(trials)) as pool:
        train = with_settings_of_caller(lambda trial: trial(updates))
        started, used = time.perf_counter(), time.process_time()
        list(pool.map(train, trials))
        elapsed = time.perf_counter() - started
        return elapsed, max((time.process_time() - used) / elapsed, 1e-6)


def run_all(
    tasks: Sequence[Callable[[], Any]], threads: int, stop: Callable[[], None]
) -> list[Any]:
    """Run tasks in a number of threads, and return their results in order.

    With one thread, they run in the calling thread. If one fails, the others are asked to stop, and
    its error is raised once they have.

    Args:
        tasks: Functions without arguments.
        threads: Number of tasks that run at a time.
        stop: Asks running tasks to stop soon.
    """
    if threads == 1 or len(tasks) == 1:
        return [task() for task in tasks]
    errors: list[BaseException] = []

    def unless_failed(task: Callable[[], Any]) -> Any:
        # Noted here: the caller learns of an error after this thread has begun its next task.
        if errors:
            return None
        try:
            return task()
        except BaseException as error:
            errors.append(error)
            stop()
            raise

    with ThreadPoolExecutor(threads, "gainjax") as pool:
        begin = with_settings_of_caller(unless_failed)
        futures = [pool.submit(begin, task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop()
            for future in futures:
                future.cancel()
            raise
        if errors:
            raise errors[0]
        return [future.result() for future in futures]
