"""Adapter from Flax Linen modules to models."""

import dataclasses
import functools
from typing import Any, cast

import flax.linen as nn
import jax
import optax

from gainjax.gain import GainDynamics
from gainjax.models.layers import COLLECTION, GainDense, modulated_mask
from gainjax.models.model import (
    Mask,
    Model,
    Modulate,
    describe,
    first_units,
    same_structure,
    switches,
)

_PARAMS = "params"


def from_linen(module: nn.Module, *, mask: Mask = None) -> Model:
    """Make a model from a Linen module.

    All collections except ``"params"`` (batch statistics, caches, gains, ...) are its state. If the
    call has an argument for it (``train``, ``training``, ``is_training``, ``deterministic`` or
    ``use_running_average``), it is told whether it is training. In training, ``dropout`` and every
    other random stream are derived from the key.

    A module with a field ``dynamics`` (None, or :class:`gainjax.GainDynamics` for layers with a
    gain, as in :class:`gainjax.models.MLP`) supports both forms of the mechanism: the gain in the
    optimizer, or in the model. The mask then marks the parameters that the modulated module's gains
    multiply; a field ``modulate`` chooses between ``"all"`` layers and the ``"head"``. An explicit
    mask disables both, since the layers with a gain might not be those that it marks.

    Layers that always have a gain need a method that has none, such as ``"sgd"``; runs record the
    gain of each.

    Args:
        module: The unbound module, called as ``module(x)`` for a batch of inputs, shape (B, ...).
        mask: Which parameters a gain multiplies; see :class:`gainjax.models.Model`.

    Returns:
        The model. Metadata around parameters (``nn.Partitioned``) is removed.

    Raises:
        TypeError: If ``module`` is not a Linen module.
        ValueError: From ``apply``, if a collection does not keep its structure in training.

    Example:
        >>> import jax.numpy as jnp
        >>> model = from_linen(nn.BatchNorm())
        >>> x = jnp.arange(6.0).reshape(3, 2)
        >>> params, state = model.init(jax.random.key(0), x)
        >>> outputs, state = model.apply(params, state, x, train=True, key=jax.random.key(1))
        >>> print(outputs[2].round(2), state["batch_stats"]["mean"].round(2))
        [1.22 1.22] [0.02 0.03]
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a flax.linen.Module such as Net(features=10): got {module!r}"
        )
    fields = {field.name for field in dataclasses.fields(module)}
    dynamics = getattr(module, "dynamics", None)
    carries = mask is None and "dynamics" in fields
    if carries and (dynamics is None or isinstance(dynamics, GainDynamics)):
        return _with_twin(module, "modulate" in fields)
    return Model(
        functools.partial(_init, module),
        functools.partial(_apply, module),
        mask,
        _description(module),
        gains_of=_gains_of,
        layer_inputs=functools.partial(_layer_inputs, module),
    )


def _with_twin(module: Any, has_choice: bool) -> Model:
    mask = _GainMask(module)

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        mask.look(x)
        return _init(module, key, x)

    @functools.cache
    def choose(modulate: Modulate) -> Model:
        return from_linen(module.clone(modulate=modulate))

    return Model(
        init,
        functools.partial(_apply, module),
        mask,
        _description(module),
        twin=lambda dynamics: from_linen(module.clone(dynamics=dynamics)),
        gains_of=_gain_of,
        choose=choose if has_choice else None,
        layer_inputs=functools.partial(_layer_inputs, module),
    )


class _GainMask:
    """Marks the parameters that the gains of the modulated module multiply.

    Which layers those are is known once the module has been called with inputs. This happens in
    `init` (also under `jax.eval_shape`), with the same outcome for all inputs.
    """

    def __init__(self, module: Any) -> None:
        self._module = module.clone(dynamics=GainDynamics())
        self._gains: Any = None

    def look(self, x: jax.Array) -> None:
        if self._gains is not None:
            return
        key = jax.random.key(0)
        _, state = jax.eval_shape(functools.partial(_init, self._module), key, x)
        if COLLECTION not in state:
            raise ValueError(
                "module must have modulated layers, such as gainjax.GainDense, when its field "
                f"`dynamics` is set: {type(self._module).__name__} has no collection "
                f"{COLLECTION!r}. Rename the field if it does not concern gains, or pass mask=..."
            )
        self._gains = state[COLLECTION]

    def __call__(self, params: Any) -> Any:
        if self._gains is None:
            raise ValueError(
                f"the layers of {type(self._module).__name__} that have a gain are known only once "
                "the model is initialized: call jax.eval_shape(model.init, key, x) first"
            )
        return modulated_mask(params, self._gains)


def _init(module: nn.Module, key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    options: Any = switches(type(module).__call__, False)
    variables = nn.meta.unbox(module.init(key, x, **options))
    state = {name: values for name, values in variables.items() if name != _PARAMS}
    return variables.get(_PARAMS, {}), state


def _apply(
    module: nn.Module, params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None
) -> tuple[jax.Array, Any]:
    variables = {_PARAMS: params, **state}
    options: Any = switches(type(module).__call__, train)
    if not train:
        return cast(jax.Array, module.apply(variables, x, **options)), state
    if key is not None:
        # Linen uses "params" for random streams that are not given under their own name.
        options["rngs"] = {"dropout": key, _PARAMS: jax.random.fold_in(key, 1)}
    outputs, new_state = module.apply(variables, x, mutable=list(state), **options)
    return outputs, same_structure(type(module).__name__, new_state, state)


def _layer_inputs(module: nn.Module, params: Any, state: Any, x: jax.Array) -> Any:
    """Return the inputs of the dense layers in place of their kernels.

    A layer that is called more than once, as with shared weights, is left out: it has no one input.
    """
    inputs: dict[tuple[str, ...], jax.Array | None] = {}

    def look(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Dense | GainDense) and context.method_name == "__call__":
            path = context.module.path
            inputs[path] = None if path in inputs else args[0]
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        _apply(module, params, state, x, train=False, key=None)

    def of(path: Any, leaf: jax.Array) -> Any:
        *layer, name = (key.key for key in path)
        found = inputs.get(tuple(layer)) if name == "kernel" else None
        return optax.MaskedNode() if found is None or found.ndim != 2 else found

    return jax.tree_util.tree_map_with_path(of, params)


def _gain_of(state: Any) -> dict[str, jax.Array]:
    """Return the gain of all layers, if they have one: the dynamics of the module drive all."""
    gains = list(_gains_of(state).values())
    return {"gain": gains[0]} if gains else {}


def _gains_of(state: Any) -> dict[str, jax.Array]:
    return first_units(state.get(COLLECTION, {}))


def _description(module: nn.Module) -> str:
    shown = [
        (field.name, getattr(module, field.name))
        for field in dataclasses.fields(module)
        if field.name not in ("parent", "name", "dynamics")
    ]
    defaults = {field.name: field.default for field in dataclasses.fields(module)}
    changed = [(name, value) for name, value in shown if value is not defaults[name]]
    return describe(type(module).__name__, changed)
