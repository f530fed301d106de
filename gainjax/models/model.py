"""The model interface: two pure functions, and the parameters that a gain multiplies.

Networks of Flax, Equinox and others are adapted to it, by one module each.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.gain import GainDynamics
from gainjax.optim.masks import Mask, default_mask, resolve

Modulate = Literal["head", "all"]  # which layers of a model have a gain


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network as pure functions, whatever library it was written with.

    Parameters and state are pytrees of arrays that can be stored, without random keys. Both
    functions work under :func:`jax.jit`, :func:`jax.vmap`, :func:`jax.lax.scan` and
    :func:`jax.eval_shape`. Models are compared by identity, so create a model once: compiled
    programs are cached by it.

    Args:
        init: ``init(key, x) -> (params, state)`` for a batch of inputs, shape (B, ...).
        apply: ``apply(params, state, x, *, train, key) -> (outputs, state)``. In training ``key``
            is a random key and the returned state is the next one (batch statistics, ...). In
            evaluation ``key`` is None, the state is returned unchanged, and the outputs of an
            example must not depend on the other examples, some of which are padding.
        mask: Which parameters a gain multiplies, as in :func:`gainjax.gain_modulation`. None:
            weight matrices and kernels (:func:`gainjax.optim.masks.default_mask`).
        description: Human-readable description of the network. Nothing is derived from it.
        twin: Returns, for given dynamics, the same model with the gain in its state instead of the
            optimizer: same parameters, but raw. None if there is no such form.
        gains_of: ``gains_of(state)``: the gains of layers that carry their own, each of shape (),
            by name; empty if there are none. A run records them. None: no such layer.
        layer_inputs: ``layer_inputs(params, state, x)``: for each kernel of a dense layer the
            inputs that it multiplies, shape (B, D), in the structure of ``params``, with
            ``optax.MaskedNode()`` in place of other parameters. None if they are not known.
        choose: Returns the model with a gain on ``"all"`` layers, or on the ``"head"`` alone. None
            if its head is unknown.

    Example:
        >>> def init(key, x):
        ...     return {"w": jax.random.normal(key, (x.shape[1], 3)), "b": jnp.zeros(3)}, {}
        >>> def apply(params, state, x, *, train, key):
        ...     return x @ params["w"] + params["b"], state
        >>> model = from_functions(init, apply)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> model.modulated(params)
        {'b': False, 'w': True}
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]
    mask: Mask = None
    description: str = ""
    twin: Callable[[GainDynamics], "Model"] | None = None
    gains_of: Callable[[Any], Mapping[str, jax.Array]] | None = None
    choose: Callable[[Modulate], "Model"] | None = None
    layer_inputs: Callable[[Any, Any, jax.Array], Any] | None = None

    def modulated(self, params: Any) -> Any:
        """Return which parameters a gain multiplies: booleans in the structure of ``params``.

        Args:
            params: Parameters of this model, or their shapes.

        Raises:
            ValueError: If the mask does not fit the parameters.
            TypeError: If it holds anything but booleans.
        """
        mask = default_mask if self.mask is None else self.mask
        return jax.tree.map(bool, jax.tree.broadcast(resolve(mask, params), params))


def from_functions(
    init: Callable[..., Any], apply: Callable[..., Any], *, mask: Mask = None
) -> Model:
    """Make a model from two pure functions: plain JAX, Haiku, or any other library.

    Args:
        init: ``init(key, x) -> (params, state)`` for a batch of inputs, shape (B, ...). A model
            without state returns ``{}`` for it.
        apply: ``apply(params, state, x, *, train, key) -> (outputs, state)``; see :class:`Model`.
            The state that it returns in evaluation is ignored.
        mask: Which parameters a gain multiplies; see :class:`Model`.

    Returns:
        The model.

    Raises:
        TypeError: If the functions have another signature, or do not return pairs.

    Example:
        Reorder the arguments of a transformed Haiku function as needed::

            network = hk.transform_with_state(forward)  # def forward(x, train): ...
            model = from_functions(
                lambda key, x: network.init(key, x, train=False),
                lambda params, state, x, *, train, key: network.apply(
                    params, state, key, x, train=train
                ),
            )
    """
    _check_call("init(key, x)", init, 2, {})
    called = "apply(params, state, x, *, train, key)"
    _check_call(called, apply, 3, {"train": True, "key": None})

    def pure_init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        return strong_arrays("init", _pair("init", "(params, state)", init(key, x)))

    def pure_apply(
        params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        result = apply(params, state, x, train=train, key=key)
        outputs, new_state = _pair("apply", "(outputs, state)", result)
        if not train:
            return outputs, state
        return outputs, same_structure("apply", strong_arrays("apply", new_state), state)

    return Model(pure_init, pure_apply, mask, description=name_of(apply))


def _check_call(called: str, function: Any, positional: int, keywords: dict[str, Any]) -> None:
    name = called.partition("(")[0]
    if not callable(function):
        raise TypeError(f"{name} must be a function called as {called}: got {function!r}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # built-in functions have none
        return
    try:
        signature.bind(*[None] * positional, **keywords)
    except TypeError as error:
        raise TypeError(
            f"{name} must be a function called as {called}: got one that takes {signature}"
        ) from error


def _pair(name: str, wanted: str, result: Any) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{name} must return a pair {wanted}: got a {type(result).__name__}")
    return result


def strong_arrays(name: str, tree: Any) -> Any:
    """Return a tree as arrays that can be stored and carried through a loop.

    Their types are not weak, so they are not promoted to those of other operands.

    Raises:
        TypeError: If a leaf is a random key or neither a number nor an array. The message says that
            `name` returned it.
    """

    def strong(path: Any, leaf: Any) -> jax.Array:
        try:
            array = jnp.asarray(leaf)
        except TypeError:
            array = None
        if array is None or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            got = repr(leaf) if array is None else "a random key"
            raise TypeError(
                f"{name} must return parameters and state that can be stored, arrays without random"
                f" keys (apply gets one for each update): got {got} at "
                f"{jax.tree_util.keystr(path)}"
            )
        return array.astype(array.dtype)

    return jax.tree_util.tree_map_with_path(strong, tree)


def same_structure(name: str, new: Any, old: Any) -> Any:
    """Return a new state, or raise ValueError if its structure differs from the old one."""
    now, before = (cast(Any, jax.tree.structure(state)) for state in (new, old))
    if now != before:
        raise ValueError(
            f"{name} must keep the structure of the state from update to update: got {now} after "
            f"{before}. Create all of it when the model is initialized; values that are only "
            "collected (sown) do not belong there"
        )
    return new


# Arguments by which Flax modules distinguish training, and their values in training.
_SWITCHES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


def switches(call: Callable[..., Any], train: bool) -> dict[str, bool]:
    """Return the keywords that tell the call of a Flax module whether it is training."""
    taken = inspect.signature(call).parameters
    return {name: on == train for name, on in _SWITCHES.items() if name in taken}


def first_units(gains: Any) -> dict[str, jax.Array]:
    """Return the gain of each layer by its path: that of its first unit, one drives all.

    Args:
        gains: Nested dict of the gains of layers, whose last key is the name of the variable. Units
            are on the last axis; layers that are stacked, as by :func:`flax.linen.scan`, are on the
            axes before it and are numbered.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gains):
        name = "/".join(str(key.key) for key in path[:-1]) or "gain"
        for index in np.ndindex(leaf.shape[:-1]):
            place = f"[{','.join(map(str, index))}]" if index else ""
            found[name + place] = leaf[(*index, 0)]
    return found


def describe(name: str, values: Iterable[tuple[str, Any]]) -> str:
    """Return ``Name(field=value, ...)`` in one line, without memory addresses."""

    def text(value: Any) -> str:
        return name_of(value) if callable(value) else " ".join(repr(value).split())

    return f"{name}({', '.join(f'{field}={text(value)}' for field, value in values)})"


def name_of(function: Any) -> str:
    """Return the human-readable name of a function or class."""
    return getattr(function, "__qualname__", type(function).__name__)
