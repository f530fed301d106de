"""Named benchmarks: a data set, a stream of tasks, a model and a protocol."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flax import linen as nn

from gainjax.data import streams
from gainjax.data.augment import crop_and_flip
from gainjax.data.sources import load_source
from gainjax.data.streams import Stream
from gainjax.gain import GainDynamics
from gainjax.methods import METHODS, Method, get_method, lookup
from gainjax.models.layers import Modulate
from gainjax.models.mlp import MLP
from gainjax.models.resnet import SlimResNet18
from gainjax.training import Program, Protocol
from gainjax.training.program import Augment, Form, ModelFactory

_PAPER = "Rodriguez-Garcia et al., arXiv 2507.14056"


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A named benchmark.

    Args:
        name: Name in commands and results.
        summary: One line that says what it is.
        source: Where it is described.
        data: Name of the data set, as :func:`gainjax.data.load_source` knows it.
        num_classes: Number of outputs of the model.
        make_stream: Makes the stream of tasks from the data set, with a keyword ``eval_examples``.
        make_model: Makes the model from the number of classes, the gain dynamics or None, and which
            layers have a gain.
        protocol: How to train and evaluate.
        hyperparameters: Values that differ from the methods' defaults: by name for every method
            that has them, or by method's name for that method.
        modulate: Which layers have a gain: "all", or the "head" alone.
        augment: Changes a batch of raw training images, given a key; or None.

    Raises:
        ValueError: If no method has a hyper-parameter of that name, or there is no such method.
    """

    name: str
    summary: str
    source: str
    data: str
    num_classes: int
    make_stream: Callable[..., Stream]
    make_model: ModelFactory
    protocol: Protocol
    hyperparameters: Mapping[str, Any]
    modulate: Modulate = "all"
    augment: Augment | None = None

    def __post_init__(self) -> None:
        every = {key for method in METHODS.values() for key in method.hyperparameters}
        for name, value in self.hyperparameters.items():
            is_own = isinstance(value, Mapping)
            known = get_method(name).hyperparameters if is_own else every
            for key in value if is_own else (name,):
                if key not in known:
                    raise ValueError(
                        f"hyperparameters of benchmark {self.name!r} must be some of "
                        f"{', '.join(sorted(known))}: got {key!r}"
                    )

    def load(self, data_dir: str | Path | None = None, eval_examples: int | None = None) -> Stream:
        """Load the data and make the stream of tasks.

        Args:
            data_dir: Where the data are, as for :func:`gainjax.data.load_source`.
            eval_examples: Size of a fixed random subset of each task's test set, or None for all.
        """
        return self.make_stream(load_source(self.data, data_dir), eval_examples=eval_examples)

    def defaults(self, method: str) -> dict[str, float]:
        """Return all hyper-parameters of a method on this benchmark."""
        values = dict(get_method(method).hyperparameters)
        for overrides in (self.hyperparameters, self.hyperparameters.get(method, {})):
            values |= {name: overrides[name] for name in values if name in overrides}
        return values

    def described(self, modulate: Modulate | None = None) -> dict[str, Any]:
        """Return what tells this benchmark from another one of its name, besides data and protocol.

        Args:
            modulate: Which layers have a gain, or None for the benchmark's choice.
        """
        model = repr(self.make_model(self.num_classes, None, modulate or self.modulate))
        model = re.sub(r" at 0x[0-9a-f]+", "", model)  # addresses of functions among its fields
        return {
            "benchmark": self.name,
            "model": " ".join(model.split()),
            "augment": self.augment and getattr(self.augment, "__qualname__", "unnamed"),
        }

    def program(
        self,
        method: Method,
        *,
        form: Form = "optimizer",
        modulate: Modulate | None = None,
        **protocol: Any,
    ) -> Program:
        """Return the program that trains a method, with fields of the protocol replaced."""
        return Program(
            self.make_model,
            self.num_classes,
            method,
            dataclasses.replace(self.protocol, **protocol),
            form,
            modulate or self.modulate,
            self.augment,
        )


def _mlp(hidden: int, scales: tuple[float, ...]) -> ModelFactory:
    def make_model(
        num_classes: int, dynamics: GainDynamics | None, modulate: Modulate
    ) -> nn.Module:
        return MLP((hidden, hidden, num_classes), scales, dynamics=dynamics, modulate=modulate)

    return make_model


def _resnet(width: int) -> ModelFactory:
    def make_model(
        num_classes: int, dynamics: GainDynamics | None, modulate: Modulate
    ) -> nn.Module:
        return SlimResNet18(num_classes, width, dynamics, modulate)

    return make_model


