"""Train a plan in parts that fit into memory, each stored until the whole run is written."""

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from gainjax import curves
from gainjax.files import expanded
from gainjax.runs import arrived, guard, identity
from gainjax.runs.cutting import Cut, choose_cut
from gainjax.runs.finished import find_finished
from gainjax.runs.part_store import CheckpointWarning, PartStore
from gainjax.runs.parts import Part, split
from gainjax.runs.plan import Group, How, Plan
from gainjax.runs.progress import Report, progress_bar
from gainjax.runs.snapshots import fault_of, load_states, save_states, stacked, wanted_updates
from gainjax.runs.store import Header, RunStore, is_unfinished, open_store, stored_header
from gainjax.training import Chunk, Record, TrainState, make_layout, train
from gainjax.training.keys import as_data
from gainjax.training.layout import Layout
from gainjax.training.loop import abstract_states
from gainjax.training.processes import agree, gather, in_any, same_everywhere, share, wait_for_all
from gainjax.training.threads import cores, run_all


class DivergenceWarning(UserWarning):
    """The loss or score of a seed became NaN or infinite. Other seeds are not affected."""


class Trained(NamedTuple):
    """The result of training a part."""

    record: Record
    seconds: float
    states: TrainState | None  # on the host, shape (R, snapshots, ...), if any are kept


def execute(plan: Plan, how: How) -> tuple[xr.Dataset, dict[str, Any]]:
    """Train a plan and return one dataset, or finish what was interrupted.

    Args:
        plan: The plan of the run.
        how: How to carry it out.

    Returns:
        The curves, and the snapshots of each setting by label, shape (seeds, snapshots, ...).

    Raises:
        ValueError: If ``out`` holds another run, or processes were given different ones.
        OSError: If ``out`` cannot be written to, or another process is using it.
        gainjax.Interrupted: If a signal stopped a run with ``out``.
    """
    described = plan.spec.to_json()
    same_everywhere("the run", identity.canonical(described))
    layout = make_layout(how.layout, how.devices)
    environment = identity.environment(layout.kind)
    unfinished = how.out is not None and is_unfinished(how.out)
    # A process may have been killed before removing the unfinished run, which needs the lock.
    if not unfinished and (kept := _kept(how, plan, environment)) is not None:
        return kept
    header = _resumed_or_new(plan, how, layout, environment)
    with contextlib.ExitStack() as stack:
        store = None
        if how.out is not None:
            store = stack.enter_context(open_store(how.out, header))
            # Again: another process may have finished before we got the lock.
            if (kept := _kept(how, plan, environment)) is not None:
                store.remove()
                return kept
            header = store.header
        parts = split(plan.runs, header.batches)
        total = int(plan.spec.protocol.task_ends(len(plan.stream.task_end))[-1])
        report = stack.enter_context(progress_bar(total * len(parts), shown=how.progress))
        trainer = _Trainer(plan, how, layout, total, store, report)
        trained = _unless_stopped(lambda: trainer.all(parts, header.threads), how)
        records = _by_label(plan, parts, [part.record for part in trained])
        seconds = sum(part.seconds for part in trained)
        dataset = arrived.to_dataset(plan.spec, records, header.columns, environment, seconds)
        states = {}
        if how.wants_states:
            states = _by_label(plan, parts, [part.states for part in trained])
        if store is not None and how.out is not None:
            if jax.process_index() == 0:
                if how.wants_states:
                    save_states(expanded(how.out), plan.spec, trainer.snapshots, states)
                curves.save(dataset, how.out)
            wait_for_all("gainjax: results are saved")
            store.remove()
    warn_of_divergence(dataset)
    return dataset, states


def _resumed_or_new(plan: Plan, how: How, layout: Layout, environment: Mapping[str, Any]) -> Header:
    """Describe a run; a resumed one keeps its original division into parts."""
    found = None if how.out is None else stored_header(how.out)
    if found is None:
        cut = choose_cut(plan, layout, how)
    else:
        cut = Cut(found.batches, how.threads or min(found.threads, cores()))
    return Header(
        plan.spec,
        environment,
        None if how.data_dir is None else str(how.data_dir),
        jax.process_count(),
        dict(cut.sizes),
        cut.threads,
        arrived.columns_of(plan),
    )


