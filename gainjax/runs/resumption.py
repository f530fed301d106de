"""Finish an interrupted run from the files in its directory."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack, cast, overload

import xarray as xr

from gainjax.curves import FILE, load, spec_of
from gainjax.files import expanded
from gainjax.methods import Method, as_methods
from gainjax.models.model import Modulate
from gainjax.runs.api import OF_HOW, result_of
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.borrow import borrow_gain
from gainjax.runs.extension import is_interrupted
from gainjax.runs.options import CarryingOut, OptionsOfResume
from gainjax.runs.plan import How, make_plan
from gainjax.runs.snapshots import wanted_updates
from gainjax.runs.spec import RunSpec
from gainjax.runs.store import stored_header
from gainjax.training.loop import reproducible
from gainjax.training.program import Form


@overload
def resume(directory: str | Path, **options: Unpack[CarryingOut]) -> xr.Dataset: ...


@overload
def resume(directory: str | Path, **options: Unpack[OptionsOfResume]) -> Any: ...


@reproducible()
def resume(directory: str | Path, **options: Any) -> Any:
    """Finish the run or sweep in a directory.

    Args:
        directory: Output directory of an interrupted run; a finished one is returned as it is.
        **options: ``data_dir``, if the data have moved, and how to carry the run out: ``chunk``,
            ``layout``, ``devices``, ``memory``, ``threads``, ``progress``, ``on_chunk``,
            ``return_states``, ``snapshots``, as for :func:`run`. The layout must be the original
            one.

    Returns:
        The result that the uninterrupted run would have returned.

    Raises:
        FileNotFoundError: If there is no run in the directory, or its data are missing.
        ValueError: If stored files are damaged, the data differ, or the benchmark or a method has
            no name by which it can be found again.

    Example:
        >>> import tempfile
        >>> from gainjax.runs.api import run
        >>> with tempfile.TemporaryDirectory() as out:
        ...     curves = run("split-digits", ["sgd"], seeds=2, updates_per_task=10, out=out)
        ...     resume(out).identical(curves)
        True
    """
    if unknown := set(options) - set(OF_HOW):
        raise ValueError(
            f"{', '.join(sorted(unknown))} cannot be changed when a run is resumed; these can: "
            f"{', '.join(name for name in OF_HOW if name != 'out')}"
        )
    given = How(**options | {"out": directory})
    header = stored_header(directory)
    if header is None:
        if not (expanded(directory) / FILE).exists():
            raise FileNotFoundError(
                f"no run in {directory}: give the output directory of an interrupted run"
            )
        curves = load(directory)
        if is_interrupted(expanded(directory)):
            raise ValueError(
                f"{directory} holds a finished run whose extension was interrupted: repeat the "
                "call or command with extend"
            )
        if not given.wants_states:
            return curves
        spec, data_dir = RunSpec.from_json(spec_of(curves)), None
        layout = json.loads(curves.attrs["environment"]).get("layout")
    else:
        spec, data_dir = header.spec, header.data_dir
        layout = header.environment.get("layout")
    wanted_updates(given, int(spec.protocol.task_ends(spec.tasks)[-1]))  # for its checks
    nameless = [label for label, found in spec.references.items() if found is None]
    if spec.found_by is None or nameless:
        what = f"the method {nameless[0]!r}" if nameless else f"the benchmark {spec.benchmark!r}"
        raise ValueError(
            f"{directory} holds {what}, an object that cannot be found by name: to resume the "
            "run, call gainjax.run or gainjax.sweep as before, with the same out"
        )
    methods = as_methods({k: v or k for k, v in spec.references.items()})
    benchmark = get_benchmark(spec.found_by).replace(**vars(spec.protocol))
    how = dataclasses.replace(
        given, layout=given.layout or layout, data_dir=given.data_dir or data_dir
    )
    stream = benchmark.load(how.data_dir, spec.eval_examples)
    plan = make_plan(
        benchmark,
        methods,
        spec.settings,
        spec.seeds,
        stream,
        eval_examples=spec.eval_examples,
        form=cast(Form, spec.form),
        modulate=cast(Modulate | None, spec.modulate),
        borrowed=_borrowed_again(spec, methods),
    )
    return result_of(plan, how)


def _borrowed_again(spec: Any, methods: Mapping[str, Method]) -> Any:
    if spec.borrowed is None:
        return None
    return borrow_gain(
        spec.borrowed_from,
        spec.borrowed["setting"],
        methods,
        spec.seeds,
        spec.benchmark,
        spec.protocol,
    )
