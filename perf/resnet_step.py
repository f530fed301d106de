"""Time a training step of the slim ResNet-18 against PyTorch's, on the same cores.

    python perf/resnet_step.py

Needs ``torch`` beside gainjax. One step is forward and backward pass with batch normalization and
an update by SGD with momentum. gainjax runs the engine's own step in a compiled loop; PyTorch runs
eagerly, in both memory formats. They take turns, so that all see the same machine; what counts is
the median of the ratios of times of the same turn, which should be at most 1.5.
"""

import argparse
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from timing import in_turns, paired_ratio, settings, table, use_cores
from torch import nn

from gainjax.models import SlimResNet18, from_linen
from gainjax.training import CLASSIFICATION, TrainState
from gainjax.training.step import Batch, train_step

OURS = "gainjax"


class Block(nn.Module):
    """Basic residual block."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(features)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != features:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, features, 1, stride, bias=False), nn.BatchNorm2d(features)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images of the next block, shape (N, features, H', W')."""
        y = self.norm1(self.conv1(x)).relu_()
        return (self.norm2(self.conv2(y)) + self.shortcut(x)).relu_()


def torch_network(width: int) -> nn.Module:
    """Return the same network in PyTorch."""
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
    features = width
    for stage in range(4):
        for block in range(2):
            inputs, features = features, width * 2**stage
            layers.append(Block(inputs, features, 2 if stage > 0 and block == 0 else 1))
    head = nn.Linear(features, 10, bias=False)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def torch_run(
    images: np.ndarray, labels: np.ndarray, width: int, memory_format: torch.memory_format
) -> Callable[[int], object]:
    """Return a function that trains a PyTorch network for some updates."""
    model = torch_network(width).to(memory_format=memory_format)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    y = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def run(updates: int) -> None:
        for _ in range(updates):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return run


def gainjax_run(images: np.ndarray, labels: np.ndarray, width: int) -> Callable[[int], object]:
    """Return a function that trains the network of gainjax for some updates, in one program."""
    batch = Batch(jnp.asarray(images), jnp.asarray(labels), jax.random.key(0))
    model = from_linen(SlimResNet18(width=width))
    optimizer = optax.with_extra_args_support(optax.sgd(0.01, momentum=0.9))
    params, model_state = jax.jit(model.init)(batch.key, batch.inputs[:1])
    state = TrainState(params, model_state, optimizer.init(params))

    @partial(jax.jit, static_argnums=2)
    def program(state: TrainState, batch: Batch, updates: int) -> TrainState:
        def body(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
            state, info = train_step(state, batch, model, CLASSIFICATION, optimizer)
            return state, info.train_loss

        return jax.lax.scan(body, state, length=updates)

    return lambda updates: jax.block_until_ready(program(state, batch, updates))


def main() -> None:
    """Print the times of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--width", type=int, default=20, help="channels of the first stage")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--updates", type=int, default=5, help="updates per turn")
    parser.add_argument("--turns", type=int, default=21)
    arguments = parser.parse_args()

    torch.set_num_threads(use_cores(arguments.cores))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((arguments.batch_size, 32, 32, 3), dtype=np.float32)
    labels = rng.integers(0, 10, arguments.batch_size, dtype=np.int32)
    data = (images, labels, arguments.width)
    runs = {
        OURS: gainjax_run(*data),
        "PyTorch": torch_run(*data, torch.contiguous_format),
        "PyTorch, channels last": torch_run(*data, torch.channels_last),
    }
    updates = arguments.updates
    times = in_turns({name: partial(run, updates) for name, run in runs.items()}, arguments.turns)

    print(f"batch {arguments.batch_size}, width {arguments.width}, {settings('jax', 'torch')}\n")
    rows = []
    for name, values in times.items():
        low, middle, high = (value / updates for value in np.quantile(values, [0, 0.5, 1]))
        ratio = paired_ratio(times, OURS, name)
        rows.append((name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{ratio:.2f}"))
    print(table(("side", "s per step", "turns", "gainjax's time / this"), rows))


if __name__ == "__main__":
    main()
