"""Join curves that belong together, and reject those that do not."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import xarray as xr

from gainjax.curves.aligning import aligned
from gainjax.curves.difference import difference
from gainjax.curves.reading import check_every_update, check_rows, spec_of
from gainjax.curves.shape import to_json

Dimension = Literal["setting", "seed"]

# Attributes that may differ between parts: `_joined_attrs` merges them.
_OF_PARTS = (
    "settings", "seeds", "programs", "references", "found_by", "borrowed", "elsewhere", "dynamics",
    "borrowed_from", "classes_seen",
)  # fmt: skip


def concat(curves: Sequence[xr.Dataset], dim: Dimension) -> xr.Dataset:
    """Join curves of the same protocol: more seeds of the same settings, or more settings.

    Curves from elsewhere, which have no protocol, can be joined with others that have the same
    evaluations, if :func:`gainjax.from_curves` was given the name of their benchmark. A variable
    that only some parts recorded is NaN in the others; seeds without it do not count as diverged.

    Do not join by :func:`xarray.concat`, which compares nothing. Whatever reads curves refuses a
    seed or setting that occurs twice or that their description lacks, but it cannot tell
    whether seeds that one part fills in come from a run with another configuration.

    Args:
        curves: At least two datasets.
        dim: "seed" to add seeds of the same settings, "setting" to add settings with the same
            seeds.

    Returns:
        One dataset, in the given order, with the total duration.

    Raises:
        ValueError: If they hold the same setting or seed twice, or do not belong together; the
            message lists the differences.

    Example:
        >>> from gainjax.curves import from_curves
        >>> when = {"eval_updates": [5, 10, 20], "task_ends": [10, 20]}
        >>> first = from_curves({"er": [[0.5], [0.9], [0.8]]}, seeds=[0], **when)
        >>> second = from_curves({"er": [[0.6], [0.8], [0.8]]}, seeds=[1], **when)
        >>> concat([first, second], "seed").seed.values
        array([0, 1])
    """
    if isinstance(curves, xr.Dataset) or not hasattr(curves, "__iter__"):
        raise TypeError(f"curves must be a list of datasets: got {type(curves)}")
    parts = list(curves)
    for part in parts:
        check_rows(part)
        check_every_update(part)
    parts = [narrowed(part) for part in parts]
    if dim not in get_args(Dimension):
        raise ValueError(f"dim must be one of {get_args(Dimension)}: got {dim!r}")
    if len(parts) < 2:
        raise ValueError(f"curves must be at least two datasets to join: got {len(parts)}")
    for part in parts[1:]:
        _check_belong(parts[0], part, dim)
    counts = Counter(label for part in parts for label in part[dim].values.tolist())
    if twice := [label for label, count in counts.items() if count > 1]:
        raise ValueError(
            f"curves to join must have different {dim}s: {twice[0]!r} occurs twice; select "
            f"with curves.sel({dim}=[...])"
        )
    joined = xr.concat(
        aligned(parts),
        dim,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop",
    )
    return joined.assign_attrs(_joined_attrs(parts, dim))


def narrowed(curves: xr.Dataset) -> xr.Dataset:
    """Return curves whose description has only the settings and seeds that the data have.

    Args:
        curves: Curves, possibly a selection.

    Raises:
        ValueError: If it holds a setting or seed that is not described.
    """
    spec = spec_of(curves)
    labels, seeds = curves["setting"].values.tolist(), curves["seed"].values.tolist()
    rows = {row["label"]: row for row in spec["settings"]}
    if unknown := [x for x in labels if x not in rows] + [
        x for x in seeds if x not in spec["seeds"]
    ]:
        raise ValueError(f"curves must hold what its spec describes: {unknown[0]!r} is not there")
    if labels == list(rows) and seeds == spec["seeds"]:
        return curves
    spec |= {"settings": [rows[label] for label in labels], "seeds": seeds}
    methods = {row["method"] for row in spec["settings"]}
    for name in {"programs", "references"} & spec.keys():
        spec[name] = {k: v for k, v in spec[name].items() if k in methods}
    if "dynamics" in spec:
        spec["dynamics"] = {k: v for k, v in spec["dynamics"].items() if k in labels}
    if spec.get("borrowed"):
        spec["borrowed"] = of_seeds(spec["borrowed"], seeds)
    if "elsewhere" in spec:
        spec["elsewhere"] = [label for label in spec["elsewhere"] if label in labels]
    return curves.assign_attrs(spec=to_json("spec", spec))


def of_seeds(borrowed: Mapping[str, Any], seeds: Iterable[Any]) -> dict[str, Any]:
    """Return the description of a borrowed gain with the checksums of some seeds only.

    Args:
        borrowed: The description; in earlier versions it has one checksum, of all seeds.
        seeds: The seeds; those that it lacks are left out.
    """
    marks, wanted = borrowed["crc32"], {str(seed) for seed in seeds}
    if isinstance(marks, str) or isinstance(seeds, str):
        return dict(borrowed)
    return {**borrowed, "crc32": {seed: mark for seed, mark in marks.items() if seed in wanted}}


def _check_belong(first: xr.Dataset, other: xr.Dataset, dim: Dimension) -> None:
    """Raise unless two datasets are of the same protocol and share the other dimension."""
    old, new = _described(first, dim), _described(other, dim)
    names = old.keys() | new.keys()
    if "protocol" not in old or "protocol" not in new:  # curves from elsewhere
        names = old.keys() & new.keys()
    for name in ("programs", "common", "borrowed"):  # only one of them may have these
        if not (old.get(name) and new.get(name)):
            names.discard(name)
    if first.attrs["environment"] != other.attrs["environment"]:
        names -= {"programs", "common"}  # fingerprints cannot be compared across versions
    old, new = ({k: v for k, v in each.items() if k in names} for each in (old, new))
    if "programs" in names:
        theirs, ours = old["programs"], new["programs"]
        old["programs"], new["programs"] = _shared(theirs, ours), _shared(ours, theirs)
    if "borrowed" in names:
        theirs, ours = old["borrowed"], new["borrowed"]
        old["borrowed"] = of_seeds(theirs, ours["crc32"])
        new["borrowed"] = of_seeds(ours, theirs["crc32"])
    if old != new:
        hint = ""
        if ("protocol" in spec_of(first)) != ("protocol" in spec_of(other)):
            hint = (
                "\nGive from_curves the benchmark= and the updates and tasks at which the run was "
                "evaluated, or select what both have with curves.sel"
            )
        raise ValueError(
            f"curves do not belong together: they differ in {difference(old, new)}{hint}"
        )


def _shared(programs: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprints of the methods and kinds of numbers that both have."""
    return {
        label: {kind: mark for kind, mark in found.items() if kind in other[label]}
        for label, found in programs.items()
        if label in other
    }


