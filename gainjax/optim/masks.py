"""Masks: which parameters a gain multiplies, in the structure of the parameters."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["default_mask"]  # of the API pages

Mask = Any  # a tree of booleans, a prefix of one, or a function from parameters to one

# Names of parameters (a layer may have any name); words in names of parameters and of layers; how
# else such a word ends: `layernorm` counts, but `normal`, `debias` and `unembed` do not.
_NO_MATRIX = {"b", "scale", "scales", "offset", "offsets", "shift", "gamma", "beta"}
_WORDS = {"bn", "ln", "gn", "emb", "wte", "wpe"}
_ENDS = re.compile(
    r"(?!(?:un|de)(?:norm|bias|embed))[a-z]*(?:norm(?:alization)?|bias(?:es)?|embed(?:ding)?s?)"
)


def default_mask(params: Any) -> Any:
    """Mark weight matrices and kernels, for :func:`gainjax.gain_modulation`.

    A gain multiplies the input current of a unit. It therefore multiplies parameters with two or
    more axes, but not biases, normalization layers or embedding tables, whatever their shape. These
    are recognized by the name of the parameter (``b``, ``scale``, ``offset``, ``shift``, ``gamma``,
    ``beta``), by the words in that of the parameter or of its layer, in Equinox also by those in
    the class of the layer. Such a word is ``bn``, ``ln``, ``gn``, ``emb``, ``wte`` or ``wpe``, or
    ends in ``norm``, ``normalization``, ``bias`` or ``embed(ding)``, as in ``LayerNorm_0``,
    ``batchnorm`` and ``pos_embed``; those with ``un`` or ``de`` before it, as in ``unembed``, do
    not count, nor do ``normal_head`` and ``unbiased``. A name ends at a slash or dot and a word
    also at any other character that is no letter and where capitals begin. Names further up do not
    count: ``norm_mlp/fc/kernel`` is a kernel.

    Words cannot tell everything: the kernel in ``patch_embed/kernel`` is left out, and of weight
    normalization, which divides a matrix by its own norm, both arrays are marked. Then give a mask.

    Args:
        params: Parameters of one model, a pytree of arrays or their shapes. (A stack of models has
            an extra axis, so an unnamed vector would look like a matrix.)

    Returns:
        Booleans with the structure of ``params``.

    Example:
        >>> params = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
        >>> default_mask(params)
        {'dense': {'bias': False, 'kernel': True}}

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: all weights of networks without biases. The
        extension to other layers is our choice.
    """

    def mark(path: Any, node: Any) -> Any:
        if _is_layer_without_matrix(node):
            return jax.tree.map(lambda _: False, node)
        is_matrix = getattr(node, "ndim", 0) >= 2 and jnp.issubdtype(node.dtype, jnp.inexact)
        *layers, name = _names(path) or [""]
        return is_matrix and not (_is_no_matrix(name) or any(map(_is_like_no_matrix, layers[-1:])))

    return jax.tree_util.tree_map_with_path(mark, params, is_leaf=_is_layer_without_matrix)


def _names(path: Any) -> list[str]:
    """Return the names on a path, without indices and the name NNX variables give their array.

    A key may hold several: Haiku names a layer ``mlp/~/linear_0``.
    """
    keys = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    names = [name for key in keys for name in re.split(r"[/.]", key)]
    return [name for name in names if not re.fullmatch(r"[\d_~]*|value|raw_value", name)]


def _is_no_matrix(name: str) -> bool:
    return re.sub(r"[\d_]+$", "", name).lower() in _NO_MATRIX or _is_like_no_matrix(name)


def _is_like_no_matrix(name: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return any(word.lower() in _WORDS or _ENDS.fullmatch(word.lower()) for word in words)


def _is_layer_without_matrix(node: Any) -> bool:
    """Recognize such a layer, which holds arrays and no other layers, by its class."""
    if jax.tree_util.all_leaves([node]) or not _is_like_no_matrix(type(node).__name__):
        return False
    children = jax.tree.leaves(node, is_leaf=lambda child: child is not node)
    return jax.tree_util.all_leaves(child for child in children if jax.tree.leaves(child))


def resolve(mask: Mask, params: Any) -> Any:
    """Return a mask as booleans in a prefix of the structure of the parameters.

    Args:
        mask: Booleans, a function that returns them, or None for :func:`default_mask`.
        params: The parameters, or their shapes.

    Raises:
        ValueError: If the mask does not fit the parameters.
        TypeError: If it holds anything but booleans.
    """
    if not jax.tree.leaves(params):  # placeholders of optax, MaskedNode
        return True
    if mask is None:
        mask = default_mask
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
    """Tell a function from a callable tree of booleans, such as a module of Equinox."""
    return callable(mask) and not any(_is_boolean(leaf) for leaf in jax.tree.leaves(mask))


def _is_boolean(leaf: Any) -> bool:
    return np.dtype(getattr(leaf, "dtype", type(leaf))) == np.dtype(bool)


def marks_of(mask: Mask, params: Any) -> Any:
    """Return which leaves a gain multiplies: booleans with the structure of the parameters.

    Integers and random keys among the parameters are never multiplied, whatever the mask says.

    Args:
        mask: As for :func:`resolve`.
        params: The parameters, or their shapes.

    Raises:
        ValueError: If the mask does not fit, or if none is given and the default marks nothing.
        TypeError: If it holds anything but booleans.
    """
    marks = jax.tree.map(
        lambda on, branch: jax.tree.map(lambda leaf: bool(on) and _is_inexact(leaf), branch),
        resolve(mask, params),
        params,
    )
    if mask is None and jax.tree.leaves(params) and not any(jax.tree.leaves(marks)):
        raise ValueError(
            "without a mask, the gain multiplies weight matrices and kernels, but these parameters "
            "contain none: pass mask=True to modulate all of them, or a mask; got "
            f"{jax.tree.map(jnp.shape, params)}"
        )
    return marks


def dtype_of(leaf: Any) -> Any:
    """Return the dtype of an array, its abstract shape or a plain number."""
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def map_modulated(function: Callable[..., Any], marks: Any, params: Any, tree: Any) -> Any:
    """Map `function(leaf of tree, leaf of params)` over marked leaves; keep the other leaves."""
    return jax.tree.map(lambda on, x, p: function(x, p) if on else x, marks, tree, params)


def same_marks(mask: Mask, params: Any, before: jax.Array) -> Any:
    """Return which parameters are modulated; raise if that has changed since `init`.

    Inside jit their values are unknown, so only a change in their number is noticed.

    Args:
        mask: Which parameters are modulated.
        params: The parameters.
        before: The :func:`fingerprints` of those that were modulated.

    Raises:
        ValueError: If they differ.
    """
    marks = marks_of(mask, params)
    now = fingerprints(params, marks)
    same = before.shape == now.shape
    if same and not isinstance(before, jax.core.Tracer):
        same = np.array_equal(np.asarray(before), now)
    if not same:
        raise ValueError(
            "the modulated parameters differ from those at init, whose weights carry the gain: "
            "keep mask, partition and structure of the parameters, or start over with "
            "`params, _ = gainjax.reset(params, state)` and `init(params)`"
        )
    return marks


def scale_modulated(tree: Any, factor: jax.Array, marks: Any) -> Any:
    """Multiply the marked leaves of a tree in the dtype of the factor; leaf dtypes stay."""

    def scale(x: Any, _: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return x
        x = jnp.asarray(x)
        wide = with_complex(factor.dtype, x.dtype)
        return (x.astype(wide) * factor.astype(wide)).astype(x.dtype)

    return map_modulated(scale, marks, tree, tree)


def with_complex(wide: Any, dtype: Any) -> Any:
    """Return a real dtype, or the complex dtype of its precision if the other is complex."""
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return wide
    return jnp.dtype(jnp.complex128 if wide == jnp.float64 else jnp.complex64)


def _is_inexact(leaf: Any) -> bool:
    return bool(jnp.issubdtype(dtype_of(leaf), jnp.inexact))


def fingerprint(path: Any) -> np.ndarray:
    """Return a 64-bit fingerprint of the path of a leaf.

    The name that an NNX variable gives its array does not count: outside of :func:`jax.jit`,
    `nnx.Optimizer` creates its state from variables and updates it with arrays.
    """
    if path and getattr(path[-1], "name", None) in ("value", "raw_value"):
        path = path[:-1]
    name = jax.tree_util.keystr(path)
    return np.frombuffer(hashlib.blake2b(name.encode(), digest_size=8).digest(), np.uint32)


def fingerprints(params: Any, marks: Any) -> np.ndarray:
    """Return the fingerprints of the marked leaves, to recognize them later.

    Not a tree in the structure of the parameters, since code that shards optimizer states would
    shard its scalars like the parameters; not static, since a state consists of arrays only.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    pairs = zip(leaves, jax.tree.leaves(marks), strict=True)
    # The first row matches no leaf: checkpointers refuse empty arrays.
    return np.stack([np.zeros(2, np.uint32), *(fingerprint(path) for (path, _), on in pairs if on)])
