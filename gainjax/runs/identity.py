"""What identifies a run besides its description: data, program and environment."""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gainjax.data import Stream
from gainjax.methods import Method
from gainjax.training import Program
from gainjax.training.loop import reproducible
from gainjax.training.memory import traced_update
from gainjax.training.program import (
    INIT,
    abstract_hyperparameters,
    init_state,
    one_input,
    seed_key,
)

_NO_METHOD = Method("none", optax.set_to_zero)
_MOST_KNOWN = 256
# Programs as they were first compiled, by what they were made from and their fingerprint.
_known: dict[tuple[Program, str], Program] = {}
_PACKAGES = ("gainjax", "jax", "jaxlib", "flax", "optax", "numpy")
# Settings that change the numbers of a program: a run cannot be resumed if they differ.
_DECISIVE = ("float", "matmul_precision", "layout")


def environment(layout: str | None = None) -> dict[str, Any]:
    """Return the conditions that the numbers of a run depend on besides its description.

    Args:
        layout: How runs share a device, "map" or "vmap".

    Returns:
        Package versions, kind of device, default float, matmul precision, and the layout.

    Example:
        >>> environment("map")["float"]
        'float32'
    """
    device = jax.devices()[0]
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "platform": device.platform,
        "device": device.device_kind,
        "float": jnp.result_type(float).name,
        "matmul_precision": str(jax.config.jax_default_matmul_precision),  # type: ignore[attr-defined]
        "layout": layout,
    }


def decisive_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the differences between two environments that change numbers, empty if none.

    Args:
        old: One environment.
        new: The other environment.
    """
    parts = [
        f"{name} was {old[name]!r} and is {new[name]!r}"
        for name in _DECISIVE
        if name in old and new.get(name) is not None and old[name] != new[name]
    ]
    return "; ".join(parts)


def comparable(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether fingerprints of two environments can be compared: same versions, same platform."""
    return all(old.get(name) == new.get(name) for name in ("versions", "platform", "float"))


def checksum(stream: Stream) -> str:
    """Return a checksum of all data, so that a run resumes only with the same data.

    Args:
        stream: The tasks.
    """
    crc = 0
    for array in stream:
        if array is None:
            crc = zlib.crc32(b"none", crc)
            continue
        crc = zlib.crc32(f"{array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return f"{crc:08x}"


def identify(program: Program, stream: Stream, names: Collection[str]) -> tuple[str, Program]:
    """Return the fingerprint of a program, and the program under which its code is compiled.

    The functions of a program may do something else than when it was compiled, although they are
    the same objects: a notebook has redefined what they call. The fingerprint is therefore taken
    anew, and a program with changed code is compiled again.

    Args:
        program: The program to train.
        stream: The tasks.
        names: Names of the hyperparameters that are given.
    """
    code = object()
    fresh = dataclasses.replace(program, code=code, shared_code=program.shared_code or code)
    found = (program, fingerprint(fresh, stream, names))
    if found not in _known and len(_known) == _MOST_KNOWN:
        _known.pop(next(iter(_known)))
    return found[1], _known.setdefault(found, fresh)


def identify_shared(program: Program, stream: Stream) -> tuple[str, Program]:
    """Return the fingerprint of what all methods share, and the program that is compiled under it.

    That is the model, the goal, the augmentation and the protocol.

    Args:
        program: The program of any method.
        stream: The tasks.
    """
    same = dataclasses.replace(program, method=_NO_METHOD, form="optimizer", schedules=frozenset())
    text, known = identify(same, stream, ())
    return text, dataclasses.replace(program, shared_code=known.code)


def fingerprint(program: Program, stream: Stream, names: Collection[str]) -> str:
    """Return a fingerprint of the code of a run: its initialization, training and evaluation.

    It is a hash of the lowered text of one update and of the initialization, with their constants:
    equal for equal programs and package versions, whatever the names of functions and classes.

    Args:
        program: The program to train.
        stream: The tasks.
        names: Names of the hyperparameters that are given.
    """
    digest = hashlib.sha256()
    example = one_input(program, stream)
    updates = int(program.protocol.task_ends(len(stream.task_end))[-1])

    @jax.jit
    def start(seed: jax.Array, hyperparameters: Any) -> Any:
        inputs = jnp.zeros(example.shape, example.dtype)
        raw = program.model.init(seed_key(seed, INIT), inputs)
        return init_state(program, inputs, *raw, hyperparameters)

    with reproducible():
        seed = jax.ShapeDtypeStruct((), jnp.uint32)
        numbers = abstract_hyperparameters(program, names, updates)
        for traced in (start.trace(seed, numbers), traced_update(program, stream, names)):
            digest.update(traced.lower().as_text().encode())
            for constant in traced.jaxpr.consts:
                digest.update(np.asarray(constant).tobytes() if _is_plain(constant) else b"key")
    return digest.hexdigest()[:16]


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def seal(header: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of everything else in it."""
    body = {name: value for name, value in header.items() if name != "sha256"}
    return body | {"sha256": hashlib.sha256(canonical(body)).hexdigest()}


def _is_plain(array: Any) -> bool:
    return not jnp.issubdtype(array.dtype, jax.dtypes.extended)
