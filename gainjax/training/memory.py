"""How many runs fit into memory together, which determines the batches of a sweep."""

import math
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from gainjax.data import Stream
from gainjax.data.safe import memory_bytes
from gainjax.training.advance import Position, Work, advance
from gainjax.training.keys import is_key
from gainjax.training.layout import Layout, make_layout
from gainjax.training.program import (
    INIT,
    Program,
    abstract_hyperparameters,
    init_state,
    one_input,
    seed_key,
)

# Sequential runs gain nothing from larger batches, and the host should get results every few
# seconds.
_MOST_IN_TURN = 64
_SHARE = {"cpu": 0.5, "accelerator": 0.75}  # of the memory, for runs; the rest is left to others


def runs_at_once(
    update: Any,
    layout: Layout,
    runs: int,
    *,
    length: int = 100,
    memory: float | None = None,
) -> int:
    """Return the batch size into which to divide runs: even batches that fit into memory.

    The estimate counts every intermediate value of an update as if no two shared memory, so it is
    an upper bound.

    Args:
        update: The trace of an update, see :func:`traced_run`.
        layout: The layout on hardware.
        runs: Number of runs, >= 1.
        length: Updates per call of the compiled program.
        memory: Bytes available to all runs of this process, > 0; None for half of the machine's
            memory, or three quarters of the accelerators'.

    Returns:
        Runs per batch, at least one per device and at most ``runs`` rounded up to whole devices.

    Example:
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> from gainjax.methods import get_method
        >>> from gainjax.training import make_layout
        >>> benchmark = get_benchmark("split-digits")
        >>> program = benchmark.program(get_method("sgd"))
        >>> _, update = traced_run(program, benchmark.load(), program.method.hyperparameters)
        >>> runs_at_once(update, make_layout("map"), runs=100)
        50
    """
    devices = len(layout.devices)
    limit = _MOST_IN_TURN if layout.kind == "map" else runs
    needed = bytes_per_run(update, layout, length)
    fitting = int((memory or _available(layout)) / devices / needed)
    per_device = max(1, min(limit, fitting, -(-runs // devices)))
    batches = math.ceil(runs / (per_device * devices))
    return layout.padded(math.ceil(runs / batches))


def bytes_per_run(update: Any, layout: Layout, length: int) -> int:
    """Return an upper bound on the memory that one more run in a batch takes, in bytes."""
    (states, _, hyperparameters, *_), _ = update.in_avals
    new_states, row = update.out_info
    kept = _bytes(states) + _bytes(new_states) + _bytes(hyperparameters)
    intermediates = _intermediates(update.jaxpr.jaxpr) if layout.kind == "vmap" else 0
    return kept + length * _bytes(row) + intermediates


def traced_run(program: Program, stream: Stream, names: Collection[str]) -> tuple[Any, Any]:
    """Return traces of the initialization of one run, and of an update in its last task.

    The batches of the last task are the largest. Both are traced anew at each call, since the
    functions of a program may do something else than before.

    Args:
        program: The program to train.
        stream: The tasks.
        names: Names of the hyperparameters that are given.
    """
    num_tasks = len(stream.task_end)
    updates = int(program.protocol.task_ends(num_tasks)[-1])
    example = one_input(program, stream)
    layout = make_layout("vmap", jax.local_devices()[:1])
    work = Work(program, layout, 1, program.protocol.batch_size_of(num_tasks - 1))

    @jax.jit
    def start(seed: jax.Array, hyperparameters: Any) -> Any:
        inputs = jnp.zeros(example.shape, example.dtype)
        raw = program.model.init(seed_key(seed, INIT), inputs)
        return init_state(program, inputs, *raw, hyperparameters)

    @jax.jit
    def update(*arguments: Any) -> Any:
        return advance(work, *arguments)

    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    hyperparameters = abstract_hyperparameters(program, names, updates)
    started = start.trace(seed, hyperparameters)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), stream)
    position: Any = Position(*[jax.ShapeDtypeStruct((), jnp.int32)] * 5)  # type: ignore[arg-type]
    return started, update.trace(started.out_info, seed, hyperparameters, shapes, position)


def _intermediates(jaxpr: Any) -> int:
    """Return the bytes of all values that a program computes; for loops and branches, the most."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [_intermediates(sub) for sub in jaxprs_in_params(equation.params)]
        total += max(inner, default=0) + _bytes([variable.aval for variable in equation.outvars])
    return total


def _bytes(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves if _counts(x))


def _counts(aval: Any) -> bool:
    return hasattr(aval, "shape") and not is_key(aval)


def _available(layout: Layout) -> float:
    device = layout.devices[0]
    if device.platform == "cpu":
        return _SHARE["cpu"] * memory_bytes() / jax.local_device_count() * len(layout.devices)
    limits = [(d.memory_stats() or {}).get("bytes_limit", 4 * 2**30) for d in layout.devices]
    return _SHARE["accelerator"] * min(limits) * len(limits)
