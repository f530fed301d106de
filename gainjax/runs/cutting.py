"""Into how many parts runs are cut, and how many of these are trained side by side."""

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

_WORTH = 1.1  # how much sooner side by side must be
_gains: dict[tuple[Work, int, int], float] = {}  # measured in this process, by work, runs, threads


class Cut(NamedTuple):
    """How runs are cut."""

    sizes: Mapping[str, int]  # runs of each group that are trained at once
    threads: int  # parts that are trained side by side


def choose_cut(plan: Plan, layout: Layout, how: How) -> Cut:
    """Choose how runs are cut: by memory, and on the cores of a CPU by measurement.

    Args:
        plan: What is trained.
        layout: Where and how.
        how: Memory, threads and chunks.
    """
    threads = (how.threads or cores()) if may_share_cores(layout) else 1
    whole = _sizes(plan, layout, how, 1)
    if threads == 1:
        return Cut(whole, 1)
    spread = _sizes(plan, layout, how, threads)
    if len(split(plan.runs, spread)) == 1:
        return Cut(whole, 1)
    if how.threads is not None or _is_sooner(plan, layout, how, spread, threads):
        return Cut(spread, threads)
    return Cut(whole, 1)


def _sizes(plan: Plan, layout: Layout, how: How, threads: int) -> dict[str, int]:
    """Return how many runs of each group are trained at once."""
    runs = {name: len(share(number)) for name, number in plan.runs.items()}
    memory = None if how.memory is None else how.memory / threads
    sizes = {
        group.name: runs_at_once(
            group.program,
            layout,
            plan.stream,
            runs[group.name],
            names=group.arguments,
            chunk=how.chunk,
            memory=memory,
        )
        for group in plan.groups
    }
    count = sum(math.ceil(runs[name] / size) for name, size in sizes.items())
    if threads > 1 and count % threads and count < 2 * threads:  # some threads would wait
        sizes = {name: min(size, math.ceil(runs[name] / threads)) for name, size in sizes.items()}
    return sizes


def _is_sooner(
    plan: Plan, layout: Layout, how: How, sizes: Mapping[str, int], threads: int
) -> bool:
    """Measure whether all runs end sooner side by side, those that fill parts up included."""
    group = plan.groups[0]
    size = sizes[group.name]
    index = np.arange(size) % plan.runs[group.name]
    program = group.program
    length = min(how.chunk, program.protocol.longest_task)
    work = Work(program, layout, length, program.protocol.batch_size_of(0))
    values = {name: array[index] for name, array in plan.hyperparameters(group).items()}
    seeds = np.tile(plan.spec.seeds, len(group.rows))[index]
    if (gain := _gains.get((work, size, threads))) is None:
        gain = gain_of_company(work, plan.stream, seeds, values, threads)
        _gains[work, size, threads] = gain
    parts = split(plan.runs, sizes)
    # In units of the time that a part of the first group takes alone.
    in_turn = sum(plan.runs.values()) / size
    side_by_side = math.ceil(len(parts) / threads) * threads / gain
    return in_turn > _WORTH * side_by_side
