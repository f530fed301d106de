"""Time whole runs of NGM-SGD against the best PyTorch loop that we can write, on the same cores.

    python perf/versus_torch.py --data-dir DIR
    python perf/versus_torch.py --data-dir DIR --benchmarks rotated-mnist --updates 4 --turns 3

Needs ``torch`` beside gainjax. Both sides follow the benchmark's protocol: batches with replacement
from the pooled images, forward and backward pass, SGD on the raw weights, entropy, gain, and after
every update loss and accuracy on the full test set of task 1. PyTorch keeps normalized images in
memory, draws all batches of a task at once, never waits for a number, and evaluates the test set in
one pass. Its variants differ in who takes the gradient, who multiplies matrices, whether seeds are
batched and whether ``torch.compile`` is used. First, they must give gainjax's curves on gainjax's
batches. Then all sides take turns; what counts is time per seed and update, and arithmetic per
second against that of the bare matrix products of an update, in the same turns.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import in_turns, medians, paired_ratio, settings, table, use_cores
from torch_mlp import Multiply, TorchData, TorchRun, Weights, onednn, onednn_opaque

from gainjax.methods import get_method
from gainjax.runs.benchmarks import get_benchmark
from gainjax.training import Record, collect, make_layout, train
from gainjax.training.loop import reproducible
from gainjax.training.program import BATCH, init_runs, one_input, seed_key
from gainjax.training.sampling import sample

METHOD = get_method("ngm-sgd")
TOLERANCE = 5e-3  # a unit whose input is 0 but for rounding may join in a gradient or not
BARE = "JAX, products only"
HEADER = (
    "side",
    "ms per seed and update",
    "range",
    "GFLOP/s",
    "of the rate of JAX's products",
    "gainjax's time / this",
)


def product_shapes(weights: Weights, batch: int, test: int) -> list[tuple[int, int, int]]:
    """Return m, k, n of the matrix products of one update with its evaluation, for one seed."""
    layers = [w.shape[:0:-1] for w in weights]  # inputs, outputs
    forward = [(batch, k, n) for k, n in layers]
    outer = [(k, batch, n) for k, n in layers]
    inner = [(batch, n, k) for k, n in layers[1:]]  # no gradient of the images
    return forward + outer + inner + [(test, k, n) for k, n in layers]


def bare_products(
    shapes: list[tuple[int, int, int]], repeats: int, multiply: Multiply | None
) -> Callable[[], object]:
    """Return a function that only does these products: in JAX, or by `multiply` in PyTorch."""
    rng = np.random.default_rng(0)
    pairs = [(rng.random((m, k), np.float32), rng.random((k, n), np.float32)) for m, k, n in shapes]
    if multiply is None:
        # One program, so that nothing is allocated between products. The right factors come in
        # turn from a stack of a few, or the compiler would move the products out of the loop.
        stacks = jax.device_put([np.stack([right] * 2) for _, right in pairs])
        lefts = jax.device_put([left for left, _ in pairs])

        @jax.jit
        def program(lefts: list[jax.Array], stacks: list[jax.Array]) -> list[jax.Array]:
            def body(i: jax.Array, _: list[jax.Array]) -> list[jax.Array]:
                return [x @ stack[i % 2] for x, stack in zip(lefts, stacks, strict=True)]

            return jax.lax.fori_loop(0, repeats, body, [jnp.zeros((m, n)) for m, _, n in shapes])

        return lambda: jax.block_until_ready(program(lefts, stacks))
    # Right factors lie as layers keep their weights, (outputs, inputs).
    tensors = [(torch.from_numpy(a), torch.from_numpy(b.T.copy()).mT) for a, b in pairs]
    return lambda: [multiply(a, b) for _ in range(repeats) for a, b in tensors]


def measure(name: str, data_dir: str | None, seeds: int, updates: int, turns: int) -> None:
    """Time one benchmark with some seeds and print a table."""
    torch._dynamo.reset()  # after eight compilations of a function it would run it eagerly
    benchmark = get_benchmark(name).replace(
        updates_per_task=updates, seen_every=updates, dense_updates=0
    )
    hyperparameters = benchmark.defaults(METHOD)
    stream = jax.device_put(benchmark.load(data_dir))
    # Accuracy on all tasks seen so far is measured at the end of each task, on both sides.
    program = benchmark.program(METHOD, stream)
    data = TorchData.of(stream)
    batch, total = program.protocol.batch_size, updates * len(data.ends)
    per_run = {k: jnp.full(seeds, v) for k, v in hyperparameters.items() if v is not None}
    every_seed, example = np.arange(seeds, dtype=np.uint32), one_input(program, stream)
    with reproducible():
        states = init_runs(program, make_layout(), every_seed, per_run, example)
    kernels = [states.params[f"layer_{i}"]["kernel"] for i in range(3)]
    weights = [torch.from_numpy(np.array(kernel)).mT.contiguous() for kernel in kernels]

    def draw(seed: int, task: int, end: int) -> torch.Tensor:
        return torch.randint(end, (updates, batch))

    def draw_as_gainjax(seed: int, task: int, end: int) -> torch.Tensor:
        key = seed_key(seed, BATCH)
        keys = [jax.random.fold_in(key, task * updates + i + 1) for i in range(updates)]
        return torch.from_numpy(np.array([sample(k, stream, task, batch) for k in keys])).long()

    def train_gainjax() -> Record:
        return collect(train(program, stream, list(range(seeds)), hyperparameters))

    sides = {
        "PyTorch": TorchRun(data, hyperparameters, by_hand=False),
        "PyTorch, compiled": TorchRun(data, hyperparameters, compiled=True),
        "PyTorch, seeds batched": TorchRun(data, hyperparameters, batched=True),
        "PyTorch, oneDNN, compiled": TorchRun(data, hyperparameters, onednn_opaque, compiled=True),
    }
    if seeds == 1:
        del sides["PyTorch, seeds batched"]
    records = train_gainjax()
    training = (records.train_loss, records.uncertainty, records.gain)
    expected = np.stack([*training, records.accuracy[..., 0], records.eval_loss[..., 0]], axis=-1)
    difference = 0.0
    for run in sides.values():
        own = run(weights, draw_as_gainjax).numpy()
        difference = max(difference, np.abs(own - expected).mean())
    if difference > TOLERANCE:
        raise SystemExit(f"{name}: the curves of the two sides differ by {difference}")

    shapes = product_shapes(weights, batch, len(data.tests[0][1]))
    flops = sum(2 * m * k * n for m, k, n in shapes)
    images = sum(len(y) for task in range(len(data.tests)) for _, y in data.tests[: task + 1])
    flops_of_run = total * flops + images * sum(2 * w[0].numel() for w in weights)
    repeats = math.ceil(total * seeds / 4)
    bare = {
        BARE: bare_products(shapes, repeats, None),
        "PyTorch, MKL products only": bare_products(shapes, repeats, torch.matmul),
        "PyTorch, oneDNN products only": bare_products(shapes, repeats, onednn),
    }
    runs = {side: partial(run, weights, draw) for side, run in sides.items()}
    times = in_turns({"gainjax": train_gainjax, **runs, **bare}, turns)
    count = {side: repeats if side in bare else total * seeds for side in times}
    per_update = {s: [t / count[s] for t in values] for s, values in times.items()}
    work = {side: flops if side in bare else flops_of_run / total for side in times}  # per update
    print(
        f"\n**{name}, {seeds} seed{'s'[: seeds > 1]}**: {total} updates per seed and turn,", end=" "
    )
    print(f"{turns} turns, {flops / 1e9:.3f} GFLOP per seed and update;", end=" ")
    print(f"curves of the two sides differ by {difference:.0e} on average\n")
    rows = []
    for side, seconds in medians(per_update).items():
        low, high = min(per_update[side]), max(per_update[side])
        fraction = paired_ratio(per_update, BARE, side) * work[side] / flops
        ratio = "" if side in bare else f"{paired_ratio(per_update, 'gainjax', side):.2f}"
        rate = work[side] / seconds / 1e9
        span = f"{low * 1e3:.2f} to {high * 1e3:.2f}"
        rows.append((side, f"{seconds * 1e3:.2f}", span, f"{rate:.0f}", f"{fraction:.2f}", ratio))
    print(table(HEADER, rows), flush=True)


def main() -> None:
    """Print a table per benchmark and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--benchmarks", nargs="+", default=["split-mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[5, 1])
    parser.add_argument("--updates", type=int, default=10, help="per task and turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(use_cores(arguments.cores))
    for name in arguments.benchmarks:
        for seeds in arguments.seeds:
            measure(name, arguments.data_dir, seeds, arguments.updates, arguments.turns)
    print("\n" + settings("jax", "jaxlib", "torch"))


if __name__ == "__main__":
    main()
