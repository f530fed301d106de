"""Run a benchmark: methods x seeds to one labelled dataset, on disk if wanted."""

import contextlib
import dataclasses
import json
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from gainjax import results
from gainjax.benchmarks import Benchmark, get_benchmark
from gainjax.data.streams import Stream
from gainjax.methods import TRACE, get_method
from gainjax.progress import Report, progress_bar
from gainjax.training import Chunk, Program, TrainState, train
from gainjax.training.checkpoints import RunStore, open_store, stored_config
from gainjax.training.program import Form, Record

DEFAULT_METHODS = ("ngm-sgd", "sgd", "msgd", "adam")


class DivergenceWarning(UserWarning):
    """The loss of a seed became NaN or infinite. Other seeds are not affected."""


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
            that is returned, or finished if it was interrupted; if it holds another one, nothing is
            touched. SIGINT and SIGTERM stop such a run at the end of a chunk.
        hyperparameters: Values to use instead of the benchmark's: by name for every method that has
            them, or by method's name for that method, ``{"learning_rate": 0.1, "adam": {...}}``.
        eval_examples: Size of a fixed random subset of each task's test set, or None for all.
        gain_from: Directory of a finished run of ngm-sgd with the same seeds and updates, whose
            gain the controls replay, average or shuffle.
        form: Gain in the "optimizer" or in the "model"; the runs are the same.
        chunk: Updates per call of the compiled program, >= 1. It changes no number.
        progress: Whether to show a progress bar.
        **protocol: Fields of :class:`gainjax.training.Protocol` to replace, ``eval_every=10``.

    Returns:
        The dataset that :func:`gainjax.results.to_dataset` describes.

    Raises:
        ValueError: If a name or number is wrong, or ``out`` holds another run.
        FileNotFoundError: If the data are not there and cannot be fetched.
        OSError: If ``out`` cannot be written to, or another process is running there.
        gainjax.guard.Interrupted: If a signal stopped a run with ``out``.

    Example:
        >>> curves = run("split-digits", ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> dict(curves.accuracy.sizes)
        {'method': 2, 'seed': 2, 'eval_update': 50, 'eval_task': 1}

    Source:
        Protocol of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    seeds = _seed_list(seeds)
    settings = resolve_hyperparameters(benchmark, methods, hyperparameters or {})
    programs = {
        name: benchmark.program(get_method(name), form=form, **protocol) for name in settings
    }
    stream = benchmark.load(data_dir, eval_examples)
    used = next(iter(programs.values())).protocol
    total = used.updates_per_task * len(stream.task_end)
    borrowers = [name for name in programs if get_method(name).needs_trace]
    trace = _gain_of(gain_from, borrowers, seeds, total)
    config = {
        "benchmark": benchmark.name,
        "methods": settings,
        "seeds": seeds,
        "protocol": dataclasses.asdict(used),
        "eval_examples": eval_examples,
        "form": form,
        "data_crc32": _checksum(stream),
        "gain_from": None if gain_from is None else str(gain_from),
        "gain_crc32": None if trace is None else f"{zlib.crc32(trace.tobytes()):08x}",
    }
    if out is not None and (kept := results.find(out, config)) is not None:
        return kept

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store(out, config, data_dir)) if out is not None else None
        report = stack.enter_context(progress_bar(len(programs) * total, shown=progress))
        trained = {}
        for name, program in programs.items():
            values: dict[str, Any] = dict(settings[name])
            if name in borrowers:
                values[TRACE] = trace
            trained[name] = _train(program, stream, seeds, values, chunk, report, store)
        records = {name: record for name, (record, _) in trained.items()}
        curves = results.to_dataset(
            records, config, sum(seconds for _, seconds in trained.values())
        )
        if out is not None and store is not None:
            results.save(curves, out)
            store.remove()
    _warn_of_divergence(curves)
    return curves


