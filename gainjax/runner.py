"""Run a benchmark: methods x seeds to one labelled dataset, on disk if wanted."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from gainjax import results
from gainjax.benchmarks import Benchmark, get_benchmark
from gainjax.methods import get_method
from gainjax.progress import progress_bar
from gainjax.training import Chunk, train
from gainjax.training.program import Form

DEFAULT_METHODS = ("ngm-sgd", "sgd", "msgd", "adam")


class DivergenceWarning(UserWarning):
    """The loss of some seeds became NaN or infinite; the others are not affected."""


def run(
    benchmark: str | Benchmark,
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int | Sequence[int] = 5,
    *,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    eval_examples: int | None = None,
    form: Form = "optimizer",
    chunk: int = 100,
    progress: bool = False,
    **protocol: Any,
) -> xr.Dataset:
    """Train methods on a benchmark and return their curves.

    Methods share seeds: for one seed all start from the same weights and see the same batches, so
    that their differences can be paired.

    Args:
        benchmark: Name of a benchmark, or one of your own.
        methods: Names of methods, as ``gainjax list`` shows them.
        seeds: Number of seeds (0, 1, ...), or the seeds themselves.
        data_dir: Where the data are, as for :func:`gainjax.data.load_source`.
        out: Directory to keep the curves in, as ``curves.nc``. If it holds this very run already,
            that is returned; if it holds another one, nothing is touched.
        hyperparameters: Values to use instead of the benchmark's: by name for every method that has
            them, or by method's name for that method, ``{"learning_rate": 0.1, "adam": {...}}``.
        eval_examples: Size of a fixed random subset of each task's test set, or None for all.
        form: Gain in the "optimizer" or in the "model"; the runs are the same.
        chunk: Updates per call of the compiled program.
        progress: Whether to show a progress bar.
        **protocol: Fields of :class:`gainjax.training.Protocol` to replace, ``eval_every=10``.

    Returns:
        The dataset that :mod:`gainjax.results` describes.

    Raises:
        ValueError: If a name or number is wrong, or ``out`` holds another run.
        FileNotFoundError: If the data are not there and cannot be fetched.

    Example:
        >>> curves = run("split-digits", ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> dict(curves.accuracy.sizes)
        {'method': 2, 'seed': 2, 'eval_update': 50, 'eval_task': 1}

    Source:
        Protocol of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    if isinstance(benchmark, str):
        benchmark = get_benchmark(benchmark)
    seeds = _seed_list(seeds)
    settings = resolve_hyperparameters(benchmark, methods, hyperparameters or {})
    programs = {
        name: benchmark.program(get_method(name), form=form, **protocol) for name in methods
    }
    stream = benchmark.load(data_dir, eval_examples)
    ...
