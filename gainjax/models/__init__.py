"""Flax models whose layers can carry a gain."""

from gainjax.models.mlp import MLP

__all__ = ["MLP"]