def resume(
    directory: str | Path,
    *,
    data_dir: str | Path | None = None,
    chunk: int = 100,
    progress: bool = False,
) -> xr.Dataset:
    """Finish the run in a directory, whatever it was.

    Args:
        directory: Output directory of a run that was interrupted. A finished one is returned.
        data_dir: Where the data are now, or None for where they were.
        chunk: As for :func:`run`.
        progress: As for :func:`run`.

    Returns:
        The curves that the uninterrupted run would have.

    Raises:
        FileNotFoundError: If there is no run in the directory, or its data are not there.
        ValueError: If what is stored is damaged, or the data are other ones.

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
        config, stored_data_dir = json.loads(results.load(directory).attrs["config"]), None
    else:
        raise FileNotFoundError(
            f"no run in {directory}: give the output directory of a run that was interrupted"
        )
    return run(
        config["benchmark"],
        list(config["methods"]),
        config["seeds"],
        data_dir=data_dir or stored_data_dir,
        out=directory,
        hyperparameters=config["methods"],
        eval_examples=config["eval_examples"],
        gain_from=config["gain_from"],
        form=config["form"],
        chunk=chunk,
        progress=progress,
        **config["protocol"],
    )


def resolve_hyperparameters(
    benchmark: Benchmark, methods: Sequence[str], overrides: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return every hyper-parameter of each method: its default, the benchmark's, the caller's.

    Args:
        benchmark: The benchmark.
        methods: Names of methods, each once.
        overrides: By name for every method that has it, or by method's name for that method.

    Raises:
        ValueError: If a method or hyper-parameter is unknown, unused, repeated or out of range.

    Example:
        >>> mnist = get_benchmark("split-mnist")
        >>> resolve_hyperparameters(mnist, ["sgd"], {"sgd": {"learning_rate": 0.1}})
        {'sgd': {'learning_rate': 0.1}}
    """
    if isinstance(methods, str) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods must be a list of different names: got {methods!r}")
    shared = {k: v for k, v in overrides.items() if not isinstance(v, Mapping)}
    own = {k: v for k, v in overrides.items() if isinstance(v, Mapping)}
    if unknown := set(own) - set(methods):
        raise ValueError(
            f"hyperparameters are given for {', '.join(sorted(unknown))}, which is not among the "
            f"methods: {', '.join(methods)}"
        )
    settings = {name: benchmark.defaults(name) for name in methods}
    for name, values in settings.items():
        get_method(name).check(own.get(name, {}))
        values |= {k: shared[k] for k in values if k in shared}
        values |= own.get(name, {})
        get_method(name).check(values)
    if unused := [k for k in shared if not any(k in values for values in settings.values())]:
        known = sorted({k for values in settings.values() for k in values})
        raise ValueError(
            f"no method has a hyper-parameter {unused[0]!r}: there are {', '.join(known)}"
        )
    return settings


def _train(
    program: Program,
    stream: Stream,
    seeds: Sequence[int],
    hyperparameters: Mapping[str, Any],
    chunk: int,
    report: Report,
    store: RunStore | None,
) -> tuple[Record, float]:
    """Train one method, or what is left of it; return its curves and how many seconds it took."""
    name = program.method.name
    total = program.protocol.updates_per_task * len(stream.task_end)
    report(name, 0)
    if store is not None and (kept := store.finished(name)) is not None:
        report(name, total)
        return kept

    def restore(abstract: TrainState) -> tuple[int, TrainState] | None:
        found = None if store is None else store.restore(name, abstract)
        report(name, found[0] if found else 0)
        return found

    def on_chunk(done: Chunk) -> None:
        report(name, done.records.gain.shape[1])
        if store is not None:
            store.keep(name, done)

    started = time.monotonic()
    records = train(
        program, stream, seeds, hyperparameters, chunk=chunk, on_chunk=on_chunk, restore=restore
    )
    if store is not None and (kept := store.finished(name)) is not None:
        return kept  # with the updates before the last restart
    return records, time.monotonic() - started


def _gain_of(
    directory: str | Path | None, borrowers: Sequence[str], seeds: Sequence[int], updates: int
) -> np.ndarray | None:
    """Return the gain of a finished run for methods that borrow it, shape (seeds, updates)."""
    if not borrowers and directory is None:
        return None
    if not borrowers:
        raise ValueError(f"gain_from is given, {directory}, but none of the methods borrows a gain")
    if directory is None:
        raise ValueError(
            f"{', '.join(borrowers)} borrows the gain of another run: first run ngm-sgd with the "
            "same seeds and out=DIR (--out DIR), then give gain_from=DIR (--gain-from DIR)"
        )
    source = results.load(directory)
    has_gain = "ngm-sgd" in source.method and set(seeds) <= set(source.seed.values.tolist())
    if not has_gain or source.sizes["update"] != updates:
        raise ValueError(
            f"gain_from must hold ngm-sgd with seeds {list(seeds)} and {updates} updates: "
            f"{directory} has {source.method.values.tolist()}, seeds "
            f"{source.seed.values.tolist()} and {source.sizes['update']} updates"
        )
    return source.gain.sel({"method": "ngm-sgd", "seed": list(seeds)}).values


def _checksum(stream: Stream) -> str:
    """Return a checksum of all data, so that a run goes on with the same ones or not at all."""
    crc = 0
    for array in stream:
        crc = zlib.crc32(f"{array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return f"{crc:08x}"


def _seed_list(seeds: int | Sequence[int]) -> list[int]:
    """Return seeds 0, 1, ... for a number, or the given ones."""
    if isinstance(seeds, int):
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1, or a list of seeds: got {seeds}")
        return list(range(seeds))
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be a list of different integers: got {seeds}")
    return seeds


def _warn_of_divergence(curves: xr.Dataset) -> None:
    """Name every method, seed and update at which a run diverged."""
    for row in curves.diverged_update.stack(run=("method", "seed")):
        if row:
            warnings.warn(
                f"{row.method.item()} with seed {row.seed.item()} diverged at update {row.item()}: "
                "its loss is not finite. From there on its answers count as wrong; try a smaller "
                "learning rate",
                DivergenceWarning,
                stacklevel=3,
            )
