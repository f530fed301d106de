"""Which parameters a gain multiplies: masks in the structure of the parameters, and their trace."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Mask = Any  # a tree of booleans, a prefix of one, or a function from parameters to one

# Names of parameters, words in names, and parts of names, without their numbers, in lower case.
_NO_MATRIX = {"b", "scale", "offset"}
_WORDS = {"bn", "ln", "gn"}
_IN_NO_MATRIX = re.compile("bias|norm|embed")


def default_mask(params: Any) -> Any:
    """Mark weight matrices and kernels, for :func:`gainjax.gain_modulation`.

    A gain multiplies what a unit adds up from its inputs. So it multiplies parameters with two or
    more axes, and neither biases nor normalizations nor tables of embeddings, whatever their
    shape. Those are known by the name of the parameter or of its layer (``bias``, ``b``,
    ``scale``, ``offset``, ``bn_1``, ``LayerNorm_0``, ``embedding``, ``pos_embed``, ...), in
    Equinox also by the class of the layer. Names further up do not count: ``norm_mlp/fc/kernel``
    is a kernel.

    Args:
        params: Parameters of one model, a pytree of arrays or their shapes. (A stack of models has
            an axis more, which would make a matrix of a vector without a name.)

    Returns:
        Booleans with the structure of ``params``.

    Example:
        >>> params = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
        >>> default_mask(params)
        {'dense': {'bias': False, 'kernel': True}}

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: all weights of networks without biases. What it
        means for other layers is our choice.
    """

    def mark(path: Any, node: Any) -> Any:
        if _is_layer_without_matrix(node):
            return jax.tree.map(lambda _: False, node)
        is_matrix = getattr(node, "ndim", 0) >= 2 and jnp.issubdtype(node.dtype, jnp.inexact)
        return is_matrix and not any(_is_no_matrix(name) for name in _names(path)[-2:])

    return jax.tree_util.tree_map_with_path(mark, params, is_leaf=_is_layer_without_matrix)


def _names(path: Any) -> list[str]:
    """Return the names on a path; neither indices, nor what an NNX variable calls its array."""
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    return [name for name in names if not re.fullmatch(r"[\d_]*|value|raw_value", name)]


def _is_no_matrix(name: str) -> bool:
    name = re.sub(r"[\d_]+$", "", name).lower()
    words = set(re.split(r"[\d_]+", name))
    return name in _NO_MATRIX or bool(words & _WORDS) or bool(_IN_NO_MATRIX.search(name))


def _is_layer_without_matrix(node: Any) -> bool:
    """Tell such a layer, which holds arrays and no other layers, by its class."""
    if jax.tree_util.all_leaves([node]) or not _is_no_matrix(type(node).__name__):
        return False
    children = jax.tree.leaves(node, is_leaf=lambda child: child is not node)
    return jax.tree_util.all_leaves(child for child in children if jax.tree.leaves(child))


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
    marks = mask(params) if _is_function(mask) else mask
    for mark in jax.tree.leaves(marks):
        if not _is_boolean(mark):
            raise TypeError(f"mask must hold booleans, True where modulated: got {mark!r}")
    try:
        jax.tree.broadcast(marks, params)
    except ValueError as error:
        raise ValueError(
            f"mask must have the structure of the parameters, or a prefix of it: got "
            f"{jax.tree.structure(marks)} for {jax.tree.structure(params)}"
        ) from error
    return marks


def _is_function(mask: Mask) -> bool:
    """Tell a function from a tree of booleans that can be called, as any module of Equinox can."""
    return callable(mask) and not any(_is_boolean(leaf) for leaf in jax.tree.leaves(mask))


def _is_boolean(leaf: Any) -> bool:
    return np.dtype(getattr(leaf, "dtype", type(leaf))) == np.dtype(bool)


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
