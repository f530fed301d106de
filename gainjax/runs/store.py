"""Unfinished runs on disk: curves and checkpoints, so that a killed run goes on where it was.

While a run is in progress, its output directory holds::

    .lock                         who writes here
    progress/run.json             format number, configuration, versions
    progress/PART.npz             curves of a finished part
    progress/PART/A-B.npz         curves of updates A + 1 to B of an unfinished one
    progress/PART/B/              Orbax checkpoint of all its runs after update B
    progress/PART/B.crc32         checksum of that checkpoint, written last

A part is what is trained at once: a method, or a batch of the settings and seeds of a method. If
several processes share a run, each stores its own parts; those of process K are in ``progress-K``.

Curves are on disk before the checkpoint that follows them is begun, and a checkpoint without its
checksum does not count. So at any moment the newest checkpoint and the curves before it are whole.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.curves import dataset as results
from gainjax.runs import files as run_files
from gainjax.runs import guard
from gainjax.training.loop import Chunk
from gainjax.training.program import Record
from gainjax.training.step import TrainState

FORMAT = 2
FOLDER = "progress"
KEEP = 2  # checkpoints per part: if the newest is damaged, there is the one before it
# A checkpoint is due at the end of a chunk once so many times its own duration has passed since the
# last one, which bounds what checkpoints cost; the first one is due after so many seconds.
SPACING = 10.0
FIRST = 1.0


class CheckpointWarning(UserWarning):
    """Something stored is damaged or of other origin; the run goes on as the message says."""


class RunStore:
    """The unfinished run in an output directory. Made by :func:`open_store`."""

    def __init__(self, folder: Path, stop: guard.Stop, batches: Mapping[str, int]) -> None:
        self.batches = batches  # for each method the runs per batch with which it was begun
        self._folder = folder
        self._stop = stop
        self._pending: list[Record] = []  # curves that are not on disk yet
        self._stored = 0  # updates of the current part whose curves are on disk
        self._clock = time.monotonic()  # when these were stored
        self._orbax: Any = None
        self._worker = ThreadPoolExecutor(1, "checkpoint")
        self._sealing: Future[float] | None = None
        self._next = time.monotonic() + FIRST

    def finished(self, part: str) -> tuple[Record, float] | None:
        """Return the curves of a finished part and how many seconds it took, or None."""
        path = self._folder / f"{part}.npz"
        if not path.exists():
            return None
        found = run_files.read_curves(path)
        if found is None:
            warnings.warn(
                f"{path} is damaged: {part} is trained again", CheckpointWarning, stacklevel=2
            )
        return found

    def restore(self, part: str, abstract: TrainState) -> tuple[int, TrainState] | None:
        """Return the newest intact checkpoint, and forget all that came after it.

        Args:
            part: Name of the part.
            abstract: Shapes and dtypes of the states of its runs.

        Returns:
            Number of updates done and states, or None if there is nothing to go on from.

        Raises:
            ValueError: If the checkpoint is intact but does not fit the abstract states.
        """
        folder = self._folder / part
        complete, chunks = (
            0,
            run_files.curve_files(folder),
        )  # updates up to which all curves are there
        for start, end, path in chunks:
            if start != complete:
                break
            if run_files.read_curves(path) is None:
                self._warn_damaged(path, "curves")
                break
            complete = end
        states, steps = None, run_files.sealed_steps(folder)
        for step in reversed(steps):
            path = folder / str(step)
            if step <= complete and states is None:
                if run_files.checksum(path) == run_files.seal(path).read_text(errors="replace"):
                    done, states = step, self._load(path, abstract)
                    continue
                self._warn_damaged(path, "the checkpoint")
            if step > complete or states is None:
                run_files.remove_checkpoint(path)
        if states is None:
            if steps:
                warnings.warn(
                    f"{folder} has no intact checkpoint: {part} starts again",
                    CheckpointWarning,
                    stacklevel=2,
                )
            shutil.rmtree(folder, ignore_errors=True)
            done = 0
        for start, _, path in chunks:
            if start >= done:
                path.unlink(missing_ok=True)
        for path in folder.glob("[0-9]*"):  # what was being written at the end
            if path.is_dir() and not run_files.seal(path).exists():
                shutil.rmtree(path)
        self._stored, self._clock, self._pending = done, time.monotonic(), []
        return None if states is None else (done, states)

    def keep(self, part: str, chunk: Chunk) -> None:
        """Take over the curves of a chunk; store them and the states if that is due.

        Raises:
            gainjax.runs.guard.Interrupted: If a signal asked for it; everything is stored then.
            OSError: If something cannot be written.
        """
        self._pending.append(chunk.records)
        if self._sealing is not None and self._sealing.done():
            self._wait()
        stop = self._stop.signum
        due = self._sealing is None and time.monotonic() >= self._next
        if chunk.done == chunk.total:
            self._finish(part)
        elif due or stop is not None:
            self._checkpoint(part, chunk)
        if stop is not None:
            self._wait()
            name = signal.Signals(stop).name
            raise guard.Interrupted(
                f"stopped by {name} after update {chunk.done} of {chunk.total} of {part}. All is "
                f"stored in {self._folder.parent}: make the same call again to go on, or, if the "
                f"benchmark has a name in `gainjax list`, gainjax resume {self._folder.parent}",
                stop,
            )

    def remove(self) -> None:
        """Remove everything, once the results are stored elsewhere."""
        self._wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Wait for what is being written."""
        self._worker.shutdown()
        if self._orbax is not None:
            with contextlib.suppress(Exception):  # the run fails already, with its own error
                self._orbax.close()
            logging.getLogger("absl").setLevel(self._absl_level)

    def _finish(self, part: str) -> None:
        """Replace everything of a part by its curves."""
        self._wait()
        folder = self._folder / part
        stored = [run_files.read_curves(path) for _, _, path in run_files.curve_files(folder)]
        if any(part is None for part in stored):
            raise OSError(errno.EIO, "curves were damaged during the run", str(folder))
        seconds = time.monotonic() - self._clock + sum(part[1] for part in stored if part)
        parts = [part[0] for part in stored if part] + self._pending
        run_files.write_curves(self._folder / f"{part}.npz", parts, seconds)
        shutil.rmtree(folder, ignore_errors=True)
        self._pending = []

    def _checkpoint(self, part: str, chunk: Chunk) -> None:
        self._wait()
        self._open_orbax()
        begin = time.monotonic()
        folder = self._folder / part
        path = folder / f"{self._stored:08d}-{chunk.done:08d}.npz"
        run_files.write_curves(path, self._pending, begin - self._clock)
        self._stored, self._clock, self._pending = chunk.done, begin, []
        path = folder / str(chunk.done)
        with _os_errors(path):
            self._orbax.save(path, chunk.snapshot())
        self._sealing = self._worker.submit(self._commit, path, begin)

    def _commit(self, path: Path, begin: float) -> float:
        """Wait for a checkpoint, seal it and remove old ones; return when the next one is due."""
        with _os_errors(path):
            self._orbax.wait_until_finished()
        results.write_file(run_files.seal(path), run_files.checksum(path).encode())
        for step in run_files.sealed_steps(path.parent)[:-KEEP]:
            run_files.remove_checkpoint(path.parent / str(step))
        end = time.monotonic()
        return end + SPACING * (end - begin)

    def _wait(self) -> None:
        """Wait for the checkpoint that is being written; raise what went wrong with it."""
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            self._next = sealing.result()

    def _open_orbax(self) -> None:
        # Late, since the import takes a second that short runs need not spend.
        if self._orbax is None:
            from gainjax.runs.host_arrays import make_checkpointer

            logger = logging.getLogger("absl")  # where Orbax tells every step
            self._absl_level = logger.level
            logger.setLevel(logging.CRITICAL)
            self._orbax = make_checkpointer()

    def _load(self, path: Path, abstract: TrainState) -> TrainState:
        self._open_orbax()
        try:
            # As NumPy arrays, which no device and no number of devices is part of.
            like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), abstract)
            states: TrainState = self._orbax.restore(path, like)
            jax.tree.map(_check_alike, states, like)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise ValueError(
                f"{path} is intact, but holds other states than this version of gainjax has: "
                f"use the version that {self._folder / 'run.json'} names, or remove {self._folder} "
                f"to start again. {error}"
            ) from error
        return states

    def _warn_damaged(self, path: Path, what: str) -> None:
        warnings.warn(
            f"{path} is damaged: going on from before {what}", CheckpointWarning, stacklevel=3
        )


