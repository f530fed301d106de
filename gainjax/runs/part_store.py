"""The stored state of one part of an unfinished run: its curves and latest checkpoints.

A part is a set of runs that are trained together: a method, or a batch of its settings and seeds.
Curves are on disk before the checkpoint that follows them is begun, and a checkpoint without its
checksum does not count. The latest checkpoint and the curves before it are thus always complete.
"""

import contextlib
import errno
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gainjax.files import write_file
from gainjax.runs import files, guard
from gainjax.training import Chunk, Record, TrainState

KEEP = 2  # checkpoints per part: if the latest is damaged, there is the one before it
# A checkpoint is due at the end of a chunk after a multiple of its own duration since the last one,
# which limits the cost of checkpoints; the first one is due after a fixed number of seconds.
SPACING = 10.0
FIRST = 1.0


class CheckpointWarning(UserWarning):
    """A stored file is damaged or of other origin; the run continues as the message says."""


class PartStore:
    """The curves and checkpoints of one part; used by one thread.

    Args:
        folder: Folder of the unfinished run.
        name: Name of the part.
        stop: Whether a signal has requested a stop.
        still_ours: Raises OSError if the directory no longer belongs to this run.
        snapshots: Updates after which states are kept until the whole run is finished.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        stop: guard.Stop,
        still_ours: Callable[[], None],
        *,
        snapshots: Collection[int] = (),
    ) -> None:
        self.name = name
        self._snapshots = snapshots
        self._folder = folder
        self._stop = stop
        self._still_ours = still_ours
        self._pending: list[Record] = []  # curves not yet on disk
        self._stored = 0  # updates whose curves are on disk
        self._clock = time.monotonic()  # when these were stored
        self._orbax: Any = None
        self._worker: ThreadPoolExecutor | None = None
        self._sealing: Future[float] | None = None
        self._next = time.monotonic() + FIRST

    def finished(self) -> tuple[Record, float] | None:
        """Return the curves of the whole part and its duration in seconds, or None."""
        path = self._folder / f"{self.name}.npz"
        if not path.exists():
            return None
        found = files.read_curves(path)
        if found is None:
            warnings.warn(
                f"{path} is damaged: {self.name} is trained again", CheckpointWarning, stacklevel=2
            )
        return found

    def snapshots(self, abstract: TrainState, until: int) -> dict[int, TrainState] | None:
        """Return the states kept after each of the wanted updates, or None if some are not intact.

        Args:
            abstract: Shapes and dtypes of the states of its runs.
            until: The last update that counts.
        """
        if (missing := self._first_missing(until)) is not None:
            self._warn_snapshot(missing, f"{self.name} is trained again")
            return None
        return {
            update: self._load(self._snapshot_path(update), abstract)
            for update in self._snapshots
            if update <= until
        }

    def keep_snapshot(self, chunk: Chunk) -> TrainState:
        """Write the states after a chunk and return them, on the host.

        Raises:
            OSError: If they cannot be written, or the directory no longer belongs to this run.
        """
        self._still_ours()
        self._wait()
        self._open_orbax()
        path, states = self._snapshot_path(chunk.done), chunk.snapshot()
        files.remove_checkpoint(path)
        self._save(path, states)
        return states

    def restore(self, abstract: TrainState) -> tuple[int, TrainState] | None:
        """Return the latest intact checkpoint, and discard everything after it.

        A checkpoint that follows a missing or damaged snapshot does not count.

        Args:
            abstract: Shapes and dtypes of the states of its runs.

        Returns:
            Number of updates done and states, or None if there is nothing to continue from.

        Raises:
            ValueError: If the checkpoint is intact but does not fit the abstract states.
        """
        folder = self._folder / self.name
        chunks = files.curve_files(folder)
        complete = self._complete_curves(chunks)
        if (missing := self._first_missing(complete)) is not None:
            complete = missing - 1
        states, done, steps = None, 0, files.sealed_steps(folder)
        if missing is not None and steps:
            self._warn_snapshot(missing, "continuing from a point before it")
        for step in reversed(steps):
            path = folder / str(step)
            if step <= complete and states is None:
                if files.is_intact(path):
                    done, states = step, self._load(path, abstract)
                    continue
                self._warn_damaged(path, "this checkpoint")
            if step > complete or states is None:
                files.remove_checkpoint(path)
        if states is None:
            if steps:
                warnings.warn(
                    f"{folder} has no intact checkpoint: {self.name} starts over",
                    CheckpointWarning,
                    stacklevel=2,
                )
            shutil.rmtree(folder, ignore_errors=True)
        for start, _, path in chunks:
            if start >= done:
                path.unlink(missing_ok=True)
        for path in folder.glob("[0-9]*"):  # unfinished writes
            if path.is_dir() and not files.seal(path).exists():
                shutil.rmtree(path)
        self._stored, self._clock, self._pending = done, time.monotonic(), []
        return None if states is None else (done, states)

    def keep(self, chunk: Chunk) -> None:
        """Accept the curves of a chunk; store them and the states if that is due.

        Raises:
            gainjax.Interrupted: If a signal requested it; everything is stored by then.
            OSError: If something cannot be written, or the directory no longer belongs to this run.
        """
        self._pending.append(chunk.records)
        if self._sealing is not None and self._sealing.done():
            self._wait()
        stop = self._stop.signum
        due = self._sealing is None and time.monotonic() >= self._next
        if chunk.done == chunk.total:
            self._still_ours()
            self.finish(chunk.total)
        elif stop is not None or due:
            self._still_ours()
            self._checkpoint(chunk)
        if stop is not None:
            self._wait()
            directory = self._folder.parent
            raise guard.Interrupted(
                f"stopped by {signal.Signals(stop).name} after update {chunk.done} of {chunk.total}"
                f" of {self.name}. Everything is stored in {directory}: give the same command "
                "again to resume, or, if benchmark and methods have names, "
                f"gainjax resume {directory}",
                stop,
            )

    def finish(self, total: int) -> None:
        """Replace the stored files of the part by its curves; snapshots are kept beside them.

        Args:
            total: Number of updates, each of which the curves must cover once.

        Raises:
            OSError: If curves are missing, or cannot be written.
        """
        self._wait()
        folder = self._folder / self.name
        stored, complete, seconds = [], 0, time.monotonic() - self._clock
        for start, end, path in files.curve_files(folder):
            found = files.read_curves(path) if start == complete else None
            if found is None:
                raise OSError(errno.EIO, "curves were damaged or removed during the run", str(path))
            stored.append(found[0])
            complete, seconds = end, seconds + found[1]
        parts = stored + self._pending
        if (covered := sum(part.gain.shape[1] for part in parts)) != total:
            raise OSError(
                errno.EIO,
                f"curves of {total - covered} of {total} updates were removed during the run",
                str(folder),
            )
        files.write_curves(self._folder / f"{self.name}.npz", parts, seconds)
        shutil.rmtree(folder, ignore_errors=True)
        self._pending = []

    def close(self) -> None:
        """Wait for pending writes."""
        if self._worker is not None:
            self._worker.shutdown()
        if self._orbax is not None:
            with contextlib.suppress(Exception):  # the run already fails, with its own error
                self._orbax.close()
            self._orbax = None

    def _snapshot_path(self, update: int) -> Path:
        return self._folder / f"{self.name}.states" / str(update)

    def _first_missing(self, until: int) -> int | None:
        """Return the first wanted snapshot up to an update that is not intact, or None."""
        for update in self._snapshots:
            if update <= until and not files.is_intact(self._snapshot_path(update)):
                return update
        return None

    def _complete_curves(self, chunks: list[tuple[int, int, Path]]) -> int:
        """Return the number of updates up to which all curves are present and complete."""
        complete = 0
        for start, end, path in chunks:
            if start != complete:
                break
            if files.read_curves(path) is None:
                self._warn_damaged(path, "these curves")
                break
            complete = end
        return complete

    def _checkpoint(self, chunk: Chunk) -> None:
        self._wait()
        self._open_orbax()
        begin = time.monotonic()
        folder = self._folder / self.name
        path = folder / f"{self._stored:08d}-{chunk.done:08d}.npz"
        files.write_curves(path, self._pending, begin - self._clock)
        self._stored, self._clock, self._pending = chunk.done, begin, []
        path = folder / str(chunk.done)
        self._worker = self._worker or ThreadPoolExecutor(1, "checkpoint")
        self._sealing = self._worker.submit(self._commit, path, chunk.snapshot(), begin)

    def _commit(self, path: Path, states: TrainState, begin: float) -> float:
        """Write a checkpoint, seal it and remove old ones; return when the next one is due."""
        self._save(path, states)
        for step in files.sealed_steps(path.parent)[:-KEEP]:
            files.remove_checkpoint(path.parent / str(step))
        end = time.monotonic()
        return end + SPACING * (end - begin)

    def _save(self, path: Path, states: TrainState) -> None:
        with files.os_errors(path):
            self._orbax.save(path, states)
        write_file(files.seal(path), files.checksum(path).encode())

    def _wait(self) -> None:
        """Wait for the checkpoint that is being written; raise any error from it."""
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            self._next = sealing.result()

    def _open_orbax(self) -> None:
        # Imported late: it takes a second, which short runs need not spend.
        if self._orbax is None:
            from gainjax.runs.host_arrays import make_checkpointer

            self._orbax = make_checkpointer()

    def _load(self, path: Path, abstract: TrainState) -> TrainState:
        from gainjax.runs.host_arrays import restored

        self._open_orbax()
        try:
            # As NumPy arrays, which depend on no device and no number of devices.
            like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), abstract)
            states: TrainState = restored(self._orbax, path, like)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise ValueError(
                f"{path} is intact, but its states do not fit this version of gainjax: "
                f"use the version that {self._folder / 'run.json'} names, or remove {self._folder} "
                f"to start over. {error}"
            ) from error
        return states

    def _warn_snapshot(self, update: int, consequence: str) -> None:
        warnings.warn(
            f"{self._snapshot_path(update)} is missing or damaged: {consequence}",
            CheckpointWarning,
            stacklevel=3,
        )

    def _warn_damaged(self, path: Path, what: str) -> None:
        warnings.warn(
            f"{path} is damaged: continuing from a point before {what}",
            CheckpointWarning,
            stacklevel=3,
        )
