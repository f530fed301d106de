"""Which parameters a gain multiplies: masks in the structure of the parameters, and their trace."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Mask = Any  # a tree of booleans, a prefix of one, or a function from parameters to one


def map_modulated(function: Callable[..., Any], mask: Mask, params: Any, tree: Any) -> Any:
    """Map `function(leaf of tree, leaf of params)` over modulated leaves, keep the other leaves."""
    return jax.tree.map(
        lambda on, branch, p: jax.tree.map(function, branch, p) if on else branch,
        resolve(mask, params),
        tree,
        params,
    )


def resolve(mask: Mask, params: Any) -> Any:
    """Return a mask as booleans in a prefix of the structure of the parameters."""
    if mask is None or not jax.tree.leaves(params):  # the latter: placeholders of optax, MaskedNode
        return True
    marks = mask(params) if callable(mask) else mask
    for mark in jax.tree.leaves(marks):
        if np.dtype(getattr(mark, "dtype", type(mark))) != np.dtype(bool):
            raise TypeError(f"mask must hold booleans, True where modulated: got {mark!r}")
    try:
        jax.tree.broadcast(marks, params)
    except ValueError as error:
        raise ValueError(
            f"mask must have the structure of the parameters, or a prefix of it: got "
            f"{jax.tree.structure(marks)} for {jax.tree.structure(params)}"
        ) from error
    return marks


def scale_modulated(tree: Any, factor: jax.Array, mask: Mask) -> Any:
    """Multiply the modulated leaves of a tree in the dtype of the factor; leaf dtypes stay."""
    return map_modulated(
        lambda x, _: (jnp.asarray(x, factor.dtype) * factor).astype(jnp.result_type(x)),
        mask,
        tree,
        tree,
    )


def fingerprint(path: Any) -> np.ndarray:
    """Return 64 bits that stand for the path of a leaf."""
    name = jax.tree_util.keystr(path)
    return np.frombuffer(hashlib.blake2b(name.encode(), digest_size=8).digest(), np.uint32)


def fingerprints(params: Any, mask: Mask) -> jax.Array:
    """Return the fingerprints of the modulated leaves, so that `slow_params` knows them again.

    Not a tree in the structure of the parameters, since code that shards optimiser states would
    give its scalars the sharding of the parameters; not static, since a state is arrays alone.
    """
    unmarked = jax.tree.map(lambda _: False, params)
    marked = map_modulated(lambda *_: True, mask, params, unmarked)
    leaves, _ = jax.tree_util.tree_flatten_with_path(marked)
    # The first row matches no leaf: checkpointers refuse empty arrays.
    rows = [np.zeros(2, np.uint32), *(fingerprint(path) for path, is_on in leaves if is_on)]
    return jnp.asarray(np.stack(rows))
