"""Networks as pure functions: the model interface, adapters, layers with a gain, and presets.

Modules that need Flax or Equinox are imported on first use.
"""

import importlib
from typing import Any

from gainjax.models.adapt import as_model
from gainjax.models.model import Model, from_functions

_HOME = {
    "from_linen": "linen",
    "from_nnx": "nnx",
    "from_equinox": "equinox",
    "CosineDense": "cosine",
    "GainModule": "layers",
    "GainDense": "layers",
    "GainConv": "layers",
    "modulated_mask": "layers",
    "MLP": "mlp",
    "SlimResNet18": "resnet",
}

__all__ = ["Model", "as_model", "from_functions", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gainjax.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gainjax.models.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
