"""Adapter from Flax NNX modules to models."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gainjax.models.model import Mask, Model, first_units, name_of, same_structure, switches


def from_nnx(make: Callable[[Any], Any], *, mask: Mask = None) -> Model:
    """Make a model from an NNX module.

    Variables of type ``nnx.Param`` are its parameters, random numbers come from the key, and all
    other variables (``nnx.BatchStat``, ``gainjax.nnx.Gain``, custom ones) are its state. Before
    each call the module is put into training or evaluation mode by ``module.train()`` or
    ``module.eval()``. If its call has an argument for the mode (``train``, ``training``,
    ``is_training``, ``deterministic`` or ``use_running_average``), that is set, too. Intermediates
    are dropped. Layers with a gain (:mod:`gainjax.nnx`) need a method that has none, such as
    ``"sgd"``; runs record the gain of each.

    Args:
        make: Makes the module from ``nnx.Rngs``: ``lambda rngs: Net(rngs)``. It is called once per
            initialization, and must return the same structure each time.
        mask: Which parameters a gain multiplies; see :class:`gainjax.models.Model`. Parameters are
            nested dicts, so a function sees ``{"linear": {"kernel": ..., "bias": ...}}``.

    Returns:
        The model. Parameters and state are nested dicts of arrays.

    Raises:
        TypeError: If ``make`` is a module or not a function.
        ValueError: From ``apply``, if a call adds variables to the module.

    Example:
        >>> from flax import nnx
        >>> model = from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> print(jax.tree.map(jnp.shape, params), state)
        {'bias': (3,), 'kernel': (4, 3)} {}
    """
    from flax import nnx

    from gainjax.nnx import Gain

    if isinstance(make, nnx.Module) or not callable(make):
        raise TypeError(
            f"make must be a function that makes the module, such as `lambda rngs: Net(rngs)`: got "
            f"{make!r}"
        )
    kinds = (nnx.Param, nnx.Any(nnx.RngState, _is_key), nnx.Intermediate, ...)

    def split(module: Any) -> tuple[Any, Any, Any, Any]:
        graph, *parts = nnx.split(module, *kinds)
        params, random, _, state = (nnx.to_pure_dict(part) for part in parts)
        return graph, params, random, state

    @functools.cache
    def static() -> tuple[Any, Any, Any]:
        """Return the structure of the module, and the shapes of its random numbers and gains."""
        module = nnx.eval_shape(lambda: make(nnx.Rngs(jax.random.key(0))))
        graph, _, random, _ = split(module)
        return graph, random, nnx.to_pure_dict(nnx.state(module, Gain))

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        del x
        _, params, _, state = split(make(nnx.Rngs(key)))
        return params, state

    def apply(
        params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        graph, random, _ = static()
        parts = (params, _draw(random, key), state)
        module = nnx.merge(graph, *(nnx.State(part) for part in parts))
        module.train() if train else module.eval()
        outputs = module(x, **switches(type(module).__call__, train))
        if not train:
            return outputs, state
        _, _, _, new_state = split(module)
        return outputs, same_structure(type(module).__name__, new_state, state)

    def gains_of(state: Any) -> dict[str, jax.Array]:
        _, _, gains = static()
        return first_units(_part_of(state, gains))

    return Model(init, apply, mask, description=name_of(make), gains_of=gains_of)


def _part_of(tree: Any, like: Any) -> Any:
    """Return the part of nested dicts that another one has."""
    if not isinstance(like, dict):
        return tree
    return {key: _part_of(tree[key], part) for key, part in like.items()}


def _is_key(path: Any, leaf: Any) -> bool:
    """Recognize random keys that are not in a variable of their own type."""
    del path
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _draw(random: Any, key: jax.Array | None) -> Any:
    """Return random keys and counts of the given shapes; arbitrary ones in evaluation."""
    key = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree.flatten(random)

    def draw(i: int, leaf: Any) -> jax.Array:
        if _is_key((), leaf):
            return jax.random.split(jax.random.fold_in(key, i), leaf.shape)
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree.unflatten(structure, [draw(i, leaf) for i, leaf in enumerate(leaves)])
