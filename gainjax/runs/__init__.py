"""Runs by name: benchmarks, settings, execution, and the storage of unfinished runs."""
