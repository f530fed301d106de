"""Short runs on digits by the training loop itself."""

import numpy as np

from gainjax.methods import get_method
from gainjax.runs.benchmarks import get_benchmark
from gainjax.training import collect, train

BENCHMARK = get_benchmark("split-digits")
PLAIN = ("ngm-sgd", "sgd", "msgd", "adam")
# A program compiles for seconds, so tests run the same few: this one, and a sparse one.
USUAL = {"updates_per_task": 8, "batch_size": 64, "seen_every": 1}


def run(stream, method="ngm-sgd", seeds=(0,), settings=None, form="optimizer", **options):
    return collect(chunks(stream, method, seeds, settings, form, **options))


def chunks(stream, method="ngm-sgd", seeds=(0,), settings=None, form="optimizer", **options):
    loop = {k: options.pop(k) for k in ("chunk", "layout") if k in options}
    of_program = {k: options.pop(k) for k in ("modulate", "schedules") if k in options}
    program = make_program(stream, method, form=form, **of_program, **options)
    values = BENCHMARK.defaults(program.method) | (settings or {})
    if program.method.borrows_gain:
        trace = 1.5 + np.sin(np.arange(program.protocol.task_ends(5)[-1]))
        values["gain_trace"] = np.tile(trace * 0.3 + 0.5, (len(seeds), 1))
    return train(program, stream, list(seeds), values, **loop)


def make_program(stream, method, *, form="optimizer", modulate=None, schedules=(), **protocol):
    benchmark = BENCHMARK.replace(**(USUAL | protocol))
    schedules = frozenset(schedules)
    return benchmark.program(
        get_method(method), stream, form=form, modulate=modulate, schedules=schedules
    )
