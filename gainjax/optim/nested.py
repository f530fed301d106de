"""Finding one kind of state among nested optimizer states."""

from typing import TypeVar

import jax
import optax

Kind = TypeVar("Kind")
__all__ = ["the_state"]


def the_state(opt_state: optax.OptState, kind: type[Kind], made_by: str) -> Kind:
    """Return the only state of a kind, wherever it is nested.

    Args:
        opt_state: State of any optimizer.
        kind: Type of the wanted state.
        made_by: The transformation that has such a state.

    Raises:
        ValueError: If there is none, or more than one.
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    found = [leaf for leaf in leaves if isinstance(leaf, kind)]
    if len(found) != 1:
        raise ValueError(
            f"opt_state must hold the state of exactly one {made_by}: found {len(found)} in a "
            f"{type(opt_state).__name__}"
        )
    return found[0]
