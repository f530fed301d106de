"""Train settings x seeds: in parts that fit into memory, each stored until the whole is written."""

import contextlib
import dataclasses
import json
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from gainjax.checks import check_integer
from gainjax.curves import dataset as results
from gainjax.data.streams import Stream
from gainjax.methods import TRACE, get_method
from gainjax.models.layers import Modulate
from gainjax.runs.benchmarks import Benchmark
from gainjax.runs.progress import Report, progress_bar
from gainjax.runs.settings import Setting
from gainjax.runs.store import RunStore, is_unfinished, open_store
from gainjax.training import Chunk, TrainState, make_layout, train
from gainjax.training.layout import Kind
from gainjax.training.memory import runs_at_once
from gainjax.training.processes import agree, gather, share, wait_for_all
from gainjax.training.program import Form, Record
from gainjax.training.protocol import Protocol


class DivergenceWarning(UserWarning):
    """The loss of a seed became NaN or infinite. Other seeds are not affected."""


def train_settings(
    benchmark: Benchmark,
    settings: Sequence[Setting],
    seeds: int | Sequence[int],
    described: Mapping[str, Any],
    *,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
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
    """Train settings x seeds to one dataset, or go on where that was interrupted.

    Args:
        benchmark: The benchmark.
        settings: The rows of the dataset.
        seeds: Number of seeds (0, 1, ...), or the seeds themselves.
        described: The part of the configuration that says what the settings are.
        data_dir: As for :func:`gainjax.run`, like all that follow.
        out: Output directory or None.
        eval_examples: Size of the evaluation subsets or None.
        gain_from: Run whose gain the controls borrow.
        form: Where the gain is.
        modulate: Which layers have a gain.
        chunk: Updates per call of the compiled program.
        layout: How runs share a device.
        devices: Devices of this process.
        memory: Bytes that runs trained at once may take.
        progress: Whether to show a progress bar.
        **protocol: Fields of the protocol to replace.
    """
    seeds = _seed_list(seeds)
    check_integer("chunk", chunk, 1)
    by_method: dict[str, list[Setting]] = {}
    for setting in settings:
        by_method.setdefault(setting.method, []).append(setting)
    programs = {
        name: benchmark.program(get_method(name), form=form, modulate=modulate, **protocol)
        for name in by_method
    }
    stream = benchmark.load(data_dir, eval_examples)
    if (most := int(np.max(stream.train_labels))) >= benchmark.num_classes:
        raise ValueError(
            f"num_classes of benchmark {benchmark.name!r} must be at least {most + 1}, since "
            f"labels go up to {most}: got {benchmark.num_classes}"
        )
    used = next(iter(programs.values())).protocol
    total = used.updates_per_task * len(stream.task_end)
    borrowers = [name for name in programs if get_method(name).needs_trace]
    trace = _gain_of(gain_from, borrowers, seeds, benchmark.name, used)
    config = {
        **benchmark.described(modulate),
        **described,
        "seeds": seeds,
        "protocol": dataclasses.asdict(used),
        "eval_examples": eval_examples,
        "form": form,
        "modulate": modulate or benchmark.modulate,
        "data_crc32": _checksum(stream),
        "gain_from": None if gain_from is None else str(Path(gain_from).expanduser().resolve()),
        "gain_crc32": None if trace is None else f"{zlib.crc32(trace.tobytes()):08x}",
    }
    # Somebody may have been killed before removing the unfinished run, which needs the lock.
    unfinished = out is not None and is_unfinished(out)
    if out is not None and not unfinished and (kept := _kept(out, config)) is not None:
        return kept

    placed = make_layout(layout, devices)
    runs = {name: len(rows) * len(seeds) for name, rows in by_method.items()}
    batches: Mapping[str, int] = {
        name: runs_at_once(
            program, placed, stream, len(share(runs[name])), chunk=chunk, memory=memory
        )
        for name, program in programs.items()
    }
    with contextlib.ExitStack() as stack:
        store = None
        if out is not None:
            store = stack.enter_context(open_store(out, config, data_dir, batches))
            try:  # again: somebody may have finished before the lock was ours
                kept = _kept(out, config)
            except ValueError:
                if not unfinished:
                    store.remove()
                raise
            if kept is not None:
                store.remove()
                return kept
            batches = store.batches
        parts = {name: _parts(name, runs[name], batches[name]) for name in programs}
        report = stack.enter_context(
            progress_bar(total * sum(map(len, parts.values())), shown=progress)
        )
        records: dict[str, Record] = {}
        seconds = 0.0
        for name, program in programs.items():
            rows = by_method[name]
            values = {
                key: np.repeat([row.hyperparameters[key] for row in rows], len(seeds))
                for key in program.method.hyperparameters
            }
            if trace is not None and name in borrowers:
                values[TRACE] = np.tile(trace, (len(rows), 1))
            all_seeds = np.tile(seeds, len(rows))
            trained = []
            for part, index in parts[name].items():
                train_runs = partial(
                    train,
                    program,
                    stream,
                    all_seeds[index],
                    {key: array[index] for key, array in values.items()},
                    chunk=chunk,
                    layout=placed,
                )
                record, duration = _train_part(part, train_runs, total, report, store)
                trained.append(record)
                seconds += duration
            curves = _joined(trained, runs[name])
            for i, row in enumerate(rows):
                these = slice(i * len(seeds), (i + 1) * len(seeds))
                records[row.label] = jax.tree.map(lambda x, these=these: x[these], curves)
        dataset = results.to_dataset(records, config, seconds)
        if out is not None and store is not None:
            if jax.process_index() == 0:
                results.save(dataset, out)
            wait_for_all("gainjax: results are saved")
            store.remove()
    _warn_of_divergence(dataset)
    return dataset


def _kept(out: str | Path, config: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the finished run in a directory if it is this one, the same for every process."""
    kept = results.find(out, config)
    if not agree(f"{out} holds this run already", kept is not None) or kept is None:
        return None
    _warn_of_divergence(kept)
    return kept


def _parts(method: str, runs: int, size: int) -> dict[str, np.ndarray]:
    """Return which runs of this process are trained at once: their indices, by name of the part.

    All parts have the same size, so that one compilation serves them; the last run fills up.
    """
    mine = share(runs)
    count = -(-len(mine) // size)
    index = np.pad(mine, (0, count * size - len(mine)), mode="edge").reshape(count, size)
    if count == 1:
        return {method: index[0, : len(mine)]}
    return {f"{method}.{i:04d}": index[i] for i in range(count)}


def _joined(parts: Sequence[Record], runs: int) -> Record:
    """Return the curves of all runs of a method from the parts that this process trained."""
    mine = len(share(runs))
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:mine], *parts)
    return gather(joined, runs)


def _train_part(
    part: str,
    train_runs: Callable[..., Record],
    total: int,
    report: Report,
    store: RunStore | None,
) -> tuple[Record, float]:
    """Train what is left of a part; return its curves and how many seconds it took."""
    report(part, 0)
    if store is not None and (kept := store.finished(part)) is not None:
        report(part, total)
        return kept

    def restore(abstract: TrainState) -> tuple[int, TrainState] | None:
        found = None if store is None else store.restore(part, abstract)
        report(part, found[0] if found else 0)
        return found

    def on_chunk(done: Chunk) -> None:
        report(part, done.records.gain.shape[1])
        if store is not None:
            store.keep(part, done)

    started = time.monotonic()
    records = train_runs(on_chunk=on_chunk, restore=restore)
    if store is not None and (kept := store.finished(part)) is not None:
        return kept  # with the updates before the last restart
    return records, time.monotonic() - started


def _gain_of(
    directory: str | Path | None,
    borrowers: Sequence[str],
    seeds: Sequence[int],
    benchmark: str,
    protocol: Protocol,
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
    is_run = "method" in source.dims
    if not (
        is_run and "ngm-sgd" in source.method and set(seeds) <= set(source.seed.values.tolist())
    ):
        raise ValueError(
            f"gain_from must hold ngm-sgd with seeds {list(seeds)}: {directory} has "
            f"{source.method.values.tolist()} and seeds {source.seed.values.tolist()}"
        )
    config = json.loads(source.attrs["config"])
    theirs = {"benchmark": config["benchmark"], **Protocol(**config["protocol"]).training}
    ours = {"benchmark": benchmark, **protocol.training}
    if theirs != ours:
        raise ValueError(
            f"gain_from must hold a run that trains as this one does: {directory} differs in "
            f"{results.difference(theirs, ours)}"
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
    if not isinstance(seeds, Iterable):
        check_integer("seeds", seeds, 1)
        return list(range(seeds))
    listed = list(seeds)
    for seed in listed:
        check_integer("each of the seeds", seed, 0)
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"seeds must be a list of different integers: got {listed}")
    return [int(seed) for seed in listed]


def _warn_of_divergence(curves: xr.Dataset) -> None:
    """Name every setting, seed and update at which a run diverged."""
    labels = curves[curves.diverged_update.dims[0]].values
    for label, updates in zip(labels, curves.diverged_update.values, strict=True):
        if (bad := updates > 0).any():
            plural = "s" if bad.sum() > 1 else ""
            seeds = ", ".join(map(str, curves.seed.values[bad]))
            when = ", ".join(map(str, updates[bad]))
            warnings.warn(
                f"{label} with seed{plural} {seeds} diverged at update{plural} {when}: the loss is "
                "not finite. From there on answers count as wrong; try a smaller learning rate",
                DivergenceWarning,
                stacklevel=4,
            )
