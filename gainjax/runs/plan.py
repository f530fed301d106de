"""From names and options to a plan: the description of a run and its programs."""

import dataclasses
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.checks import check_integer
from gainjax.curves import Setting, check_settings
from gainjax.data import Stream
from gainjax.gain import GainDynamics
from gainjax.methods import METHODS, TRACE, Method
from gainjax.methods.method import schedule
from gainjax.models.model import Modulate
from gainjax.runs import identity
from gainjax.runs.benchmark import Benchmark, seen_by_task
from gainjax.runs.borrow import Borrowed
from gainjax.runs.settings import Schedule
from gainjax.runs.spec import RunSpec
from gainjax.training import Program
from gainjax.training.layout import Kind as LayoutKind
from gainjax.training.program import Form


@dataclasses.dataclass(frozen=True)
class How:
    """How a run is carried out; none of this affects the results, except the layout's rounding.

    Args:
        out: Output directory, or None.
        data_dir: Where the data are.
        chunk: Updates per call of the compiled program.
        layout: How runs share a device.
        devices: Devices of this process.
        memory: Bytes that concurrent runs may use.
        threads: Parts trained in parallel on the cores of a CPU, or None to measure.
        progress: Whether to show a progress bar.
        on_chunk: Called with the method's label, the updates so far and the new curves.
        return_states: Whether final states are kept.
        snapshots: Updates after which states are kept, or None.
    """

    out: str | Path | None = None
    data_dir: str | Path | None = None
    chunk: int = 100
    layout: LayoutKind | None = None
    devices: Sequence[jax.Device] | None = None
    memory: float | None = None
    threads: int | None = None
    progress: bool = False
    on_chunk: Callable[[str, int, Any], None] | None = None
    return_states: bool = False
    snapshots: Sequence[int] | None = None

    @property
    def wants_states(self) -> bool:
        """Whether any states are requested."""
        return self.return_states or self.snapshots is not None

    def __post_init__(self) -> None:
        check_integer("chunk", self.chunk, 1)
        if self.threads is not None:
            check_integer("threads", self.threads, 1)
        memory = self.memory
        if memory is not None and not (isinstance(memory, numbers.Real) and 0 < memory < math.inf):
            raise ValueError(f"memory must be a positive number of bytes: got {memory!r}")
        if self.devices is not None and not isinstance(self.devices, Sequence):
            raise TypeError(f"devices must be a list of jax.Device: got {self.devices!r}")
        if self.on_chunk is not None:
            _check_callback(self.on_chunk)
        if self.snapshots is not None and not isinstance(self.snapshots, Sequence):
            raise TypeError(f"snapshots must be a list of updates: got {self.snapshots!r}")


def _check_callback(function: Any) -> None:
    """Raise TypeError unless a function can be called with a label, the updates and the curves."""
    if not callable(function):
        raise TypeError(f"on_chunk must be a function: got {function!r}")
    try:
        inspect.signature(function).bind("sgd", 100, None)
    except TypeError as error:
        raise TypeError(
            "on_chunk must take three arguments, the method's label, the updates so far and the "
            f"new curves: got {function!r}, {error}"
        ) from None
    except ValueError:  # some built-ins have no signature
        return


class Kind(NamedTuple):
    """The common features of settings that share a compiled program."""

    label: str  # of the method
    given: frozenset[str]  # names of the hyperparameters that are not None
    schedules: frozenset[str]  # names of those that have one value per update

    def described(self) -> str:
        """Return the kinds of numbers as text."""
        names = (f"{name}[]" if name in self.schedules else name for name in sorted(self.given))
        return ", ".join(names)


class Group(NamedTuple):
    """Settings that share a compiled program: of one method, and with the same kinds of numbers."""

    name: str  # also of its files
    program: Program
    rows: tuple[Setting, ...]
    kind: Kind
    update: Any = None  # its trace, which tells how much memory a run takes

    @property
    def arguments(self) -> frozenset[str]:
        """Names of all numbers of a run: those given, and a borrowed gain."""
        given = self.kind.given
        return given | {TRACE} if self.program.method.borrows_gain else given


class Plan(NamedTuple):
    """A run to train: its description, data and programs."""

    spec: RunSpec
    groups: tuple[Group, ...]
    stream: Stream
    borrowed: Borrowed | None

    @property
    def runs(self) -> dict[str, int]:
        """Number of runs of each group: settings times seeds."""
        return {g.name: len(g.rows) * len(self.spec.seeds) for g in self.groups}

    def hyperparameters(self, group: Group) -> dict[str, np.ndarray]:
        """Return the hyperparameters of all runs of a group, settings first and then seeds."""
        seeds = len(self.spec.seeds)
        values = {
            name: np.repeat([_plain(row.hyperparameters[name]) for row in group.rows], seeds, 0)
            for name in group.kind.given
        }
        if self.borrowed is not None and group.program.method.borrows_gain:
            gain = self.borrowed.of_seeds(self.spec.seeds)
            values[TRACE] = np.tile(gain, (len(group.rows), 1))
        return values


