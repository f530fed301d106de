"""Run a benchmark by name: one setting per method, or a sweep over settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from gainjax.curves import dataset as results
from gainjax.models.layers import Modulate
from gainjax.runs.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from gainjax.runs.execution import train_settings
from gainjax.runs.settings import Setting, resolve_hyperparameters, sweep_settings
from gainjax.runs.store import stored_config
from gainjax.training.layout import Kind
from gainjax.training.program import Form

DEFAULT_METHODS = ("ngm-sgd", "sgd", "msgd", "adam")


def run(
    benchmark: str | Benchmark,
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int | Sequence[int] = 5,
    *,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    eval_examples: int | None = None,
    gain_from: str | Path | None = None,
    form: Form = "optimizer",
    modulate: Modulate | None = None,
    chunk: int = 100,
    layout: Kind | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory: float | None = None,
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
            that is returned, or finished if it was interrupted; if it holds another one, nothing is
            touched. SIGINT and SIGTERM stop such a run at the end of a chunk. Of a benchmark of
            your own, name, data, protocol and the model's fields tell one run from another.
        hyperparameters: Values to use instead of the benchmark's: by name for every method that has
            them, or by method's name for that method, ``{"learning_rate": 0.1, "adam": {...}}``.
        eval_examples: Size of a fixed random subset of each task's test set, or None for all.
        gain_from: Directory of a finished run of ngm-sgd with the same seeds and updates, whose
            gain the controls replay, average or shuffle.
        form: Gain in the "optimizer" or in the "model"; the runs are the same.
        modulate: Gain of "all" layers or of the "head" alone; None for the benchmark's choice.
        chunk: Updates per call of the compiled program, >= 1. It changes no number.
        layout: Runs on a device one after the other ("map") or as one batched program ("vmap");
            None for what measured fastest on this kind of device. Chunks, devices and batches
            change no number, but the two layouts round differently.
        devices: Devices of this process that share the runs, or None for all.
        memory: Bytes that runs trained at once may take, or None for a share of what there is.
        progress: Whether to show a progress bar.
        **protocol: Fields of :class:`gainjax.training.Protocol` to replace, ``eval_every=10``.

    Returns:
        The dataset that :func:`gainjax.curves.dataset.to_dataset` describes.

    Raises:
        ValueError: If a name or number is wrong, or ``out`` holds another run.
        FileNotFoundError: If the data are not there and cannot be fetched.
        OSError: If ``out`` cannot be written to, or another process is running there.
        gainjax.runs.guard.Interrupted: If a signal stopped a run with ``out``.

    Example:
        >>> curves = run("split-digits", ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> dict(curves.accuracy.sizes)
        {'method': 2, 'seed': 2, 'eval_update': 50, 'eval_task': 1}

    Source:
        Protocol of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    values = resolve_hyperparameters(benchmark, methods, hyperparameters or {})
    return train_settings(
        benchmark,
        [Setting(name, values[name]) for name in values],
        seeds,
        {"methods": values},
        data_dir=data_dir,
        out=out,
        eval_examples=eval_examples,
        gain_from=gain_from,
        form=form,
        modulate=modulate,
        chunk=chunk,
        layout=layout,
        devices=devices,
        memory=memory,
        progress=progress,
        **protocol,
    )


def sweep(
    benchmark: str | Benchmark,
    grid: Mapping[str, Any],
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int | Sequence[int] = 5,
    *,
    draws: int | None = None,
    draw_seed: int = 0,
    hyperparameters: Mapping[str, Any] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Train every combination of methods, values of hyper-parameters and seeds.

    A method is compiled once, whatever the size of the grid; its settings and seeds are trained in
    batches that fit into memory. Each curve is the one that :func:`run` gives for its setting.

    Args:
        benchmark: As for :func:`run`.
        grid: What to vary: lists of values by name, for every method that has the hyper-parameter,
            or by method's name for that method: ``{"learning_rate": [0.1, 0.01], "ngm-sgd":
            {"sensitivity": [0.2, 0.4]}}``. With ``draws`` also distributions that have a method
            ``rvs``, such as ``scipy.stats.loguniform(1e-4, 1)``.
        methods: As for :func:`run`.
        seeds: As for :func:`run`.
        draws: Number of random settings per method, or None for the whole product.
        draw_seed: Seed of the draws, which methods share where they share a hyper-parameter.
        hyperparameters: Fixed values, as for :func:`run`.
        **options: All other options of :func:`run`.

    Returns:
        The dataset that :func:`gainjax.curves.dataset.to_dataset` describes for sweeps: a dimension
        ``setting`` in place of ``method``, with coordinates ``method`` and one for each
        hyper-parameter that varies.

    Raises:
        ValueError: As :func:`run`, and if the grid is empty or names something unknown.
        FileNotFoundError: As :func:`run`.
        OSError: As :func:`run`.

    Example:
        >>> grid = {"learning_rate": [0.03, 0.01], "sensitivity": [0.2, 0.4]}
        >>> curves = sweep("split-digits", grid, ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> curves.sizes["setting"], float(curves.learning_rate[-1])
        (6, 0.01)
        >>> print(curves.setting.values[0])
        ngm-sgd learning_rate=0.03 sensitivity=0.2
    """
    benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    settings = sweep_settings(benchmark, methods, grid, hyperparameters or {}, draws, draw_seed)
    return train_settings(benchmark, settings, seeds, _describe_sweep(settings), **options)