def _rates(by_method: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {method: {"learning_rate": rate} for method, rate in by_method.items()}


_MNIST_MLP = _mlp(400, (0.01, 0.01, 0.05))  # the paper's
_DIGITS_MLP = _mlp(200, (0.05, 0.05, 0.05))
_PAPER_RESNET = _resnet(20)
_PAPER_IMAGES = Protocol(updates_per_task=400, batch_size=256, eval_batch_size=500)
_MNIST: dict[str, Any] = {
    "source": _PAPER,
    "data": "mnist",
    "num_classes": 10,
    "make_model": _MNIST_MLP,
}
_IMAGES: dict[str, Any] = {"make_model": _PAPER_RESNET, "modulate": "head"}
_CIFAR: dict[str, Any] = {
    **_IMAGES,
    "protocol": _PAPER_IMAGES,
    "hyperparameters": {"sensitivity": 0.2},
    "augment": crop_and_flip,
}
# Found by `python -m experiments digits-learning-rates`, the same search for every method.
_SPLIT_DIGITS_RATES = {"ngm-sgd": 0.01, "sgd": 0.1, "msgd": 0.01, "adam": 0.001}
_OTHER_DIGITS_RATES = {"ngm-sgd": 0.03, "sgd": 0.3, "msgd": 0.03, "adam": 0.003}
_DIGITS: dict[str, Any] = {
    "source": "ours, for scikit-learn's embedded digits",
    "data": "digits",
    "num_classes": 10,
    "make_model": _DIGITS_MLP,
}

_ENTRIES = (
    Benchmark(
        name="split-digits",
        summary="5 tasks of 2 digits, 8x8 images that ship with scikit-learn",
        make_stream=streams.split,
        protocol=Protocol(updates_per_task=200, batch_size=64),
        hyperparameters=_rates(_SPLIT_DIGITS_RATES),
        **_DIGITS,
    ),
    Benchmark(
        name="permuted-digits",
        summary="the digits, then 2 fixed permutations of their pixels",
        make_stream=streams.permuted,
        protocol=Protocol(updates_per_task=200, batch_size=64),
        hyperparameters=_rates(_OTHER_DIGITS_RATES),
        **_DIGITS,
    ),
    Benchmark(
        name="rotated-digits",
        summary="the digits at 0, 80 and 160 degrees",
        make_stream=streams.rotated,
        protocol=Protocol(updates_per_task=200, batch_size=64),
        hyperparameters=_rates(_OTHER_DIGITS_RATES),
        **_DIGITS,
    ),
    Benchmark(
        name="split-mnist",
        summary="5 tasks of 2 digits, class-incremental",
        make_stream=streams.split,
        protocol=Protocol(updates_per_task=200, batch_size=128),
        hyperparameters={"sensitivity": 0.4},
        **_MNIST,
    ),
    Benchmark(
        name="permuted-mnist",
        summary="MNIST, then 2 fixed permutations of its pixels, domain-incremental",
        make_stream=streams.permuted,
        protocol=Protocol(updates_per_task=200, batch_size=128, eval_batch_size=2500),
        hyperparameters={"sensitivity": 0.3},
        **_MNIST,
    ),
    Benchmark(
        name="rotated-mnist",
        summary="MNIST at 0, 80 and 160 degrees, domain-incremental",
        make_stream=streams.rotated,
        protocol=Protocol(updates_per_task=400, batch_size=128, eval_batch_size=2500),
        hyperparameters={"sensitivity": 0.5},
        **_MNIST,
    ),
    Benchmark(
        name="split-cifar10",
        summary="5 tasks of 2 classes, class-incremental, slim ResNet-18 modulated at its head",
        source=_PAPER,
        data="cifar10",
        num_classes=10,
        make_stream=streams.split,
        **_CIFAR,
    ),
    Benchmark(
        name="split-cifar10-small",
        summary="Split CIFAR-10 for a CPU: 8 channels, 100 updates of 64 images per task",
        source="ours, reduced from the paper's",
        data="cifar10",
        num_classes=10,
        make_stream=streams.split,
        **_CIFAR
        | {
            "make_model": _resnet(8),
            "protocol": Protocol(
                updates_per_task=100,
                batch_size=64,
                eval_every=2,
                seen_every=20,
                eval_batch_size=500,
            ),
        },
    ),
    Benchmark(
        name="domain-cifar100",
        summary="aquatic mammals, fish, flowers with fine labels: the authors' protocol",
        source=f"{_PAPER} v1; with 100 outputs, in truth class-incremental",
        data="cifar100",
        num_classes=100,
        make_stream=partial(streams.domain_cifar100, protocol="authors"),
        **_CIFAR,
    ),
    Benchmark(
        name="domain-cifar100-superclasses",
        summary="20 superclasses, each task brings a new fine class of each: domain-incremental",
        source="protocol of Hess et al. 2023",
        data="cifar100",
        num_classes=20,
        make_stream=partial(streams.domain_cifar100, protocol="domain-incremental"),
        **_CIFAR,
    ),
    Benchmark(
        name="split-mini-imagenet",
        summary="5 tasks of 10 classes of 84x84 images from a folder or .npz of yours",
        source=f"{_PAPER}; 800 updates per task and 50 outputs are assumed",
        data="mini-imagenet",
        num_classes=50,
        make_stream=partial(streams.split, classes_per_task=10, num_tasks=5),
        protocol=dataclasses.replace(_PAPER_IMAGES, updates_per_task=800, eval_batch_size=100),
        hyperparameters={"sensitivity": 0.1},
        **_IMAGES,
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def get_benchmark(name: str) -> Benchmark:
    """Return a registered benchmark.

    Args:
        name: Name of the benchmark, as ``gainjax list`` shows it.

    Returns:
        The registry's entry.

    Raises:
        ValueError: If there is no such benchmark; names the nearest one.

    Example:
        >>> get_benchmark("split-mnist").protocol.updates_per_task
        200
    """
    return lookup(BENCHMARKS, "benchmark", name)
