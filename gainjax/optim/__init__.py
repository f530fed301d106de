"""Optax transformations: gain modulation, weight averaging for evaluation, and controls."""
