"""Adapter from Equinox modules to models."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from gainjax.models.model import Mask, Model, name_of, strong_arrays


def from_equinox(make: Callable[[jax.Array], Any], *, mask: Mask = None) -> Model:
    """Make a model from an Equinox module.

    The module takes one example; the batch is an axis of :func:`jax.vmap` with the name
    ``"batch"``, which ``eqx.nn.BatchNorm(..., axis_name="batch")`` needs. It is called as
    ``module(x)``, with ``state`` or ``key`` or both if its call takes them; with ``state`` it
    returns a pair ``(outputs, state)``. Each example has its own key. For evaluation the module is
    put into inference mode by ``eqx.nn.inference_mode`` and gets no key.

    Args:
        make: Makes the module from a key: ``lambda key: Net(key)``. It is called once per
            initialization, and must return the same structure each time.
        mask: Which parameters a gain multiplies; see :class:`gainjax.models.Model`. A tree of
            booleans may be built from any module of the same structure, for example with
            ``eqx.tree_at(lambda net: net.head.weight, jax.tree.map(lambda _: False, net), True)``.

    Returns:
        The model. Its parameters are the module with only its floating-point arrays; its state is a
        pair: the module with only its other arrays, and its ``eqx.nn.State``.

    Raises:
        TypeError: If ``make`` is a module or not a function.
        ValueError: If the mask does not mark every parameter.

    Example:
        >>> import equinox as eqx
        >>> import jax.numpy as jnp
        >>> model = from_equinox(lambda key: eqx.nn.MLP(4, 3, 8, 1, key=key))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((5, 4)))
        >>> outputs, _ = model.apply(params, state, jnp.ones((5, 4)), train=False, key=None)
        >>> print(outputs.shape, model.modulated(params).layers[0].weight)
        (5, 3) True
    """
    import equinox as eqx

    if isinstance(make, eqx.Module) or not callable(make):
        raise TypeError(
            "make must be a function that makes the module, such as `lambda key: Net(key)`: got a "
            f"{type(make).__name__}"
        )

    def split(key: jax.Array) -> tuple[Any, Any, Any]:
        module, memory = eqx.nn.make_with_state(make)(key)
        params, rest = eqx.partition(module, eqx.is_inexact_array)
        buffers, static = eqx.partition(rest, eqx.is_array)
        return params, (buffers, memory), static

    @functools.cache
    def structure() -> tuple[Any, Any, Any]:
        """Return the structures of parameters and state, and all that is not an array.

        One for all calls, since functions among the static fields may be recreated each time.
        """
        params, state, static = eqx.filter_eval_shape(split, jax.random.key(0))
        return jax.tree.structure(params), jax.tree.structure(state), static

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        del x
        params, state, _ = split(key)
        of_params, of_state, _ = structure()
        state = strong_arrays("make", jax.tree.leaves(state))
        params = jax.tree.unflatten(of_params, jax.tree.leaves(params))
        return params, jax.tree.unflatten(of_state, state)

    def apply(
        params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        buffers, memory = state
        module = eqx.combine(params, buffers, structure()[2])
        if not train:
            module = eqx.nn.inference_mode(module)
        taken = inspect.signature(type(module).__call__).parameters

        def one(x: jax.Array, memory: Any, key: jax.Array | None) -> tuple[jax.Array, Any]:
            options = {"key": key} if "key" in taken else {}
            if "state" in taken:
                return module(x, state=memory, **options)
            return module(x, **options), memory

        keys = None if key is None else jax.random.split(key, len(x))
        over_batch = jax.vmap(one, in_axes=(0, None, 0), out_axes=(0, None), axis_name="batch")
        outputs, new_memory = over_batch(x, memory, keys)
        return outputs, (buffers, strong_arrays("the module", new_memory)) if train else state

    return Model(init, apply, _mask_of_params(mask), description=name_of(make))


def _mask_of_params(mask: Any) -> Any:
    """Return a mask in the form the model expects; a module of booleans is a tree of them."""
    import equinox as eqx

    is_tree = isinstance(mask, eqx.Module) and any(
        isinstance(leaf, bool) for leaf in jax.tree.leaves(mask)
    )
    return functools.partial(_by_path, mask) if is_tree else mask


def _by_path(mask: Any, params: Any) -> Any:
    """Look up parameters in a tree of booleans that may have more leaves.

    A module made without ``eqx.nn.make_with_state`` has other markers for its state, so the
    structures do not match, although the names do.
    """
    marks = dict(jax.tree_util.tree_flatten_with_path(mask)[0])

    def mark(path: Any, _: Any) -> Any:
        for length in range(len(path), -1, -1):
            if path[:length] in marks:
                return marks[path[:length]]
        raise ValueError(
            f"mask must mark each parameter: {jax.tree_util.keystr(path)} is not in it"
        )

    return jax.tree_util.tree_map_with_path(mark, params)
