"""Unfinished runs on disk: curves and checkpoints, so that a killed run resumes.

While a run is in progress, its output directory holds::

    .lock                         the process that writes here
    progress/run.json             format number, description, environment, checksum
    progress/PART.npz             curves of a finished part
    progress/PART/A-B.npz         curves of updates A + 1 to B of an unfinished one
    progress/PART/B/              Orbax checkpoint of all its runs after update B
    progress/PART/B.crc32         checksum of that checkpoint, written last

If several processes share a run, each stores its own parts; those of process K are in
``progress-K``.
"""

import contextlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from gainjax.curves import FILE, difference
from gainjax.files import expanded, read_regular, write_file
from gainjax.runs import guard, identity
from gainjax.runs.arrived import Columns
from gainjax.runs.part_store import CheckpointWarning, PartStore
from gainjax.runs.python_code import IF_IT_CHANGES
from gainjax.runs.spec import RunSpec

FORMAT = 3
FOLDER = "progress"


class Header(NamedTuple):
    """The description of an unfinished run."""

    spec: RunSpec
    environment: Mapping[str, Any]
    data_dir: str | None
    processes: int
    batches: Mapping[str, int]  # for each group the original number of runs per batch
    threads: int  # parts that are trained in parallel
    columns: Columns  # the optional curves

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values, with a checksum."""
        fields = self._asdict() | {"spec": self.spec.to_json(), "format": FORMAT}
        fields["columns"] = self.columns._asdict()
        return identity.seal(json.loads(json.dumps(fields)))


class RunStore:
    """The unfinished run in an output directory. Created by :func:`open_store`."""

    def __init__(
        self, folder: Path, header: Header, stop: guard.Stop, still_ours: Callable[[], None]
    ) -> None:
        self.header = header
        self._folder = folder
        self._stop = stop
        self._still_ours = still_ours

    @contextlib.contextmanager
    def part(self, name: str, *, snapshots: Collection[int] = ()) -> Iterator[PartStore]:
        """Open the stored files of a part for the duration of the block."""
        store = PartStore(self._folder, name, self._stop, self._still_ours, snapshots=snapshots)
        try:
            yield store
        finally:
            store.close()

    def remove(self) -> None:
        """Remove everything, once the results are stored elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def open_store(directory: str | Path, header: Header) -> Iterator[RunStore]:
    """Begin a run in a directory, or resume the one that is there, for the duration of the block.

    Meanwhile no other process can write there, and SIGINT and SIGTERM take effect at the end of a
    chunk; a second signal takes effect immediately.

    Args:
        directory: Output directory; created if needed.
        header: Header of the run. A resumed run keeps its original batches.

    Yields:
        The store of the run.

    Raises:
        ValueError: If the directory holds another unfinished run, with the difference.
        OSError: If it cannot be written to, or another process is using it.
    """
    directory = expanded(directory).resolve()
    me = jax.process_index()
    suffix = f"-{me}" if me else ""
    with guard.lock(directory, f".lock{suffix}") as still_ours, guard.stoppable() as stop:
        folder = directory / f"{FOLDER}{suffix}"
        is_new = not (folder / "run.json").exists()
        store = RunStore(folder, _begin(folder, header), stop, still_ours)
        try:
            with _quiet_orbax():
                yield store
        except BaseException:
            # A run that was rejected before it stored anything must not leave a trace.
            if is_new and [path.name for path in folder.glob("*")] == ["run.json"]:
                store.remove()
            raise


def stored_header(directory: str | Path) -> Header | None:
    """Return the header of the unfinished run in a directory, or None if there is none.

    Args:
        directory: Output directory of the run.

    Raises:
        ValueError: If it is damaged or of another format.
    """
    return _read_header(expanded(directory) / FOLDER / "run.json")


def is_unfinished(directory: str | Path) -> bool:
    """Return whether a directory holds an unfinished run, or remains of one.

    Args:
        directory: Output directory of a run, which need not exist.
    """
    return (expanded(directory) / FOLDER).exists()


def _begin(folder: Path, wanted: Header) -> Header:
    """Write the header of a new run, or compare it with that of the run to resume; return it."""
    directory, path = folder.parent, folder / "run.json"
    if jax.process_index() == 0:
        for stale in directory.glob(f".{FILE}.*.tmp"):  # of a process that was killed
            stale.unlink(missing_ok=True)
    found = _read_header(path)
    if found is None:
        write_file(path, json.dumps(wanted.to_json(), indent=1).encode())
        return wanted
    other = "\nChoose another directory, or remove " + str(path.parent) + " to discard that run"
    same_packages = identity.comparable(found.environment, wanted.environment)
    if decisive := identity.decisive_difference(found.environment, wanted.environment):
        raise ValueError(
            f"the run in {directory} was begun in another environment, where the same program gives"
            f" other numbers: {decisive}. Restore that environment, or choose another directory"
        )
    old, new = found.spec.decisive(), wanted.spec.decisive()
    if not same_packages:  # fingerprints cannot be compared across versions
        old |= {name: new[name] for name in ("programs", "common")}
    if old != new:
        if {name for name in new if old.get(name) != new[name]} <= {"programs", "common"}:
            other += f".\n{IF_IT_CHANGES}"
        raise ValueError(
            f"{directory} holds another unfinished run: it differs in {difference(old, new)}{other}"
        )
    if found.processes != wanted.processes:
        raise ValueError(
            f"the run in {directory} was begun by {found.processes} processes, each of which "
            f"has its share: resume it with as many, not with {wanted.processes}"
        )
    if found.environment != wanted.environment:
        warnings.warn(
            f"the run in {directory} was begun elsewhere: it differs in "
            f"{difference(found.environment, wanted.environment)}\nThe rest of its curves may "
            "differ in the last digits from an uninterrupted run",
            CheckpointWarning,
            stacklevel=4,
        )
    return found


def _read_header(path: Path) -> Header | None:
    try:
        stored = json.loads(read_regular(path))
        found = stored["format"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found}, and this version of gainjax knows format {FORMAT}: use "
            f"the version that wrote it, or remove {path.parent} to start over"
        )
    if stored != identity.seal(stored):
        raise _damaged(path, "its checksum is wrong")
    try:
        fields = {name: stored[name] for name in Header._fields}
        spec, columns = RunSpec.from_json(stored["spec"]), Columns(**stored["columns"])
        return Header(**fields | {"spec": spec, "columns": columns})
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is damaged ({reason}), so its contents are unknown: remove {path.parent} "
        "to start over"
    )


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    logger = logging.getLogger("absl")  # where Orbax reports every step
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
