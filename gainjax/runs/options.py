"""Names and types of the options of a run, for type checkers and editors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax

from gainjax.models.model import Modulate
from gainjax.training.layout import Kind
from gainjax.training.program import Form
from gainjax.training.protocol import ProtocolOptions


class CarryingOut(TypedDict, total=False):
    """Options that may change when a run is resumed, except those that request states."""

    data_dir: str | Path | None
    chunk: int
    layout: Kind | None
    devices: Sequence[jax.Device] | None
    memory: float | None
    threads: int | None
    progress: bool
    on_chunk: Callable[[str, int, Any], None] | None


class OptionsForCurves(ProtocolOptions, CarryingOut, total=False):
    """Options with which :func:`gainjax.run` and :func:`gainjax.sweep` return curves alone."""

    out: str | Path | None
    hyperparameters: Mapping[str, Any] | None
    model: Any
    eval_examples: int | None
    gain_from: str | Path | None
    gain_setting: str | None
    form: Form
    modulate: Modulate | None
    extend: bool


class States(TypedDict, total=False):
    """Options that request states of the training."""

    return_states: bool
    snapshots: Sequence[int] | None


class Options(OptionsForCurves, States, total=False):
    """All options."""


class OptionsOfResume(CarryingOut, States, total=False):
    """Options of :func:`gainjax.resume`."""
