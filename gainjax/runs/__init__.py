"""Runs by name: benchmarks, settings, execution, and what is stored of an unfinished run."""
