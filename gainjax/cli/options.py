"""The options of the commands, and the arguments of the Python interface that they map to."""

import dataclasses
import socket
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import tyro

from gainjax.checks import check_integer
from gainjax.cli.meeting import meet
from gainjax.cli.values import parse_methods, parse_seeds, parse_settings
from gainjax.models.model import Modulate
from gainjax.runs.api import DEFAULT_METHODS
from gainjax.training import Protocol
from gainjax.training.layout import Kind
from gainjax.training.processes import check_devices
from gainjax.training.program import Form
from gainjax.training.protocol import BatchGrowth, Buffer, Evaluated, Regime

_LONGEST_WAIT = 10**6  # seconds
_MOST_MEMORY = 1e9  # GB


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Several processes that share the runs; give each the same command."""

    distributed: bool = False
    """Share the runs with the other processes of a SLURM, MPI or cloud job, which JAX detects."""
    coordinator: str | None = None
    """HOST:PORT of the first process, if there is no job system that JAX can detect."""
    processes: int | None = None
    """Number of processes, with --coordinator."""
    process_id: int | None = None
    """Number of this process, from 0, with --coordinator."""
    timeout: int = 300
    """Seconds to wait for the other processes."""

    def join(self) -> None:
        """Join the other processes, if requested; before JAX is used."""
        given = (self.coordinator, self.processes, self.process_id)
        if any(x is not None for x in given) and any(x is None for x in given):
            raise ValueError(
                "--coordinator HOST:PORT, --processes N and --process-id K belong together: got "
                f"{self.coordinator}, {self.processes} and {self.process_id}"
            )
        if self.distributed or self.coordinator is not None:
            check_integer("--timeout", self.timeout, 1)
            if self.timeout > _LONGEST_WAIT:
                raise ValueError(f"--timeout must be at most {_LONGEST_WAIT}: got {self.timeout}")
            if self.coordinator is not None:
                self._meet(self.coordinator)
            jax.distributed.initialize(*given, initialization_timeout=self.timeout)
        check_devices()

    def _meet(self, address: str) -> None:
        """Wait for the other processes; raise if the address or a number is invalid."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(f"--coordinator must be HOST:PORT: got {address!r}")
        check_integer("--processes", self.processes, 1)
        check_integer("--process-id", self.process_id, 0)
        number, processes = cast(int, self.process_id), cast(int, self.processes)
        if number >= processes:
            raise ValueError(f"--process-id must be below --processes: got {number} of {processes}")
        try:
            socket.getaddrinfo(host.strip("[]"), int(port))
        except (OSError, UnicodeError) as error:
            raise ValueError(f"--coordinator names an unknown host: {host!r}") from error
        meet(host.strip("[]"), int(port), processes, number, self.timeout)


@dataclasses.dataclass(frozen=True)
class Output:
    """What a command prints."""

    quiet: bool = False
    """Print neither progress nor tables."""
    json: bool = False
    """Print one JSON object, with a row for each setting, instead of tables."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run is carried out; this affects no results, apart from the rounding of the layouts."""

    chunk: int = 100
    """Updates per call of the compiled program."""
    layout: Kind | None = None
    """How a device trains its runs: one by one or batched. Default: whatever is faster there."""
    memory_gb: float | None = None
    """Memory for concurrent runs. Default: a share of the machine's memory."""
    threads: int | None = None
    """Parts of the run trained in parallel on a CPU. Default: whatever is faster."""
    cluster: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of :func:`gainjax.run`."""
        if self.memory_gb is not None and not 0 < self.memory_gb <= _MOST_MEMORY:
            raise ValueError(f"--memory-gb must be a positive number: got {self.memory_gb}")
        return {
            "chunk": self.chunk,
            "layout": self.layout,
            "memory": None if self.memory_gb is None else self.memory_gb * 2**30,
            "threads": self.threads,
        }


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What to run; defaults are the benchmark's own, see `gainjax list BENCHMARK`."""

    methods: tuple[str, ...] = DEFAULT_METHODS
    """Methods: names from `gainjax list`, or custom ones such as my_package.my_module:lion or
    ./mine.py:lion; with a label: fast=./mine.py:lion."""
    seeds: str = "5"
    """A number of seeds (5: those from 0 to 4, the same in every job of an array), a range that
    excludes its end (5:10), or the seeds (3,7)."""
    data_dir: Path | None = None
    """Folder with the data: a prepared TFDS folder, or NAME.npz with Keras array names."""
    out: Path | None = None
    """Folder for curves, table and figure. Default: runs/BENCHMARK, or runs/BENCHMARK-sweep for
    a sweep."""
    set: tuple[str, ...] = ()
    """Hyperparameters: learning_rate=0.1 for all methods, adam.learning_rate=0.001 for one."""
    updates_per_task: tuple[int, ...] = ()
    """Updates on each task: one number for all, or one for each."""
    batch_size: int | None = None
    """Examples per update."""
    eval_every: int | None = None
    """Evaluate every N updates, and at the beginning and end of each task."""
    eval_tasks: Evaluated | None = None
    """Evaluate the test set of the first task or of all tasks."""
    eval_examples: int | None = None
    """Evaluate on a fixed random subset of this size of each test set."""
    eval_batch_size: int | None = None
    """Test examples per forward pass. Default: a whole test set at once."""
    seen_every: int | None = None
    """Measure accuracy on all tasks seen so far every N updates."""
    dense_updates: int | None = None
    """Evaluate, and measure accuracy on all tasks seen so far, after each of the first N updates
    of a task, too."""
    batch_growth: BatchGrowth | None = None
    """Batches of task k have the batch size, or k times the batch size."""
    regime: Regime | None = None
    """Train later tasks on all data so far, new data and a memory, new data only, or task 1's."""
    buffer: Buffer | None = None
    """Replay memory: uniform over the past, or balanced by class."""
    buffer_size: int | None = None
    """Examples in the replay memory."""
    gain_from: Path | None = None
    """Folder of a finished run whose gain the controls borrow."""
    gain_setting: str | None = None
    """Which setting of that run, if several have a gain."""
    form: Form = "optimizer"
    """Where the gain is: in the optimizer or in the model. The two agree up to rounding."""
    modulate: Modulate | None = None
    """Which layers of the model have a gain."""
    extend: bool = False
    """Add seeds or methods to the finished run in the folder."""
    how: Annotated[Execution, tyro.conf.arg(name="")] = Execution()
    output: Annotated[Output, tyro.conf.arg(name="")] = Output()

    def arguments(self, out: Path) -> dict[str, Any]:
        """Return the arguments of :func:`gainjax.run`.

        Args:
            out: Folder for the results.
        """
        updates = self.updates_per_task
        protocol = {field.name: getattr(self, field.name) for field in _PROTOCOL}
        protocol["updates_per_task"] = (updates[0] if len(updates) == 1 else updates) or None
        self.how.cluster.join()
        return {
            "methods": parse_methods(self.methods),
            "seeds": parse_seeds(self.seeds),
            "data_dir": self.data_dir,
            "out": out,
            "hyperparameters": parse_settings(self.set),
            "eval_examples": self.eval_examples,
            "gain_from": self.gain_from,
            "gain_setting": self.gain_setting,
            "form": self.form,
            "modulate": self.modulate,
            "extend": self.extend,
            "progress": not self.output.quiet and jax.process_index() == 0,
            **self.how.arguments(),
            **{name: value for name, value in protocol.items() if value is not None},
        }


_PROTOCOL = dataclasses.fields(Protocol)
