"""Time what gainjax adds to bare training: the gain, the host's work, compilation, memory.

    python perf/overheads.py --data-dir DIR

1. A bare training step (forward, backward, update; no evaluation) of the MNIST network with
   `gain_modulation` around an optimizer, against that optimizer alone, which needs no entropy.
2. `gainjax.run` with progress bar, checkpoints and results on disk, against `train` alone.
   Data are loaded and programs compiled before, on both sides.
3. Compilation and peak memory of a whole run, each in a fresh process.

Sides alternate; what counts is the ratio of the times of one turn, its median over turns.
"""

import argparse
import json
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import (
    fresh_process,
    in_turns,
    medians,
    paired_ratio,
    peak_memory,
    settings,
    table,
    use_cores,
)

import gainjax
from gainjax.data import Stream
from gainjax.methods import get_method
from gainjax.models import MLP, from_linen
from gainjax.runs.benchmarks import get_benchmark
from gainjax.training import CLASSIFICATION, Program, TrainState, collect, train
from gainjax.training.step import Batch, train_step

METHOD = get_method("ngm-sgd")
BASES = {
    "SGD": optax.sgd(0.01),
    "SGD with momentum": optax.sgd(0.01, momentum=0.9),
    "Adam": optax.adam(0.001),
}


def bare_steps(
    optimizer: optax.GradientTransformation, batch_size: int, updates: int
) -> Callable[[], object]:
    """Return a function that does nothing but training steps on one batch."""
    model, goal = from_linen(MLP((400, 400, 10), (0.01, 0.01, 0.05))), CLASSIFICATION  # MNIST's
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((batch_size, 28, 28, 1), np.float32))
    y = jnp.asarray(rng.integers(0, 10, batch_size, np.int32))
    batch = Batch(x, y, jax.random.key(0))
    optimizer = optax.with_extra_args_support(optimizer)
    params, model_state = model.init(batch.key, x[:1])
    state = TrainState(params, model_state, optimizer.init(params))

    @jax.jit
    def program(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        def body(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
            state, info = train_step(state, batch, model, goal, optimizer)
            return state, info.train_loss  # so the base alone computes no entropy

        return jax.lax.scan(body, state, length=updates)

    return lambda: jax.block_until_ready(program(state, batch))


def gain_rows(batch_size: int, updates: int, turns: int) -> list[tuple[str, ...]]:
    """Time bare steps with and without the gain, for each base optimizer."""
    rows = []
    for name, base in BASES.items():
        sides = {"base": base, "gain": gainjax.gain_modulation(base, sensitivity=0.01)}
        runs = {side: bare_steps(opt, batch_size, updates) for side, opt in sides.items()}
        times = in_turns(runs, turns)
        micro = {side: f"{t / updates * 1e6:.0f}" for side, t in medians(times).items()}
        ratio = paired_ratio(times, "gain", "base")
        rows.append((name, micro["base"], micro["gain"], f"{100 * (ratio - 1):+.1f} %"))
    return rows


def train_all(
    program: Program, stream: Stream, seeds: int, hyperparameters: dict[str, float | None]
) -> None:
    """Train some seeds and nothing else."""
    collect(train(program, stream, list(range(seeds)), hyperparameters))


def host_row(data_dir: str | None, seeds: int, updates: int, turns: int) -> tuple[str, ...]:
    """Time runs with progress bar, checkpoints and results on disk, and training alone."""
    benchmark = get_benchmark("split-mnist")
    stream = benchmark.load(data_dir)
    # Loading is not what is measured.
    loaded = benchmark.replace(stream=stream, updates_per_task=updates)
    program = loaded.program(METHOD, stream)
    defaults = loaded.defaults(METHOD)

    def with_host() -> None:
        with tempfile.TemporaryDirectory() as out:
            gainjax.run(loaded, [METHOD.name], seeds, out=out, progress=True, threads=1)

    alone = partial(train_all, program, stream, seeds, defaults)
    times = in_turns({"train": alone, "run": with_host}, turns)
    seconds = medians(times)
    ratio = paired_ratio(times, "run", "train")
    return (
        f"{seeds} seeds, {updates * len(stream.task_end)} updates",
        f"{seconds['train']:.2f}",
        f"{seconds['run']:.2f}",
        f"{100 * (ratio - 1):+.1f} %",
    )


def child(name: str, data_dir: str | None, seeds: int, updates: int) -> None:
    """Print what a fresh process needs: seconds of compilation, and peak memory of a run in GB."""
    benchmark = get_benchmark(name).replace(updates_per_task=1)
    stream = jax.device_put(benchmark.load(data_dir))
    program, defaults = benchmark.program(METHOD, stream), benchmark.defaults(METHOD)

    run = partial(train_all, program, stream, seeds, defaults)
    first, second = (timeit.timeit(run, number=1) for _ in range(2))
    del stream, run
    with tempfile.TemporaryDirectory() as out:
        gainjax.run(
            name, [METHOD.name], seeds, data_dir=data_dir, out=out, updates_per_task=updates
        )
    print(json.dumps({"compile": first - second, "memory": peak_memory()}))


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200, help="bare steps per turn")
    parser.add_argument("--step-turns", type=int, default=31)
    parser.add_argument("--updates", type=int, default=60, help="per task, of whole runs")
    parser.add_argument("--turns", type=int, default=3, help="of whole runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    use_cores(given.cores)
    if given.child:
        return child(given.child, given.data_dir, given.seeds, given.updates)

    print(f"\n**The gain**: bare steps, batch {given.batch_size}, {given.step_turns} turns\n")
    header = ("optimizer", "us per step", "with gain", "added")
    print(table(header, gain_rows(given.batch_size, given.steps, given.step_turns)), flush=True)

    print("\n**Compilation and memory**, in a fresh process\n")
    rows = []
    for name in ("split-mnist", "rotated-mnist"):
        options = ["--child", name, "--cores", given.cores, "--seeds", given.seeds, "--updates", 20]
        options += ["--data-dir", given.data_dir] if given.data_dir else []
        found = fresh_process(__file__, *options)
        rows.append((name, given.seeds, f"{found['compile']:.1f}", f"{found['memory']:.2f}"))
    print(table(("benchmark", "seeds", "compilation, s", "peak memory, GB"), rows), flush=True)

    start = time.perf_counter()
    import orbax.checkpoint  # noqa: F401

    imported = time.perf_counter() - start
    print(f"\n**Progress, checkpoints, results**: split-mnist, {given.turns} turns; not counted:")
    print(f"{imported:.1f} s to import Orbax before the first checkpoint of a process\n")
    row = host_row(given.data_dir, given.seeds, given.updates, given.turns)
    print(table(("run", "training alone, s", "with all, s", "added"), [row]))
    print("\n" + settings("jax", "jaxlib", "optax"))
    return None


if __name__ == "__main__":
    main()