def resume(
    directory: str | Path,
    *,
    data_dir: str | Path | None = None,
    chunk: int = 100,
    layout: Kind | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory: float | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Finish the run or sweep in a directory, whatever it was.

    Args:
        directory: Output directory of a run that was interrupted. A finished one is returned.
        data_dir: Where the data are now, or None for where they were.
        chunk: As for :func:`run`.
        layout: As for :func:`run`.
        devices: As for :func:`run`; they need not be those it was begun on.
        memory: As for :func:`run`.
        progress: As for :func:`run`.

    Returns:
        The curves that the uninterrupted run would have.

    Raises:
        FileNotFoundError: If there is no run in the directory, or its data are not there.
        ValueError: If what is stored is damaged, the data are other ones, or the benchmark is not
            registered.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out:
        ...     curves = run("split-digits", ["sgd"], seeds=2, updates_per_task=10, out=out)
        ...     resume(out).identical(curves)
        True
    """
    if (stored := stored_config(directory)) is not None:
        config, stored_data_dir = stored
    elif (Path(directory).expanduser() / results.FILE).exists():
        return results.load(directory)
    else:
        raise FileNotFoundError(
            f"no run in {directory}: give the output directory of a run that was interrupted"
        )
    if config["benchmark"] not in BENCHMARKS:
        raise ValueError(
            f"{directory} holds a run on {config['benchmark']!r}, no registered benchmark: to go "
            "on, call gainjax.run or gainjax.sweep with it as you did, and the same out"
        )
    if "settings" in config:
        settings = [
            Setting(row["method"], row["hyperparameters"], tuple(row["swept"]))
            for row in config["settings"]
        ]
        described = _describe_sweep(settings)
    else:
        settings = [Setting(name, values) for name, values in config["methods"].items()]
        described = {"methods": config["methods"]}
    return train_settings(
        get_benchmark(config["benchmark"]),
        settings,
        config["seeds"],
        described,
        data_dir=data_dir or stored_data_dir,
        out=directory,
        eval_examples=config["eval_examples"],
        gain_from=config["gain_from"],
        form=config["form"],
        modulate=config["modulate"],
        chunk=chunk,
        layout=layout,
        devices=devices,
        memory=memory,
        progress=progress,
        **config["protocol"],
    )


def _describe_sweep(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the part of a configuration that says what a sweep varies."""
    return {
        "settings": [
            {"method": s.method, "hyperparameters": dict(s.hyperparameters), "swept": list(s.swept)}
            for s in settings
        ],
        "swept": list(dict.fromkeys(name for setting in settings for name in setting.swept)),
    }
