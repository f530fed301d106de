"""The features of a network: the inputs of its linear head, whatever the library."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.analysis.networks import Network, Subject

# From parameters, model state and inputs to features, shape (B, F).
Features = Callable[[Any, Any, jax.Array], jax.Array]


def head_features(subject: Subject) -> Features:
    r"""Return a function that computes the features of a network: the inputs of its linear head.

    .. math:: h_j(x) = \frac{\partial z_0(x)}{\partial K_{j0}}

    for a head :math:`z = h(x) K + b`. This only requires knowing which parameter of the network is
    the kernel of the head: the last one with two axes, one of them as long as the number of
    outputs, that produces the outputs in this way (tested with random weights).

    Args:
        subject: The benchmark.

    Raises:
        ValueError: If there is no such kernel, or it is square.
    """
    inputs = subject.test(0).inputs[:2]
    params, state = subject.model.init(jax.random.key(0), inputs)
    params = jax.tree.map(_shaken, params)  # a head of zeros would tell nothing
    outputs = subject.outputs(Network(params, state), inputs)
    for path, kernel in reversed(jax.tree_util.tree_leaves_with_path(params)):
        if kernel.ndim != 2 or kernel.shape.count(outputs.shape[-1]) != 1:
            continue
        transposed = kernel.shape[0] == outputs.shape[-1]  # as Equinox has it
        features = _inputs_of(subject, path, kernel, transposed)
        without = _replaced(params, path, jnp.zeros_like)
        made = features(params, state, inputs) @ (kernel.T if transposed else kernel)
        rest = subject.outputs(Network(without, state), inputs)
        if np.allclose(made, outputs - rest, rtol=1e-3, atol=1e-3 * np.abs(outputs).max()):
            return features
    raise ValueError(
        f"the network has no linear head with {outputs.shape[-1]} outputs that could be recognized:"
        " give features=function(params, state, inputs), which returns shape (B, F)"
    )


def _inputs_of(subject: Subject, path: Any, kernel: jax.Array, transposed: bool) -> Features:
    """Return the function that gives the inputs of a linear head."""

    def features(params: Any, state: Any, inputs: jax.Array) -> jax.Array:
        def first_output(column: jax.Array, one: jax.Array) -> jax.Array:
            def moved(leaf: jax.Array) -> jax.Array:
                leaf = jnp.asarray(leaf)
                return leaf.at[0].add(column) if transposed else leaf.at[:, 0].add(column)

            changed = _replaced(params, path, moved)
            return subject.outputs(Network(changed, state), one[None])[0, 0]

        size = kernel.shape[1] if transposed else kernel.shape[0]
        return jax.vmap(jax.grad(first_output), (None, 0))(jnp.zeros(size, kernel.dtype), inputs)

    return features


def _shaken(x: jax.Array) -> jax.Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x + 0.1 * jax.random.normal(jax.random.key(1), x.shape, x.dtype)


def _replaced(params: Any, path: Any, change: Callable[[jax.Array], jax.Array]) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda here, leaf: change(leaf) if here == path else leaf, params
    )
