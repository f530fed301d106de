"""Training methods: Optax transformations with named hyper-parameters, and their registry."""

from gainjax.methods.registry import METHODS, TRACE, Hyperparameters, Method, get_method, lookup

__all__ = ["METHODS", "TRACE", "Hyperparameters", "Method", "get_method", "lookup"]