class _Trainer:
    """Trains parts, some in parallel, and stores and reports their results."""

    def __init__(
        self,
        plan: Plan,
        how: How,
        layout: Layout,
        total: int,
        store: RunStore | None,
        report: Report,
    ) -> None:
        self.plan, self.how, self.layout, self.total = plan, how, layout, total
        self.store, self.report = store, report
        self.snapshots = wanted_updates(how, total)
        self._groups = {group.name: group for group in plan.groups}
        self._failed = threading.Event()
        self._one_at_a_time = threading.Lock()

    def all(self, parts: Sequence[Part], threads: int) -> list[Trained]:
        """Train all parts; return their results."""
        hyperparameters = {g.name: self.plan.hyperparameters(g) for g in self.plan.groups}
        tasks = [partial(self._part, part, hyperparameters[part.group]) for part in parts]
        return run_all(tasks, min(threads, len(parts)), self._failed.set)

    def _part(self, part: Part, hyperparameters: Mapping[str, np.ndarray]) -> Trained:
        """Train the remainder of a part."""
        self.report(part.name, 0)
        with contextlib.ExitStack() as stack:
            store = None
            if self.store is not None:
                store = stack.enter_context(self.store.part(part.name, snapshots=self.snapshots))
                if (kept := store.finished()) is not None:
                    states = store.snapshots(self._abstract(part), self.total)
                    if states is not None:
                        self.report(part.name, self.total)
                        return Trained(*kept, self._stacked(states))
            return self._train(part, hyperparameters, store)

    def _train(
        self, part: Part, hyperparameters: Mapping[str, np.ndarray], store: PartStore | None
    ) -> Trained:
        started = time.monotonic()
        states: dict[int, TrainState] = {}

        def restore(abstract: TrainState) -> tuple[int, TrainState] | None:
            found = None if store is None else store.restore(abstract)
            self.report(part.name, found[0] if found else 0)
            if store is not None and found is not None:
                states.update(store.snapshots(abstract, found[0]) or {})
            return found

        records = []
        group = self._groups[part.group]
        seeds = np.tile(self.plan.spec.seeds, len(group.rows))[part.runs]
        values = {name: array[part.runs] for name, array in hyperparameters.items()}
        for chunk in train(
            group.program,
            self.plan.stream,
            seeds,
            values,
            chunk=self.how.chunk,
            stops=self.snapshots,
            layout=self.layout,
            restore=restore,
        ):
            if chunk.done in self.snapshots:
                states[chunk.done] = store.keep_snapshot(chunk) if store else chunk.snapshot()
            if chunk.done == 0:
                continue
            self.report(part.name, chunk.done - chunk.start)
            self._call_back(group, part.runs, chunk)
            if store is not None:
                store.keep(chunk)  # first: after a signal, all parts store what they have
            else:
                records.append(chunk.records)
            if self._failed.is_set():
                raise _Cancelled
        if store is not None:
            kept = store.finished()  # with the updates before the last restart
            if kept is None:
                raise OSError(f"the curves of {part.name} were removed during the run")
            return Trained(*kept, self._stacked(states))
        record = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *records)
        return Trained(record, time.monotonic() - started, self._stacked(states))

    def _stacked(self, states: Mapping[int, TrainState]) -> TrainState | None:
        return stacked([states[n] for n in self.snapshots], axis=1) if self.snapshots else None

    def _abstract(self, part: Part) -> TrainState:
        group = self._groups[part.group]
        one = as_data(abstract_states(group.program, self.plan.stream, group.arguments))
        number = len(part.runs)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((number, *x.shape), x.dtype), one)

    def _call_back(self, group: Group, index: np.ndarray, chunk: Chunk) -> None:
        if self.how.on_chunk is not None:
            came_in = arrived.label(self.plan, group, index, chunk)
            with self._one_at_a_time:
                self.how.on_chunk(group.kind.label, chunk.done, came_in)


def _unless_stopped(work: Callable[[], list[Trained]], how: How) -> list[Trained]:
    """Do the work of this process; raise if another one was stopped, since its share is missing."""
    try:
        done = work()
    except guard.Interrupted:
        in_any(True)  # or the others would wait forever
        raise
    if in_any(False):
        raise guard.Interrupted(
            "stopped because another process of this run was stopped. Everything is stored in "
            f"{how.out}: give all processes the same command again to resume",
            signal.SIGTERM,
        )
    return done


class _Cancelled(Exception):
    """Another part has failed."""


def _kept(
    how: How, plan: Plan, environment: Mapping[str, Any]
) -> tuple[xr.Dataset, dict[str, Any]] | None:
    """Return the finished run in a directory if it is this one, the same for every process."""
    kept = find_finished(how.out, plan.spec, environment) if how.out else None
    if not agree(f"{how.out} holds this run already", kept is not None) or kept is None:
        return None
    states: dict[str, Any] = {}
    if how.wants_states and how.out is not None:
        total = int(plan.spec.protocol.task_ends(plan.spec.tasks)[-1])
        folder, updates = expanded(how.out), wanted_updates(how, total)
        fault = fault_of(folder, plan.spec, updates)
        if not agree(f"{how.out} holds the states already", not fault):
            warnings.warn(
                f"{how.out} holds this run, but {fault or 'not its states'}. It is trained again",
                CheckpointWarning,
                stacklevel=6,
            )
            return None
        states = load_states(folder, plan, updates)
    warn_of_divergence(kept)
    return kept, states


def _by_label(plan: Plan, parts: Sequence[Part], trees: Sequence[Any]) -> dict[str, Any]:
    """Return the arrays of each setting, over its seeds, from the parts of this process."""
    found = {}
    seeds = len(plan.spec.seeds)
    for group in plan.groups:
        runs = plan.runs[group.name]
        mine = len(share(runs))
        own = [tree for part, tree in zip(parts, trees, strict=True) if part.group == group.name]
        joined = jax.tree.map(lambda *arrays, m=mine: np.concatenate(arrays)[:m], *own)
        everything = gather(joined, runs)
        for i, row in enumerate(group.rows):
            rows = slice(i * seeds, (i + 1) * seeds)
            found[row.label] = jax.tree.map(lambda x, s=rows: x[s], everything)
    return found


def warn_of_divergence(dataset: xr.Dataset) -> None:
    """Name every setting, seed and update at which a run diverged.

    Args:
        dataset: Curves.
    """
    reason = (
        "the loss is not finite. From then on, answers count as wrong; try a smaller learning rate"
    )
    if dataset.attrs["score"] != "accuracy":
        reason = (
            "the loss or the score is not finite, so the seed has no metrics. If it is the loss, "
            "try a smaller learning rate"
        )
    for label, updates in zip(dataset.setting.values, dataset.diverged_update.values, strict=True):
        if (bad := updates > 0).any():
            plural = "s" if bad.sum() > 1 else ""
            seeds = ", ".join(map(str, dataset.seed.values[bad]))
            when = ", ".join(map(str, updates[bad]))
            warnings.warn(
                f"{label} with seed{plural} {seeds} diverged at update{plural} {when}: {reason}",
                DivergenceWarning,
                stacklevel=7,
            )