@contextlib.contextmanager
def open_store(
    directory: str | Path,
    config: Mapping[str, Any],
    data_dir: str | Path | None = None,
    batches: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[RunStore]:
    """Begin a run in a directory or go on with the one that is there, until the block ends.

    Meanwhile nobody else can write there, and SIGINT and SIGTERM wait for the end of a chunk; a
    second signal acts at once.

    Args:
        directory: Output directory; made if needed.
        config: What is run, as JSON can say it.
        data_dir: Where the data are, for :func:`stored_config`.
        batches: For each method the runs per batch. A run that goes on keeps those it began with.

    Yields:
        The store of the run.

    Raises:
        ValueError: If the directory holds another unfinished run, with the difference.
        OSError: If it cannot be written to, or another process is writing there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out, open_store(out, {"seeds": [0]}) as store:
        ...     print(store.finished("sgd"), stored_config(out))
        None ({'seeds': [0]}, None)
    """
    directory = Path(directory).expanduser().resolve()
    me = jax.process_index()
    suffix = f"-{me}" if me else ""
    with guard.lock(directory, f".lock{suffix}"), guard.stoppable() as stop:
        folder = directory / f"{FOLDER}{suffix}"
        store = RunStore(folder, stop, _begin(folder, config, data_dir, batches))
        try:
            yield store
        finally:
            store.close()


def stored_config(directory: str | Path) -> tuple[dict[str, Any], str | None] | None:
    """Return the configuration and data directory of an unfinished run, or None if there is none.

    Args:
        directory: Output directory of the run.

    Raises:
        ValueError: If it is damaged or of another format.
    """
    path = Path(directory).expanduser() / FOLDER / "run.json"
    header = _read_header(path)
    return None if header is None else (header["config"], header["data_dir"])


def is_unfinished(directory: str | Path) -> bool:
    """Return whether a directory holds a run that is not finished, or what is left of it.

    Args:
        directory: Output directory of a run, which need not exist.
    """
    return (Path(directory).expanduser() / FOLDER).exists()


def _begin(
    folder: Path,
    config: Mapping[str, Any],
    data_dir: str | Path | None,
    batches: Mapping[str, int],
) -> Mapping[str, int]:
    """Write the header of a new run, or compare it with that of the run to go on with.

    Returns the batches of the run.
    """
    directory, path = folder.parent, folder / "run.json"
    if jax.process_index() == 0:
        for stale in directory.glob(f".{results.FILE}.*.tmp"):  # of a process that was killed
            stale.unlink(missing_ok=True)
    here = {**results.provenance(), "float": jnp.result_type(float).name}
    data_dir = None if data_dir is None else str(Path(data_dir).expanduser().resolve())
    wanted = {
        "format": FORMAT,
        "config": dict(config),
        "environment": here,
        "data_dir": data_dir,
        "processes": jax.process_count(),
        "batches": dict(batches),
    }
    found = _read_header(path)
    if found is None:
        results.write_file(path, json.dumps(wanted, indent=1).encode())
        return batches
    wanted = json.loads(json.dumps(wanted))
    if found["config"] != wanted["config"]:
        raise ValueError(
            f"{directory} holds another unfinished run: it differs in "
            f"{results.difference(found['config'], wanted['config'])}\nChoose another directory, "
            f"or remove {path.parent} to give that run up"
        )
    if found["processes"] != jax.process_count():
        raise ValueError(
            f"the run in {directory} was begun by {found['processes']} processes, each of which "
            f"has its share: go on with as many, not with {jax.process_count()}"
        )
    if found["environment"] != here:
        warnings.warn(
            f"the run in {directory} was begun elsewhere: it differs in "
            f"{results.difference(found['environment'], here)}\nThe rest of its curves may differ "
            "in the last digits from an uninterrupted run",
            CheckpointWarning,
            stacklevel=4,
        )
    return found["batches"]


def _read_header(path: Path) -> dict[str, Any] | None:
    try:
        header = json.loads(path.read_bytes())
        found = header["format"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}), so nobody knows what is stored there: remove "
            f"{path.parent} to start again"
        ) from error
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found}, and this version of gainjax knows format {FORMAT}: use "
            f"the version that wrote it, or remove {path.parent} to start again"
        )
    return header


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Turn whatever Orbax raises when it cannot write into an OSError with the path."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "errno", None) or errno.EIO
        if "No space left" in str(error):
            code = errno.ENOSPC
        reason = f"cannot write the checkpoint: {os.strerror(code)}"
        raise OSError(code, reason, str(path)) from error


def _check_alike(found: Any, wanted: np.ndarray) -> None:
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(
            f"got {found.dtype} of shape {found.shape}, not {wanted.dtype} of shape {wanted.shape}"
        )
