"""Random keys in the states of runs: converted to plain data for storage, and back."""

from typing import Any

import jax
import jax.numpy as jnp


def is_key(array: Any) -> bool:
    """Whether an array, or its shape, has typed random keys."""
    return bool(jnp.issubdtype(array.dtype, jax.dtypes.extended))


def as_data(tree: Any) -> Any:
    """Return a tree of arrays with keys replaced by their data.

    Args:
        tree: Arrays, or abstract ones.
    """

    def data(array: Any) -> Any:
        if not is_key(array):
            return array
        if isinstance(array, jax.ShapeDtypeStruct):
            return jax.eval_shape(jax.random.key_data, array)
        return jax.random.key_data(array)

    return jax.tree.map(data, tree)


def as_keys(tree: Any, like: Any) -> Any:
    """Return a tree with keys rebuilt from their data, the inverse of :func:`as_data`.

    Args:
        tree: Arrays.
        like: The original tree; it may be abstract.
    """

    def key(array: Any, wanted: Any) -> Any:
        if not is_key(wanted):
            return array
        impl = jax.random.key_impl(jnp.empty((), dtype=wanted.dtype))
        return jax.random.wrap_key_data(jnp.asarray(array), impl=impl)

    return jax.tree.map(key, tree, like)
