"""What identifies a run besides its description: data, program and environment."""

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.data import Stream
from gainjax.runs.python_code import callbacks_of, code_mark
from gainjax.training import Program
from gainjax.training.keys import is_key
from gainjax.training.loop import reproducible
from gainjax.training.memory import traced_run
from gainjax.training.program import INIT, one_input, seed_key

_FEW = 2  # examples in a batch
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


def fingerprint(program: Program, stream: Stream, names: Collection[str]) -> tuple[str, Any]:
    """Return a fingerprint of the code of a run: its initialization, training and evaluation.

    It is a hash of the lowered text of the initialization and of one update, with their constants
    and the Python code that they call back: equal for equal programs and package versions, whatever
    the names of functions and classes. It is taken anew at each call, since a notebook may have
    redefined what the functions call.

    Args:
        program: The program to train.
        stream: The tasks.
        names: Names of the hyperparameters that are given.

    Returns:
        The fingerprint, and the trace of an update.
    """
    with reproducible():
        started, update = traced_run(program, stream, names)
        return _digest(started, update), update


def shared_fingerprint(program: Program, stream: Stream) -> str:
    """Return a fingerprint of the functions that all methods share, and of their gradient.

    Args:
        program: The program of any method.
        stream: The tasks.
    """
    model, goal = program.model, program.goal
    example = one_input(program, stream)

    @jax.jit
    def everything(seed: jax.Array, stream: Stream) -> Any:
        key = seed_key(seed, INIT)
        raw, targets = (jnp.asarray(x[:_FEW]) for x in (stream.train_inputs, stream.train_targets))
        if program.augment is not None:
            raw = program.augment(key, raw)
        inputs = program.network_inputs(stream, raw)
        params, state = model.init(key, jnp.zeros(example.shape, example.dtype))

        def loss(params: Any) -> Any:
            outputs, after = model.apply(params, state, inputs, train=True, key=key)
            return goal.loss(outputs, targets).mean(), (outputs, after)

        (_, (outputs, after)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        tested, _ = model.apply(params, after, inputs, train=False, key=None)
        uncertainty = () if goal.uncertainty is None else goal.uncertainty(outputs)
        # Without parameters that are not modulated, so that the mask counts, too.
        chosen = jax.tree.map(lambda on, p: p if on else (), model.modulated(params), params)
        return gradient, after, goal.score(tested, targets), uncertainty, chosen

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), stream)
    with reproducible():
        return _digest(everything.trace(jax.ShapeDtypeStruct((), jnp.uint32), shapes))


def _digest(*traces: Any) -> str:
    digest = hashlib.sha256()
    for traced in traces:
        digest.update(traced.lower().as_text().encode())
        for constant in traced.jaxpr.consts:
            digest.update(np.asarray(constant).tobytes() if not is_key(constant) else b"key")
        for function in callbacks_of(traced.jaxpr.jaxpr):
            digest.update(code_mark(function))
    return digest.hexdigest()[:16]


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def seal(header: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of everything else in it."""
    body = {name: value for name, value in header.items() if name != "sha256"}
    return body | {"sha256": hashlib.sha256(canonical(body)).hexdigest()}
