"""Measure and close the stability gap of continual learning in JAX.

The mechanism is imported eagerly. Names that need Flax, xarray or Matplotlib are imported on first
use, so that a project that only needs the optimizer does not pay for them; ``__init__.pyi``
declares them for editors and type checkers.
"""

import importlib
from importlib.metadata import version
from typing import Any

from gainjax.gain import GainDynamics, predictive_entropy, sigmoid_entropy
from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import get_gain, get_gains, reset, slow_params

__version__ = version("gainjax")

_HOME = {
    "BENCHMARKS": "runs.benchmarks",
    "Benchmark": "runs.benchmark",
    "get_benchmark": "runs.benchmarks",
    "GainDense": "models.layers",
    "modulated_mask": "models.layers",
    "METHODS": "methods",
    "Method": "methods",
    "averaged": "methods",
    "averaged_weights": "optim.averaging",
    "get_average": "optim.averaging",
    "get_method": "methods",
    "register": "methods",
    "METRICS": "metrics",
    "register_metric": "metrics",
    "MLP": "models.mlp",
    "TrainState": "train_state",
    "plot_accuracy": "show.plots",
    "plot_curves": "show.plots",
    "plot_frontier": "show.plots",
    "plot_heatmap": "show.plots",
    "report": "pages",
    "concat": "curves",
    "from_curves": "curves",
    "load": "runs.partial",
    "save": "curves",
    "per_seed": "curves",
    "CheckpointWarning": "runs.part_store",
    "DivergenceWarning": "runs.execution",
    "Interrupted": "runs.guard",
    "resume": "runs.resumption",
    "run": "runs.api",
    "sweep": "runs.api",
    "comparison": "show.tables",
    "ranking": "show.tables",
    "table": "show.tables",
}

_ROOMS = (
    "analysis",
    "callbacks",
    "curves",
    "data",
    "methods",
    "metrics",
    "models",
    "nnx",
    "show",
    "statistics",
    "training",
)

__all__ = [
    "GainDynamics",
    "gain_modulation",
    "get_gain",
    "get_gains",
    "ngm_sgd",
    "predictive_entropy",
    "reset",
    "sigmoid_entropy",
    "slow_params",
    *_HOME,
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"gainjax.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gainjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gainjax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
