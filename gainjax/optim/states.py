"""The state of gain modulations inside optimizer states: finding, naming and reading it."""

from collections import Counter, OrderedDict
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gainjax.optim.masks import dtype_of, fingerprint, with_complex

__all__ = [
    "GainModulationState",
    "get_gain",
    "get_gains",
    "modulated_params",
    "reset",
    "slow_params",
]


class GainModulationState(NamedTuple):
    """State of :func:`gain_modulation`."""

    # Not `count`, as in Optax's own states: `optax.tree.get(state, "count")` would be ambiguous.
    step: jax.Array  # shape=(), dtype=int32: updates so far
    gain: jax.Array  # shape=(), dtype of the widest parameter, at least float32
    # The gain that the weights carry. If `gain` is set from outside, the weights follow it at the
    # next update, instead of keeping a burst forever.
    carried: jax.Array  # like gain, and equal to it after each update
    baseline: jax.Array  # like gain; kept for `slow_params`
    skipped: jax.Array  # shape=(), dtype=int32: updates with a non-finite or negative uncertainty
    modulated: jax.Array  # shape=(1 + leaves, 2), dtype=uint32: fingerprints of modulated leaves
    base_state: optax.OptState


def get_gain(opt_state: optax.OptState) -> jax.Array:
    """Return the current gain, wherever its state is nested.

    Args:
        opt_state: State of an optimizer that contains one gain modulation, alone or inside
            ``chain``, ``partition``, ``masked``, ``MultiSteps``, ``inject_hyperparams`` and so on.

    Returns:
        The gain, shape () (with the leading axes of the state if it was vmapped).

    Raises:
        ValueError: If the state holds no gain, more than one, or one that is not the last. A state
            does not tell which parameters :func:`optax.masked` selects, so that in a chain of
            masked transformations, which may be a partition, one behind the gain that acts on the
            same parameters goes unnoticed.

    Example:
        >>> from gainjax import ngm_sgd
        >>> optimizer = optax.chain(optax.clip(1.0), ngm_sgd(0.01))
        >>> get_gain(optimizer.init(jnp.ones((2, 2))))
        Array(1., dtype=float32)

    References:
        Symbol g of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    states = find_gain_states(opt_state)
    if len(states) != 1:
        raise ValueError(
            f"opt_state must hold exactly one gain: found {len(states)} in a "
            f"{type(opt_state).__name__}. Pass the state of one `gain_modulation(...)`"
        )
    return states[0].carried


def get_gains(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Return all current gains by name, wherever their states are nested.

    A single gain is called ``"gain"``. Several gains in an :func:`optax.partition` are named by its
    labels; elsewhere by their position, such as ``"0"`` in a chain.

    Args:
        opt_state: State of any optimizer.

    Returns:
        Gains, each as :func:`get_gain` returns it; an empty dict if there is none.

    Raises:
        ValueError: If one modulation is inside another, or is not the last transformation.

    Example:
        >>> import gainjax
        >>> parts = {"fast": gainjax.ngm_sgd(0.1, baseline=2.0), "slow": gainjax.ngm_sgd(0.1)}
        >>> optimizer = optax.partition(parts, {"head": "fast", "body": "slow"})
        >>> state = optimizer.init({"head": jnp.ones((2, 2)), "body": jnp.ones((2, 2))})
        >>> {name: float(gain) for name, gain in get_gains(state).items()}
        {'fast': 2.0, 'slow': 1.0}

    References:
        Symbol g of Rodriguez-Garcia et al., arXiv 2507.14056, where all layers share one.
    """
    found = _find(opt_state)
    if len(found) == 1:
        return {"gain": found[0][1].carried}
    # A label serves as name if no other gain has it, then the place; the whole path is unique.
    every = [(_labels(path), _place(path), tuple(map(_text, path))) for path, _ in found]
    count = Counter(keys for three in every for keys in set(three))
    names = ["/".join(next(x for x in three if x and count[x] == 1)) for three in every]
    return {name: state.carried for name, (_, state) in zip(names, found, strict=True)}


