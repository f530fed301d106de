"""Run a benchmark: one setting per method, or a sweep over settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Unpack, overload

import jax
import xarray as xr

from gainjax.checks import check_integer
from gainjax.curves import Setting
from gainjax.methods import as_methods
from gainjax.runs.benchmark import Benchmark, check_names
from gainjax.runs.benchmarks import BENCHMARKS, get_benchmark
from gainjax.runs.borrow import borrow_gain
from gainjax.runs.execution import execute
from gainjax.runs.extension import extend_run
from gainjax.runs.options import Options, OptionsForCurves
from gainjax.runs.plan import How, Plan, make_plan
from gainjax.runs.settings import (
    check_not_both,
    resolve_hyperparameters,
    run_settings,
    sweep_settings,
)
from gainjax.runs.snapshots import wanted_updates
from gainjax.training.loop import reproducible
from gainjax.training.processes import check_devices
from gainjax.training.protocol import ProtocolOptions

DEFAULT_METHODS = ("ngm-sgd", "sgd", "msgd", "adam")


# Options of how a run is carried out, which may change when it is resumed.
OF_HOW = tuple(field.name for field in dataclasses.fields(How))
# All options but the fields of the protocol.
_KNOWN = tuple(
    name for name in Options.__annotations__ if name not in ProtocolOptions.__annotations__
)


@overload
def run(
    benchmark: str | Benchmark,
    methods: Any = ...,
    seeds: int | Sequence[int] = ...,
    **options: Unpack[OptionsForCurves],
) -> xr.Dataset: ...


@overload
def run(
    benchmark: str | Benchmark,
    methods: Any = ...,
    seeds: int | Sequence[int] = ...,
    **options: Unpack[Options],
) -> Any: ...


def run(
    benchmark: str | Benchmark,
    methods: Any = DEFAULT_METHODS,
    seeds: int | Sequence[int] = 5,
    **options: Any,
) -> Any:
    """Train methods on a benchmark and return their curves.

    Methods share seeds: for a given seed, all start from the same weights and see the same batches,
    so that their differences can be paired.

    Args:
        benchmark: Name of a benchmark, or a :class:`gainjax.Benchmark`.
        methods: A list of names (``gainjax list`` shows them), :class:`gainjax.Method` objects,
            functions that return an optimizer and whose arguments have defaults, or references
            ``"package.module:function"``; or a mapping of labels to those, or to Optax
            transformations.
        seeds: Number of seeds (0, 1, ...), or the seeds themselves.
        **options: Any of these, and fields of :class:`gainjax.training.Protocol` to replace, such
            as ``eval_every=10``:

            data_dir: Where the data are, as for :func:`gainjax.data.load_source`.

            out: Output directory of the run, with results in ``curves.nc``. If it holds this run
            already, that is returned, or resumed if it was interrupted; if it holds another one,
            nothing is changed. SIGINT and SIGTERM stop such a run at the end of a chunk. A run is
            identified by its description, its data and a fingerprint of its compiled program,
            with the Python code that :func:`jax.pure_callback` calls in it; if such code changes
            what it refers to, such as a cache or a counter, repeat the call in a new process.

            hyperparameters: Values to use instead of the benchmark's: by name for every method
            that has them, or by label for that method, ``{"learning_rate": 0.1, "adam": {...}}``.
            A schedule, a function of the update count from 0, is also a valid value.

            model: A model instead of the benchmark's.

            eval_examples: Size of a fixed random subset of each task's test set, or None for all.

            gain_from: Directory of a finished run with the same seeds and updates, whose gain the
            controls replay, average or shuffle; gain_setting: which of its settings, if several
            have a gain.

            form: Gain in the "optimizer" or in the "model"; the two agree up to rounding.

            modulate: Gain on "all" layers or on the "head" alone; None for the benchmark's choice.

            chunk: Updates per call of the compiled program, >= 1. It does not affect the results.

            layout: Train the runs on a device sequentially ("map") or as one batched program
            ("vmap"); None for whichever measured fastest on this kind of device. Chunks, devices,
            threads and batches do not affect the results, but the two layouts round differently.

            devices: Devices of this process that share the runs, or None for all.

            memory: Bytes that concurrent runs may use, or None for a share of the available memory.

            threads: Parts of a run trained in parallel on the cores of a CPU; None to measure
            whether that is faster.

            progress: Whether to show a progress bar.

            on_chunk: Called after each chunk with the method's label, the number of updates so far
            and a :class:`gainjax.runs.arrived.Arrived`; see :mod:`gainjax.callbacks`.

            extend: Add seeds or methods to the finished run in ``out``, whose own are kept. Not
                with ``snapshots`` or ``return_states``.

            return_states: Also return the final states, a mapping from the label of each setting
            to its :class:`gainjax.training.TrainState` with a leading axis of seeds. With ``out``
            they are also stored there.

            snapshots: Also return the states after these updates, in ascending order from 0
            (before the first one): as with ``return_states``, with leading axes of seeds and
            snapshots. Taking them does not affect the results.

    Returns:
        The dataset that :func:`gainjax.curves.make_curves` describes, or with ``return_states`` or
        ``snapshots`` a pair of that and the states. Evaluations are from update 1 on: neither
        ``run`` nor ``sweep`` records one before the first update.

    Raises:
        TypeError: If a method or the benchmark is of the wrong kind.
        ValueError: If a name or number is invalid, or ``out`` holds another run.
        FileNotFoundError: If the data are missing and cannot be downloaded.
        OSError: If ``out`` cannot be written to, or another process is using it.
        gainjax.Interrupted: If a signal stopped a run with ``out``.

    Example:
        >>> curves = run("split-digits", ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> dict(curves.accuracy.sizes)
        {'setting': 2, 'seed': 2, 'eval_update': 50, 'eval_task': 1}
        >>> curves, states = run(
        ...     "split-digits", ["sgd"], seeds=2, updates_per_task=10, snapshots=[0, 10, 11]
        ... )
        >>> states["sgd"].params["layer_0"]["kernel"].shape  # seeds, snapshots, ...
        (2, 3, 64, 200)

    References:
        Protocol of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    return _run(benchmark, methods, seeds, None, options)


@overload
def sweep(
    benchmark: str | Benchmark,
    grid: Mapping[str, Any],
    methods: Any = ...,
    seeds: int | Sequence[int] = ...,
    *,
    draws: int | None = ...,
    draw_seed: int = ...,
    **options: Unpack[OptionsForCurves],
) -> xr.Dataset: ...


@overload
def sweep(
    benchmark: str | Benchmark,
    grid: Mapping[str, Any],
    methods: Any = ...,
    seeds: int | Sequence[int] = ...,
    *,
    draws: int | None = ...,
    draw_seed: int = ...,
    **options: Unpack[Options],
) -> Any: ...


def sweep(
    benchmark: str | Benchmark,
    grid: Mapping[str, Any],
    methods: Any = DEFAULT_METHODS,
    seeds: int | Sequence[int] = 5,
    *,
    draws: int | None = None,
    draw_seed: int = 0,
    **options: Any,
) -> Any:
    """Train every combination of methods, values of hyperparameters and seeds.

    A method is compiled once, whatever the size of the grid; its settings and seeds are trained in
    batches that fit into memory. Each curve equals the one that :func:`run` gives for its setting.

    Args:
        benchmark: As for :func:`run`.
        grid: What to vary: lists of values by name, for every method that has the hyperparameter,
            or by label for that method: ``{"learning_rate": [0.1, 0.01], "ngm-sgd":
            {"sensitivity": [0.2, 0.4]}}``. With ``draws`` also distributions that have a method
            ``rvs``, such as ``scipy.stats.loguniform(1e-4, 1)``.
        methods: As for :func:`run`.
        seeds: As for :func:`run`.
        draws: Number of random settings per method, or None for the full product.
        draw_seed: Seed of the draws; methods share draws of hyperparameters that they share.
        **options: All options of :func:`run`.

    Returns:
        As :func:`run`, with a coordinate for each hyperparameter that varies.

    Raises:
        ValueError: As :func:`run`, and if the grid is empty or names something unknown.
        FileNotFoundError: As :func:`run`.
        OSError: As :func:`run`.

    Example:
        >>> grid = {"learning_rate": [0.03, 0.01], "sensitivity": [0.2, 0.4]}
        >>> curves = sweep("split-digits", grid, ["ngm-sgd", "sgd"], seeds=2, updates_per_task=10)
        >>> curves.sizes["setting"], float(curves.learning_rate[-1])
        (6, 0.01)
        >>> print(curves.setting.values[0])
        ngm-sgd learning_rate=0.03 sensitivity=0.2
    """
    return _run(benchmark, methods, seeds, (grid, draws, draw_seed), options)


@reproducible()
def _run(
    benchmark: str | Benchmark,
    methods: Any,
    seeds: int | Sequence[int],
    varied: tuple[Mapping[str, Any], int | None, int] | None,
    options: Mapping[str, Any],
) -> Any:
    """Train one setting per method, or those of a sweep."""
    check_devices()
    given = dict(options)
    known = {name: given.pop(name) for name in _KNOWN if name in given}
    others = (*_KNOWN, *(("draws", "draw_seed", "grid") if varied else ()))
    bench = _benchmark(benchmark, known.pop("model", None), given, others)
    by_label, seed_list = as_methods(methods), as_seeds(seeds)
    how = How(**{name: known.pop(name) for name in OF_HOW if name in known})
    stream = bench.load(how.data_dir, known.get("eval_examples"))
    total = int(bench.protocol.task_ends(len(stream.task_end))[-1])
    wanted_updates(how, total)  # raises before anything is compiled
    given_values = {} if (v := known.get("hyperparameters")) is None else v
    fixed = resolve_hyperparameters(bench, by_label, given_values, total)
    settings: Sequence[Setting] = run_settings(by_label, fixed)
    if varied is not None:
        grid, draws, draw_seed = varied
        if isinstance(grid, Mapping):
            check_not_both(given_values, grid)
        settings = sweep_settings(
            by_label, fixed, grid, updates=total, draws=draws, draw_seed=draw_seed
        )
    borrowed = borrow_gain(
        known.get("gain_from"),
        known.get("gain_setting"),
        by_label,
        seed_list,
        bench.name,
        bench.protocol,
    )

    def plan(settings: Sequence[Setting], seeds: Sequence[int]) -> Plan:
        return make_plan(
            bench,
            {label: by_label[label] for label in {row.method: None for row in settings}},
            settings,
            seeds,
            stream,
            eval_examples=known.get("eval_examples"),
            form=known.get("form", "optimizer"),
            modulate=known.get("modulate"),
            borrowed=borrowed,
        )

    if known.get("extend"):
        return extend_run(plan, settings, seed_list, how)
    return result_of(plan(settings, seed_list), how)


def result_of(plan: Plan, how: How) -> Any:
    """Return what :func:`run` returns for a plan."""
    curves, states = execute(plan, how)
    if how.return_states:
        return curves, {k: jax.tree.map(lambda x: x[:, -1], v) for k, v in states.items()}
    return (curves, states) if how.wants_states else curves


def _benchmark(
    benchmark: Any, model: Any, protocol: Mapping[str, Any], others: Sequence[str]
) -> Benchmark:
    if isinstance(benchmark, str):
        benchmark = get_benchmark(benchmark)
    if not isinstance(benchmark, Benchmark):
        raise TypeError(
            f"benchmark must be a name or a gainjax.Benchmark: got {benchmark!r}. Known: "
            f"{', '.join(BENCHMARKS)}"
        )
    if model is None and not protocol:
        return benchmark
    check_names(protocol, others)
    return benchmark.replace(model=model, **protocol)


def as_seeds(seeds: int | Sequence[int]) -> list[int]:
    """Return seeds 0, 1, ... for a number, or the given ones.

    Args:
        seeds: Number of seeds, or the seeds: different integers in [0, 2**32).

    Raises:
        ValueError: If they are anything else.

    Example:
        >>> as_seeds(3), as_seeds(range(5, 7))
        ([0, 1, 2], [5, 6])
    """
    if hasattr(seeds, "tolist"):  # arrays of NumPy and JAX
        seeds = seeds.tolist()
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        check_integer("seeds", seeds, 1)
        if seeds > 10**6:
            raise ValueError(f"seeds must be at most a million: got {seeds}")
        return list(range(int(seeds)))
    listed: list[Any] = list(seeds)  # type: ignore[arg-type]
    for seed in listed:
        check_integer("each of the seeds", seed, 0, 2**64)
        if seed >= 2**32:
            raise ValueError(f"each of the seeds must be below 2**32: got {seed}")
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"seeds must be a list of different integers: got {listed}")
    return [int(seed) for seed in listed]
