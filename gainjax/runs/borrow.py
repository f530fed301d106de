"""The gain of a finished run, for controls that replay, average or shuffle it."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from gainjax.curves import difference, load
from gainjax.files import expanded
from gainjax.methods import Method
from gainjax.training import Protocol


class Borrowed(NamedTuple):
    """The gain of one setting of a finished run."""

    directory: str  # absolute
    setting: str
    gain: xr.DataArray  # over (seed, update)

    def of_seeds(self, seeds: Sequence[int]) -> np.ndarray:
        """Return the gain of some seeds, shape (seeds, updates)."""
        return self.gain.sel(seed=list(seeds)).values

    def described(self, seeds: Sequence[int]) -> dict[str, Any]:
        """Return what identifies the gain of some seeds, whatever others there are."""
        marks = {
            str(seed): f"{zlib.crc32(np.ascontiguousarray(gain).tobytes()):08x}"
            for seed, gain in zip(seeds, self.of_seeds(seeds), strict=True)
        }
        return {"setting": self.setting, "crc32": marks}


def borrow_gain(
    directory: str | Path | None,
    setting: str | None,
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    benchmark: str,
    protocol: Protocol,
) -> Borrowed | None:
    """Return the gain of a finished run for methods that borrow it, None if none does.

    Args:
        directory: Directory of the finished run.
        setting: Which of its settings, or None for the only one with a gain.
        methods: Methods by label.
        seeds: Seeds that need it.
        benchmark: Name of the benchmark.
        protocol: The training protocol.

    Raises:
        ValueError: If there is no such run, or its training differs.
    """
    borrowers = [label for label, method in methods.items() if method.borrows_gain]
    if not borrowers and directory is None:
        return None
    if not borrowers:
        raise ValueError(f"gain_from={directory} is given, but none of the methods borrows a gain")
    if directory is None:
        raise ValueError(
            f"the gain of another run is needed for {', '.join(borrowers)}: first run ngm-sgd with "
            "the same seeds and out=DIR (--out DIR), then give gain_from=DIR (--gain-from DIR)"
        )
    source = load(directory)
    chosen = _chosen(source, setting, directory)
    if missing := sorted(set(seeds) - set(source.seed.values.tolist())):
        raise ValueError(
            f"gain_from must hold the seeds {list(seeds)}: {directory} lacks {missing}"
        )
    spec = json.loads(source.attrs["spec"])
    theirs = _training(spec.get("benchmark"), spec.get("protocol") or {})
    ours = _training(benchmark, {**protocol.training})
    if theirs != ours:
        raise ValueError(
            f"gain_from must hold a run with the same training as this one: {directory} differs in "
            f"{difference(theirs, ours)}"
        )
    return Borrowed(
        str(expanded(directory).resolve()),
        chosen,
        source.gain.sel(setting=chosen).drop_vars("setting"),
    )


def _training(benchmark: str | None, protocol: Mapping[str, Any]) -> dict[str, Any]:
    fields = {k: v for k, v in protocol.items() if k in Protocol.training_fields()}
    updates = fields.get("updates_per_task")
    if isinstance(updates, tuple):
        fields["updates_per_task"] = list(updates)
    return {"benchmark": benchmark, **fields}


def _chosen(source: xr.Dataset, setting: str | None, directory: Any) -> str:
    if "gain" not in source:
        raise ValueError(f"gain_from must hold a run with a gain: {directory} has none recorded")
    label = _one_with_gain(source, setting, directory)
    if "gains" in source:
        each = source.gains.sel(setting=label).dropna("group", how="all")
        if each.sizes["group"]:
            raise ValueError(
                f"gain_from must hold a run with one gain: {label} in {directory} has those of "
                f"{', '.join(map(str, each['group'].values))}, and their mean is none of them"
            )
    return label


def _one_with_gain(source: xr.Dataset, setting: str | None, directory: Any) -> str:
    labels = source.setting.values.tolist()
    moving = [label for label in labels if (source.gain.sel(setting=label) != 1).any()]
    if setting is not None:
        if setting not in labels:
            raise ValueError(f"gain_from has no setting {setting!r}: it has {', '.join(labels)}")
        return setting
    if len(moving) != 1:
        raise ValueError(
            f"gain_from must hold one setting with a gain: {directory} has "
            f"{', '.join(moving) or 'none'}. Name one with gain_setting (--gain-setting)"
        )
    return moving[0]