def _described(part: xr.Dataset, dim: Dimension) -> dict[str, Any]:
    """Return what must be equal in all parts."""
    spec = spec_of(part)
    found = {name: value for name, value in spec.items() if name not in _OF_PARTS}
    found |= {name: spec.get(name) for name in ("programs", "common", "borrowed")}
    found |= {"benchmark": part.attrs["benchmark"], "score": part.attrs["score"]}
    for name in ("eval_update", "eval_task", "task_end"):
        found[f"{name}s"] = part[name].values.tolist()
    if part.sizes["seen_update"]:
        found["seen_updates"] = part["seen_update"].values.tolist()
    other = "seeds" if dim == "setting" else "settings"
    return found | {other: spec[other]}


def _joined_attrs(parts: Sequence[xr.Dataset], dim: Dimension) -> dict[str, Any]:
    specs = [spec_of(part) for part in parts]
    # Curves from elsewhere describe less than a run, whose description is kept.
    joined = dict(next((spec for spec in specs if "protocol" in spec), specs[0]))
    key = f"{dim}s"
    joined[key] = [item for spec in specs for item in spec[key]]
    for name in ("references", "dynamics"):
        if any(name in spec for spec in specs):
            joined[name] = {k: v for s in specs for k, v in s.get(name, {}).items()}
    if any("programs" in spec for spec in specs):
        programs: dict[str, dict[str, str]] = {}
        for label, found in [item for s in specs for item in s.get("programs", {}).items()]:
            programs[label] = programs.get(label, {}) | found
        joined["programs"] = programs
    if borrowed := [spec["borrowed"] for spec in specs if spec.get("borrowed")]:
        joined["borrowed"] = dict(borrowed[0])
        if not isinstance(borrowed[0]["crc32"], str):
            joined["borrowed"]["crc32"] = {k: v for b in borrowed for k, v in b["crc32"].items()}
    for name in ("borrowed_from", "classes_seen"):
        if any(name in spec for spec in specs):
            joined[name] = next((s[name] for s in specs if s.get(name)), None)
    if elsewhere := dict.fromkeys(label for s in specs for label in s.get("elsewhere", [])):
        joined["elsewhere"] = list(elsewhere)
    return {
        **parts[0].attrs,
        "spec": to_json("spec", joined),
        "environment": _joined_environment(parts),
        "wall_time_seconds": sum(part.attrs["wall_time_seconds"] for part in parts),
    }


def _joined_environment(parts: Sequence[xr.Dataset]) -> str:
    """Return what all environments agree on; where they differ, each of them as a part."""
    every: list[dict[str, Any]] = []
    for part in parts:
        found = json.loads(part.attrs["environment"])
        every += [each for each in found.get("parts", [found]) if each and each not in every]
    if len(every) < 2:
        return to_json("environment", every[0] if every else {})
    common = {k: v for k, v in every[0].items() if all(each.get(k) == v for each in every)}
    return to_json("environment", {**common, "parts": every})
