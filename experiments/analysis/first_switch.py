"""Snapshots around the first switch of a benchmark, and the losses that are taken at them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import xarray as xr

from experiments.lab import Lab, first_tasks
from gainjax import Benchmark
from gainjax.analysis import Examples, Network, Subject, snapshots_around

AFTER = (1, 2, 5, 10, 20, 50, 100)  # updates after the switch
_SMOKE_AFTER, _SMOKE_UPDATES = (1, 2), 4


class FirstSwitch(NamedTuple):
    """Runs of the first two tasks, with snapshots around the switch between them."""

    name: str
    subject: Subject
    curves: xr.Dataset
    states: Mapping[str, Any]
    at: list[int]  # updates of the snapshots: before the switch, then after it


def first_switch(
    lab: Lab,
    program: str,
    whole: Benchmark,
    methods: Sequence[str],
    seeds: int,
    *,
    to_end: bool = False,
    **options: Any,
) -> FirstSwitch:
    """Run the first two tasks of a benchmark and keep the snapshots.

    Args:
        lab: Folders and options.
        program: Name of the program, whose runs these are.
        whole: The benchmark.
        methods: Methods to run.
        seeds: Number of seeds.
        to_end: Whether to take a snapshot at the end of the second task, too.
        **options: Further options of :func:`gainjax.run`.
    """
    bench = whole if lab.smoke else first_tasks(whole, 2)
    short = bench.replace(updates_per_task=_SMOKE_UPDATES) if lab.smoke else bench
    after = _SMOKE_AFTER if lab.smoke else AFTER
    ends = short.protocol.task_ends(2)
    at = snapshots_around(short, 1, (*after, *[int(ends[1] - ends[0])] * to_end))
    subject = Subject(short, None if lab.smoke else lab.data_dir, lab.eval_examples)
    folder = f"{program}/{bench.name}"
    curves, states = lab.run(folder, bench, methods, seeds, snapshots=at, **options)
    return FirstSwitch(whole.name, subject, curves, states, at)


def loss_on(subject: Subject, examples: Examples) -> Callable[[Any], jax.Array]:
    """Return the mean loss on some examples as a function of the weights of a stateless network.

    Args:
        subject: The benchmark.
        examples: The examples.
    """

    def loss(params: Any) -> jax.Array:
        outputs = subject.outputs(Network(params, {}), examples.inputs)
        return subject.bench.goal.loss(outputs, examples.targets).mean()

    return loss
