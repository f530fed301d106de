"""How runs are divided into parts, and how many parts are trained in parallel."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gainjax.runs.parts import split
from gainjax.runs.plan import How, Plan
from gainjax.training.advance import Work
from gainjax.training.layout import Layout
from gainjax.training.memory import runs_at_once
from gainjax.training.processes import share
from gainjax.training.threads import cores, gain_of_company, may_share_cores

_WORTH = 1.1  # minimum speedup for training in parallel
# Measurements of this process, by work, runs per thread, threads and the speedup needed.
_gains: dict[tuple[Work, int, int, float, float], float | None] = {}


class Cut(NamedTuple):
    """The division of runs into parts."""

    sizes: Mapping[str, int]  # runs of each group that are trained together
    threads: int  # parts that are trained in parallel


def choose_cut(plan: Plan, layout: Layout, how: How) -> Cut:
    """Choose how runs are divided: by memory, and on the cores of a CPU by measurement.

    Args:
        plan: The plan of the run.
        layout: The layout on hardware.
        how: Memory, threads and chunks.
    """
    threads = (how.threads or cores()) if may_share_cores(layout) else 1
    whole = _fitting(plan, layout, how, 1)
    if threads == 1:
        return Cut(whole, 1)
    fitting = _fitting(plan, layout, how, threads)
    spread = _spread(plan, fitting, threads)
    if len(split(plan.runs, spread)) == 1:
        return Cut(whole, 1)
    if how.threads is not None:
        return Cut(spread, threads)
    gain, needed = _gain(plan, layout, how, fitting, Cut(spread, threads))
    if gain is None:
        return Cut(fitting, threads)  # at least compile in parallel
    return Cut(spread, threads) if gain > needed else Cut(whole, 1)


def _fitting(plan: Plan, layout: Layout, how: How, threads: int) -> dict[str, int]:
    """Return how many runs of each group fit into memory together, alongside other threads."""
    memory = None if how.memory is None else how.memory / threads
    return {
        group.name: runs_at_once(
            group.update,
            layout,
            len(share(plan.runs[group.name])),
            length=min(how.chunk, group.program.protocol.longest_task),
            memory=memory,
        )
        for group in plan.groups
    }


def _spread(plan: Plan, fitting: Mapping[str, int], threads: int) -> dict[str, int]:
    """Return part sizes that give every thread a part."""
    runs = {name: len(share(number)) for name, number in plan.runs.items()}
    count = sum(math.ceil(runs[name] / size) for name, size in fitting.items())
    if count % threads and count < 2 * threads:
        return {name: min(size, math.ceil(runs[name] / threads)) for name, size in fitting.items()}
    return dict(fitting)


def _gain(
    plan: Plan, layout: Layout, how: How, fitting: Mapping[str, int], cut: Cut
) -> tuple[float | None, float]:
    """Measure what a cut gains, as :func:`gain_of_company`, and return also what it must gain.

    That includes the runs that pad parts.
    """
    group = plan.groups[0]
    # Use the part size of the sequential division, usually: if parallel training does not pay, no
    # second program is compiled for nothing, which takes seconds for large ones.
    size = fitting[group.name]
    index = np.arange(size) % plan.runs[group.name]
    program = group.program
    length = min(how.chunk, program.protocol.longest_task)
    work = Work(program, layout, length, program.protocol.batch_size_of(0))
    updates = int(program.protocol.task_ends(len(plan.stream.task_end))[-1])
    runs, threads = sum(plan.runs.values()), cut.threads
    whole = updates * runs / size
    # In units of the time that a part of the first group takes alone.
    side_by_side = math.ceil(len(split(plan.runs, cut.sizes)) / threads) * threads
    needed = _WORTH * side_by_side / (runs / cut.sizes[group.name])
    key = (work, size, threads, needed, whole)
    if key not in _gains:
        values = {name: array[index] for name, array in plan.hyperparameters(group).items()}
        seeds = np.tile(plan.spec.seeds, len(group.rows))[index]
        _gains[key] = gain_of_company(work, plan.stream, seeds, values, threads, needed, whole)
    return _gains[key], needed