def make_plan(
    benchmark: Benchmark,
    methods: Mapping[str, Method],
    settings: Sequence[Setting],
    seeds: Sequence[int],
    stream: Stream,
    *,
    eval_examples: int | None = None,
    form: Form = "optimizer",
    modulate: Modulate | None = None,
    borrowed: Borrowed | None = None,
) -> Plan:  # one argument for each constituent of a run
    """Return a plan, checked and fully described.

    Args:
        benchmark: The benchmark, with the protocol of this run.
        methods: Methods by label.
        settings: The rows of the results.
        seeds: Seeds.
        stream: The tasks.
        eval_examples: Size of the evaluation subsets, or None.
        form: Where the gain is.
        modulate: Which layers have a gain.
        borrowed: The gain of another run, or None.
    """
    check_settings(settings)
    model = benchmark.model_for(stream, modulate)
    groups = _groups(benchmark, methods, settings, stream, form, modulate)
    shared, programs, groups = _identified(groups, stream)
    spec = RunSpec(
        benchmark=benchmark.name,
        model=model.description,
        score=benchmark.goal.score_name,
        tasks=len(stream.task_end),
        settings=tuple(settings),
        seeds=tuple(seeds),
        protocol=benchmark.protocol,
        eval_examples=eval_examples,
        form=form,
        modulate=modulate or benchmark.modulate,
        data=identity.checksum(stream),
        borrowed=None if borrowed is None else borrowed.described(seeds),
        common=shared,
        programs=programs,
        found_by=benchmark.reference,
        references={
            label: method.name if METHODS.get(method.name) is method else method.reference
            for label, method in methods.items()
        },
        classes_seen=seen_by_task(benchmark.goal, stream),
        borrowed_from=None if borrowed is None else borrowed.directory,
        dynamics=_dynamics(methods, settings),
    )
    return Plan(spec, groups, stream, borrowed)


def _dynamics(
    methods: Mapping[str, Method], settings: Sequence[Setting]
) -> dict[str, dict[str, float | None]]:
    """Return the numbers of the gain of each setting whose gain obeys constant dynamics."""
    found = {}
    for row in settings:
        method = methods[row.method]
        values = {k: _as_hyperparameter(v) for k, v in row.hyperparameters.items()}
        if method.gain is None or method.borrows_gain:
            continue
        rule = method.rule(values)
        if isinstance(rule, GainDynamics):
            found[row.label] = {k: v if v is None else float(v) for k, v in vars(rule).items()}
    return found


def _as_hyperparameter(value: Any) -> Any:
    """Return a value as a method takes it."""
    return schedule(jnp.asarray(value.values)) if isinstance(value, Schedule) else value


def _groups(
    benchmark: Benchmark,
    methods: Mapping[str, Method],
    settings: Sequence[Setting],
    stream: Stream,
    form: Form,
    modulate: Modulate | None,
) -> tuple[Group, ...]:
    return tuple(
        Group(
            name,
            benchmark.program(
                methods[kind.label], stream, form=form, modulate=modulate, schedules=kind.schedules
            ),
            rows,
            kind,
        )
        for name, (kind, rows) in group_settings(settings).items()
    )


def group_settings(settings: Sequence[Setting]) -> dict[str, tuple[Kind, tuple[Setting, ...]]]:
    """Return the settings of each compiled program, by the name of its files.

    Args:
        settings: The rows of the results.
    """
    kinds: dict[Kind, list[Setting]] = {}
    for row in settings:
        values = row.hyperparameters
        given = frozenset(name for name, value in values.items() if value is not None)
        schedules = frozenset(name for name in given if isinstance(values[name], Schedule))
        kinds.setdefault(Kind(row.method, given, schedules), []).append(row)
    names = _file_names([kind.label for kind in kinds])
    return {
        name: (kind, tuple(rows)) for name, (kind, rows) in zip(names, kinds.items(), strict=True)
    }


def _identified(
    groups: Sequence[Group], stream: Stream
) -> tuple[str, dict[str, dict[str, str]], tuple[Group, ...]]:
    """Return fingerprints of what the methods share and of each program, and identified groups.

    Those of programs are by label and by the kinds of the numbers.
    """
    shared = identity.shared_fingerprint(groups[0].program, stream)
    found: dict[str, dict[str, str]] = {}
    identified = []
    for group in groups:
        text, update = _fingerprint(group, stream)
        found.setdefault(group.kind.label, {})[group.kind.described()] = text
        program = dataclasses.replace(group.program, code=text, shared_code=shared)
        identified.append(group._replace(program=program, update=update))
    return shared, found, tuple(identified)


def _fingerprint(group: Group, stream: Stream) -> tuple[str, Any]:
    try:
        return identity.fingerprint(group.program, stream, group.arguments)
    except TypeError as error:
        if group.program.goal.uncertainty is None and "uncertainty" in str(error):
            raise ValueError(
                f"{group.rows[0].method} follows uncertainty, but this benchmark has none, since "
                "its loss is not the cross-entropy: give Benchmark(uncertainty=...)"
            ) from error
        raise


def _file_names(labels: Sequence[str]) -> list[str]:
    """Return a file name for each group: its label if that is safe and unique."""
    slugs = [re.sub(r"[^A-Za-z0-9_-]+", "-", label)[:40].strip("-") for label in labels]
    plain = [s == label and labels.count(s) == 1 for s, label in zip(slugs, labels, strict=True)]
    taken = {slug for slug, is_plain in zip(slugs, plain, strict=True) if is_plain}
    names = []
    for i, (slug, is_plain) in enumerate(zip(slugs, plain, strict=True)):
        name = slug if is_plain else f"{i}-{slug}"
        while not is_plain and name in taken:
            name = f"{name}-"
        taken.add(name)
        names.append(name)
    return names


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, Schedule) else value
