"""Directions of gradients at snapshots: how well old and new tasks agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from gainjax.analysis.networks import (
    Examples,
    Network,
    Subject,
    networks,
    over_runs,
    setting_coords,
)
from gainjax.analysis.switch import check_snapshots
from gainjax.training.step import TrainState

_AXES = ("setting", "seed", "snapshot")


def gradient_angles(
    subject: Subject,
    states: Mapping[str, TrainState],
    snapshots: Sequence[int],
    *,
    switch: int = 1,
    methods: Any = None,
    most: int | None = 1000,
) -> xr.Dataset:
    r"""Return cosines between the gradients of old and new tasks, and the step taken.

    .. math:: \cos(u, v) = \frac{\langle u, v \rangle}{\lVert u \rVert \lVert v \rVert}

    Gradients are those of the loss on a fixed sample, for the network in evaluation mode (without
    batch statistics of the sample), with respect to the trained parameters. In the sample of the
    joint gradient, the new task has its share of all examples seen so far.

    Args:
        subject: The benchmark, with its data and its model.
        states: The states from ``gainjax.run(..., snapshots=snapshots)``.
        snapshots: The updates of the snapshots, starting with the last one before the switch
            (:func:`snapshots_around`).
        switch: Number of the switch between old tasks and the new one, from 1.
        methods: As for :func:`networks`.
        most: Maximum number of training examples in a sample, >= 1; None for all of them.

    Returns:
        Over (setting, seed, snapshot): ``old_and_new``, the cosine between the gradients of old
        tasks and the new one; ``old_norm`` and ``new_norm``, their norms; ``step_and_joint``, the
        cosine between the displacement from this snapshot to the next and the negative joint
        gradient here (NaN for the last; for consecutive updates, the displacement of one step).
        NaN where a network has diverged. Seeds have no labels, as in states: they are in the order
        of the run.

    Raises:
        ValueError: If the states have other snapshots, of another switch, or were trained in the
            form "model".
    """
    check_snapshots(states, snapshots)
    subject.check_before(switch, snapshots)
    samples = {
        "old": subject.train(range(switch), most),
        "new": subject.train([switch], most),
        "joint": subject.train(range(switch + 1), most),
    }

    def gradient(network: Network, examples: Examples) -> jax.Array:
        def loss(params: Any) -> jax.Array:
            outputs = subject.outputs(Network(params, network.state), examples.inputs)
            return subject.bench.goal.loss(outputs, examples.targets).mean()

        return ravel_pytree(jax.grad(loss)(network.params))[0]

    def measured(pair: tuple[Network, Any]) -> dict[str, jax.Array]:
        network, step = pair
        found = {name: gradient(network, examples) for name, examples in samples.items()}
        way = ravel_pytree(step)[0]
        return {
            "old_and_new": cosine(found["old"], found["new"]),
            "old_norm": jnp.linalg.norm(found["old"]),
            "new_norm": jnp.linalg.norm(found["new"]),
            "step_and_joint": cosine(way, -found["joint"]),
        }

    every = []
    for network in networks(states, "trained", methods).values():
        steps = jax.tree.map(_steps, network.params)
        every.append(over_runs(measured, (network, steps)))
    arrays = {name: np.stack([np.asarray(one[name], float) for one in every]) for name in every[0]}
    arrays["step_and_joint"][..., -1] = np.nan
    return xr.Dataset(
        {name: (_AXES, array) for name, array in arrays.items()},
        coords=setting_coords(states, methods) | {"snapshot": list(snapshots)},
        attrs={"switch": switch, "switch_update": int(snapshots[0])},
    )


def cosine(u: jax.Array, v: jax.Array) -> jax.Array:
    """Return the cosine between two vectors; 0 if one of them is 0, NaN if one is not finite.

    Args:
        u: Shape (n,).
        v: Shape (n,).

    Example:
        >>> float(cosine(jnp.array([1.0, 0.0]), jnp.array([-2.0, 0.0])))
        -1.0
    """
    return jnp.vdot(_unit(u), _unit(v))


def _unit(v: jax.Array) -> jax.Array:
    """Return a vector at length 1, or 0; scaled first, since squares overflow and underflow."""
    largest = jnp.abs(v).max()
    scaled = v / jnp.where(largest == 0, 1, largest)
    return scaled / jnp.where(largest == 0, 1, jnp.linalg.norm(scaled))


def _steps(x: np.ndarray) -> np.ndarray:
    """Return the displacement to the next snapshot, 0 after the last."""
    return np.diff(x, axis=1, append=x[:, -1:])