def slow_params(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    r"""Return the slow part of effective weights: their value once the phasic gain has decayed.

    .. math:: \theta = g w = \underbrace{g_0 w}_{slow} + \underbrace{(g - g_0) w}_{fast}

    Args:
        params: Effective weights, as trained by :func:`gain_modulation`. Arrays from
            :func:`jax.vmap` may keep their leading axes if the state has them too.
        opt_state: Their state, at any depth; several modulations are fine.

    Returns:
        Parameters like ``params``; those that no gain modulates are returned as they are.

    Raises:
        ValueError: If the state holds no gain, or one that is not the last transformation, or if a
            modulated parameter is missing: the parameters are then nested differently from those
            at ``init``.

    Example:
        >>> from gainjax import ngm_sgd
        >>> optimizer = ngm_sgd(0.0)
        >>> params = jnp.ones((1, 2))
        >>> updates, state = optimizer.update(
        ...     params, optimizer.init(params), params, uncertainty=2.3
        ... )
        >>> params = optax.apply_updates(params, updates)
        >>> print(params.round(2), slow_params(params, state))
        [[1.92 1.92]] [[1. 1.]]

    References:
        Decomposition of the effective weight in Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    states = find_gain_states(opt_state)
    if not states:
        raise ValueError(
            f"opt_state holds no gain: got a {type(opt_state).__name__}. Pass the state of an "
            "optimizer that contains `gain_modulation(...)`"
        )

    _check_paths(params, states)

    def slow(path: Any, param: jax.Array) -> jax.Array:
        is_abstract = isinstance(param, jax.ShapeDtypeStruct)
        if is_abstract or not jnp.issubdtype(dtype_of(param), jnp.inexact):
            return param
        param = jnp.asarray(param)
        for state in states:
            this = np.broadcast_to(fingerprint(path), state.modulated.shape)
            is_modulated = jnp.any(jnp.all(state.modulated == this, axis=-1), axis=-1)
            scale = jnp.where(is_modulated, state.baseline / state.carried, 1)
            # A vmapped state has leading axes, which the parameters then share.
            scale = scale.reshape(scale.shape + (1,) * (param.ndim - scale.ndim))
            wide = with_complex(scale.dtype, param.dtype)
            param = (param.astype(wide) * scale.astype(wide)).astype(param.dtype)
        return param

    return jax.tree_util.tree_map_with_path(slow, params)


def modulated_params(params: optax.Params, opt_state: optax.OptState) -> Any:
    """Return which parameters a gain multiplies.

    Args:
        params: Effective weights; arrays from :func:`jax.vmap` may keep their leading axes.
        opt_state: Their state, at any depth, not traced; it may hold any number of gains.

    Returns:
        Booleans in the structure of ``params``.

    Raises:
        ValueError: As :func:`slow_params`, but not without a gain.

    Example:
        >>> from gainjax import ngm_sgd
        >>> params = {"bias": jnp.zeros(2), "kernel": jnp.ones((3, 2))}
        >>> print(modulated_params(params, ngm_sgd(0.1).init(params)))
        {'bias': False, 'kernel': True}
    """
    states = find_gain_states(opt_state)
    _check_paths(params, states)
    known = {row for state in states for row in _known(state)}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bytes(fingerprint(path)) in known, params
    )


def reset(params: optax.Params, opt_state: optax.OptState) -> tuple[optax.Params, optax.OptState]:
    r"""Remove a raised gain from the weights immediately, as needed before a new ``init``.

    .. math:: \theta \leftarrow g_0 w, \qquad g \leftarrow g_0

    The raw weights and the state of the base optimizer are kept. Without this, weights given to
    ``init`` while the gain is raised keep the burst forever, and weights that replace others carry
    no gain although the state says so.

    Args:
        params: Effective weights.
        opt_state: Their state.

    Returns:
        The slow weights (:func:`slow_params`), and the state with every gain at its baseline.

    Raises:
        ValueError: As :func:`slow_params`.

    Example:
        >>> from gainjax import ngm_sgd
        >>> optimizer = ngm_sgd(0.0)
        >>> params = jnp.ones((1, 2))
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params, uncertainty=2.3)
        >>> params, state = reset(optax.apply_updates(params, updates), state)
        >>> print(params, get_gain(state))
        [[1. 1.]] 1.0

    References:
        Ours.
    """
    slow = slow_params(params, opt_state)

    def at_rest(node: Any) -> Any:
        if not _is_state(node):
            return node
        baseline = jnp.array(node.baseline)  # copies: no buffer twice in what may be donated
        return node._replace(gain=baseline, carried=jnp.array(baseline))

    return slow, jax.tree.map(at_rest, opt_state, is_leaf=_is_state)


def find_gain_states(opt_state: optax.OptState) -> list[GainModulationState]:
    """Return the states of all gain modulations inside an optimizer state.

    Raises:
        ValueError: If one is inside another or is not the last transformation: its gain is then
            not the one that the weights carry.
    """
    return [state for _, state in _find(opt_state)]


def _find(opt_state: optax.OptState) -> list[tuple[Any, GainModulationState]]:
    leaves = jax.tree_util.tree_flatten_with_path(opt_state, is_leaf=_is_state)[0]
    found = [(path, leaf) for path, leaf in leaves if _is_state(leaf)]
    for path, state in found:
        if any(map(_is_state, jax.tree.leaves(state.base_state, is_leaf=_is_state))):
            raise ValueError(
                "one gain modulation is inside another, so the weights carry both gains: use "
                "`optax.partition` to apply them to different parameters"
            )
        _check_is_last(opt_state, path)
    return found


# States of what changes the updates of an optimizer inside it.
_AROUND = (
    optax.LookaheadState,
    optax.contrib.ScheduleFreeState,
    optax.contrib.MechanicState,
)


def _check_is_last(node: Any, path: Any) -> None:
    """Raise if the states around a gain modulation show that its updates may be changed."""
    for key in path:
        behind: tuple[Any, ...] = ()
        if type(node) is tuple and isinstance(key, jax.tree_util.SequenceKey):  # a chain
            behind = node[key.idx + 1 :]
        elif isinstance(node, OrderedDict):  # a chain with names
            names = list(node)
            behind = tuple(node[name] for name in names[names.index(key.key) + 1 :])
        if isinstance(_child(node, key), optax.MaskedState):
            # Masked transformations may act on other parameters: a chain of masks is a partition.
            # Whether they do is in no state.
            behind = tuple(state for state in behind if not isinstance(state, optax.MaskedState))
        around = isinstance(node, _AROUND)
        if behind or around:
            raise ValueError(
                "gain modulation must be the last transformation, since any later one would change "
                "the weights without its knowledge: wrap it around the others, "
                "gain_modulation(optax.chain(...)); "
                f"got a state in {type(node).__name__} with {len(behind)} more behind it"
            )
        node = _child(node, key)


def _child(node: Any, key: Any) -> Any:
    match key:
        case jax.tree_util.SequenceKey(idx=idx):
            return node[idx]
        case jax.tree_util.DictKey(key=name):
            return node[name]
        case jax.tree_util.GetAttrKey(name=name):
            return getattr(node, name)
    return None  # a custom node without names: not searched


def _check_paths(params: optax.Params, states: list[GainModulationState]) -> None:
    paths = {bytes(fingerprint(p)) for p, _ in jax.tree_util.tree_flatten_with_path(params)[0]}
    for state in states:
        if isinstance(state.modulated, jax.core.Tracer):
            continue
        known = _known(state)
        if missing := sum(row not in paths for row in known):
            raise ValueError(
                "params must be nested like those that the optimizer was initialized with: "
                f"{missing} of its {len(known)} modulated parameters are not in "
                f"{jax.tree.structure(params)}. (Put optax.flatten, which changes that, inside "
                "the gain modulation.)"
            )


def _known(state: GainModulationState) -> list[bytes]:
    """Return the fingerprints of the parameters that a gain multiplies."""
    rows = np.asarray(state.modulated, np.uint32)
    return [bytes(row) for row in rows.reshape(-1, *rows.shape[-2:])[0, 1:]]  # same for all runs


def _is_state(node: Any) -> bool:
    return isinstance(node, GainModulationState)


def _labels(path: Any) -> tuple[str, ...]:
    """Return the labels of the partitions on a path."""
    return tuple(_text(key) for before, key in pairwise(path) if _field(before) == "inner_states")


def _place(path: Any) -> tuple[str, ...]:
    """Return the labels and positions on a path, without the fields of partitions and masks."""
    return tuple(_text(key) for key in path if _field(key) not in ("inner_state", "inner_states"))


def _field(key: Any) -> Any:
    return getattr(key, "name", None)


def _text(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))
