"""Transformations of Optax: gain modulation, averaging for evaluation, and controls."""
