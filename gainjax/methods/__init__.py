"""Training methods: Optax transformations with named hyperparameters, and their registry."""

from gainjax.methods.averages import averaged
from gainjax.methods.method import TRACE, Hyperparameters, Method, Range, schedule
from gainjax.methods.registry import (
    METHODS,
    as_method,
    as_methods,
    get_method,
    register,
)

__all__ = [
    "METHODS",
    "TRACE",
    "Hyperparameters",
    "Method",
    "Range",
    "as_method",
    "as_methods",
    "averaged",
    "get_method",
    "register",
    "schedule",
]
