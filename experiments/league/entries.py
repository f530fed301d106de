"""The participants: for each method, the seven settings for its tuning. Add an entry to add one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.league.cosine import with_cosine_head
from gainjax import Benchmark
from gainjax.methods import METHODS

Grid = Mapping[str, Sequence[float]]


class Entry(NamedTuple):
    """A method in the league."""

    method: str
    """Its name in the registry."""
    grids: tuple[Grid, ...]
    """The tuning grid: products of values, seven settings in all."""
    forward: int = 1
    """Forward passes over the batch per update."""
    backward: int = 1
    """Backward passes per update."""
    memory: int = 0
    """Copies of the weights that it keeps in addition to them."""
    variant: str = ""
    """What follows its name in the league, where it runs on another network."""
    on: Callable[[Benchmark], Benchmark] | None = None
    """That network: the benchmark with it."""

    @property
    def name(self) -> str:
        """Its name in the league."""
        return self.method + self.variant

    @property
    def settings(self) -> list[dict[str, float]]:
        """All settings."""
        return [dict(setting) for grid in self.grids for setting in _product(grid)]


def _product(grid: Grid) -> Iterator[dict[str, float]]:
    if not grid:
        yield {}
        return
    (name, values), *rest = grid.items()
    for value in values:
        for others in _product(dict(rest)):
            yield {name: value, **others}


def _rates(*rates: float) -> tuple[Grid, ...]:
    return ({"learning_rate": rates},)


def _rates_and(
    name: str,
    one: float,
    rates: Sequence[float],
    other: float,
    fewer: Sequence[float],
    **fixed: float,
) -> tuple[Grid, ...]:
    """Return learning rates at one value of another number, and fewer at a second one."""
    more = {key: (value,) for key, value in fixed.items()}
    return (
        {"learning_rate": rates, name: (one,), **more},
        {"learning_rate": fewer, name: (other,), **more},
    )


def _with_cosine_head(entry: Entry) -> Entry:
    return entry._replace(variant="+cosine-head", on=with_cosine_head)


_OF_SGD = (0.03, 0.1, 0.2, 0.3)
_OF_MOMENTUM = (0.003, 0.01, 0.03, 0.1)
_OF_ADAM = (0.0003, 0.001, 0.003, 0.01)
_OF_GAIN = (0.003, 0.01, 0.02, 0.03)

# These compete with both heads.
_SGD = Entry("sgd", _rates(0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5))
_SGD_EMA = Entry(
    "sgd-ema",
    _rates_and("average_decay", 0.8, (0.1, 0.2, 0.3, 0.5), 0.9, (0.2, 0.3, 0.5)),
    memory=1,
)
_MSGD_EMA = Entry(
    "msgd-ema",
    _rates_and("average_decay", 0.9, (0.003, 0.01, 0.03, 0.06), 0.95, (0.01, 0.03, 0.06)),
    memory=2,
)
_ADAGRAD_EMA = Entry(
    "adagrad-ema",
    _rates_and("average_decay", 0.8, (0.003, 0.01, 0.02, 0.03), 0.9, (0.01, 0.02, 0.03)),
    memory=2,
)

ENTRIES = (
    Entry("ngm-sgd", _rates_and("sensitivity", 0.4, _OF_GAIN, 0.8, (0.003, 0.01, 0.02))),
    _SGD,
    Entry("msgd", _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.03, 0.1, 0.2)), memory=1),
    Entry("adam", _rates_and("b1", 0.9, _OF_ADAM, 0.5, (0.0003, 0.001, 0.003)), memory=2),
    # Averaging for evaluation.
    Entry(
        "fixed-gain-ema",
        _rates_and(
            "average_decay", 0.8, (0.01, 0.02, 0.03, 0.05), 0.9, (0.02, 0.03, 0.05), level=2.5
        ),
        memory=1,
    ),
    _ADAGRAD_EMA,
    Entry(
        "ngm-sgd-ema",
        _rates_and("average_decay", 0.8, (0.01, 0.02, 0.03, 0.05), 0.9, (0.02, 0.03, 0.05)),
        memory=1,
    ),
    Entry(
        "ngm-sgd-slow-ema",
        _rates_and("average_decay", 0.8, (0.01, 0.02, 0.03, 0.05), 0.9, (0.02, 0.03, 0.05)),
        memory=1,
    ),
    _SGD_EMA,
    _MSGD_EMA,
    Entry(
        "adam-ema", _rates_and("average_decay", 0.9, _OF_ADAM, 0.95, (0.001, 0.003, 0.01)), memory=3
    ),
    Entry(
        "schedule-free", _rates_and("b1", 0.9, (0.1, 0.3, 1.0, 3.0), 0.7, (0.1, 0.3, 1.0)), memory=1
    ),
    # The level of the gain alone.
    Entry("fixed-gain", _rates_and("level", 2.0, _OF_GAIN, 2.5, (0.003, 0.01, 0.02))),
    Entry("ramped-gain", _rates_and("level", 2.0, _OF_GAIN, 2.5, (0.003, 0.01, 0.02))),
    Entry("temperature", _rates_and("level", 8.0, _OF_GAIN, 16.0, (0.003, 0.01, 0.02))),
    Entry("larger-init", _rates_and("level", 2.0, _OF_SGD, 2.5, (0.03, 0.1, 0.2))),
    Entry("entropy-lr", _rates_and("sensitivity", 0.4, _OF_MOMENTUM, 0.8, (0.003, 0.01, 0.03))),
    Entry(
        "ngm-msgd",
        _rates_and("sensitivity", 0.2, (0.0003, 0.001, 0.003, 0.01), 0.4, (0.0003, 0.001, 0.003)),
        memory=1,
    ),
    Entry(
        "ngm-adam",
        _rates_and("sensitivity", 0.2, (0.0001, 0.0003, 0.001, 0.003), 0.4, (0.0003, 0.001, 0.003)),
        memory=2,
    ),
    Entry(
        "ngm-centralized-sgd", _rates_and("sensitivity", 0.4, _OF_GAIN, 0.8, (0.003, 0.01, 0.02))
    ),
    # Other steps.
    Entry("centralized-sgd", _rates(0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)),
    Entry("adagrad", _rates(0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1), memory=1),
    Entry(
        "rmsprop", _rates_and("smoothing", 0.99, _OF_ADAM, 0.9, (0.0003, 0.001, 0.003)), memory=1
    ),
    Entry(
        "adamw", _rates_and("weight_decay", 0.01, _OF_ADAM, 0.1, (0.0003, 0.001, 0.003)), memory=2
    ),
    Entry("nesterov", _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.03, 0.1, 0.2)), memory=1),
    Entry(
        "lion",
        _rates_and("b1", 0.9, (0.0001, 0.0003, 0.001, 0.003), 0.5, (0.0001, 0.0003, 0.001)),
        memory=1,
    ),
    Entry(
        "signum",
        _rates_and("momentum", 0.9, (0.0001, 0.0003, 0.001, 0.003), 0.5, (0.0001, 0.0003, 0.001)),
        memory=1,
    ),
    Entry(
        "normalized-sgd",
        _rates_and("momentum", 0.9, (0.003, 0.01, 0.03, 0.1), 0.5, (0.01, 0.03, 0.1)),
        memory=1,
    ),
    Entry(
        "polyak",
        (
            {"max_learning_rate": (0.03, 0.1, 0.3, 1.0), "scaling": (1.0,)},
            {"max_learning_rate": (0.1, 0.3, 1.0), "scaling": (0.3,)},
        ),
    ),
    Entry(
        "momo", _rates_and("momentum", 0.9, (0.01, 0.03, 0.1, 0.3), 0.5, (0.03, 0.1, 0.3)), memory=1
    ),
    Entry(
        "muon",
        _rates_and("momentum", 0.95, (0.0003, 0.001, 0.003, 0.01), 0.8, (0.001, 0.003, 0.01)),
        memory=1,
    ),
    # Clips.
    Entry("clip-norm", _rates_and("max_norm", 1.0, _OF_MOMENTUM, 0.3, (0.01, 0.03, 0.1)), memory=1),
    Entry("agc", _rates_and("clipping", 0.03, _OF_MOMENTUM, 0.1, (0.01, 0.03, 0.1)), memory=1),
    Entry("adagc", _rates_and("factor", 1.05, _OF_MOMENTUM, 1.5, (0.01, 0.03, 0.1)), memory=1),
    Entry("zclip", _rates_and("threshold", 2.5, _OF_MOMENTUM, 1.0, (0.01, 0.03, 0.1)), memory=1),
    Entry(
        "adam-rms-clip", _rates_and("max_rms", 1.0, _OF_ADAM, 0.3, (0.001, 0.003, 0.01)), memory=2
    ),
    # Other losses.
    Entry(
        "unseen-masked", _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.03, 0.1, 0.2)), memory=1
    ),
    # Class means of features.
    Entry(
        "msgd-ncm", _rates_and("mean_decay", 0.9, _OF_MOMENTUM, 0.5, (0.01, 0.03, 0.1)), memory=1
    ),
    Entry("ngm-sgd-ncm", _rates_and("sensitivity", 0.4, _OF_GAIN, 0.8, (0.003, 0.01, 0.02))),
    # Another head.
    Entry(
        "msgd",
        _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.01, 0.03, 0.1)),
        memory=1,
        variant="+cosine-head",
        on=with_cosine_head,
    ),
    _with_cosine_head(_SGD),
    _with_cosine_head(_ADAGRAD_EMA),
    _with_cosine_head(_MSGD_EMA),
    _with_cosine_head(_SGD_EMA),
    # Flat minima.
    Entry("sam", _rates_and("radius", 0.05, _OF_SGD, 0.2, (0.1, 0.2, 0.3)), forward=2, backward=2),
    Entry(
        "c-flat", _rates_and("radius", 0.05, _OF_SGD, 0.2, (0.1, 0.2, 0.3)), forward=4, backward=4
    ),
    Entry(
        "entropy-sgd",
        _rates_and("inner_rate", 0.03, _OF_SGD, 0.1, (0.1, 0.2, 0.3)),
        forward=5,
        backward=5,
        memory=2,
    ),
    # Learning rates that begin again.
    Entry(
        "adam-warmup", _rates_and("length", 50.0, _OF_ADAM, 200.0, (0.001, 0.003, 0.01)), memory=2
    ),
    Entry(
        "warmup-at-surprise",
        _rates_and("length", 50.0, _OF_MOMENTUM, 20.0, (0.01, 0.03, 0.1)),
        memory=1,
    ),
    # Oracles: informed of task changes.
    Entry(
        "warmup-at-switch",
        _rates_and("length", 50.0, _OF_MOMENTUM, 20.0, (0.01, 0.03, 0.1)),
        memory=1,
    ),
    Entry(
        "loss-smoothing",
        _rates_and("length", 50.0, _OF_MOMENTUM, 150.0, (0.01, 0.03, 0.1)),
        backward=1,
        memory=1,
    ),
    Entry(
        "a-gem",
        _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.03, 0.1, 0.2)),
        backward=2,
        memory=1,
    ),
    Entry(
        "class-mean-init",
        _rates_and("scale", 1.0, _OF_MOMENTUM, 0.3, (0.01, 0.03, 0.1)),
        memory=1,
    ),
    Entry(
        "layerwise-proximal",
        _rates_and("strength", 1.0, _OF_MOMENTUM, 10.0, (0.01, 0.03, 0.1)),
        forward=2,
        memory=1,
    ),
    Entry("msgd-reset", _rates_and("momentum", 0.9, _OF_MOMENTUM, 0.5, (0.03, 0.1, 0.2)), memory=1),
    Entry("adam-reset", _rates_and("b1", 0.9, _OF_ADAM, 0.5, (0.0003, 0.001, 0.003)), memory=2),
    Entry(
        "adam-time-reset", _rates_and("b1", 0.9, _OF_ADAM, 0.5, (0.0003, 0.001, 0.003)), memory=2
    ),
    Entry("bump-at-switch", _rates_and("height", 1.0, _OF_SGD, 2.0, (0.03, 0.1, 0.2))),
)

BY_NAME = {entry.name: entry for entry in ENTRIES}


def is_oracle(name: str) -> bool:
    """Whether a method in the league is told when the task changes."""
    return name in BY_NAME and METHODS[BY_NAME[name].method].needs_boundary
