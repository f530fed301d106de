"""The sources of the drop at a switch: the outputs of new classes, the features, or the head."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gainjax.analysis.features import Features, head_features
from gainjax.analysis.networks import (
    Network,
    Subject,
    Which,
    networks,
    over_runs,
    setting_coords,
)
from gainjax.training.step import TrainState

PARTS = ("new_outputs", "features", "head")
_AXES = ("setting", "seed", "snapshot")


def drop_parts(
    subject: Subject,
    states: Mapping[str, TrainState],
    snapshots: Sequence[int],
    *,
    switch: int = 1,
    which: Which = "evaluated",
    methods: Any = None,
    features: Features | None = None,
    most: int = 1000,
) -> xr.Dataset:
    r"""Decompose the drop of accuracy on task 1 after a switch into parts that add up to it.

    With the accuracies :math:`a` of all outputs, :math:`m` of the outputs of old classes alone, and
    :math:`c` of a nearest-class-mean readout of the features, the drop since the first snapshot is

    .. math::
        a_0 - a_t = \underbrace{[m_t - a_t] - [m_0 - a_0]}_{\text{new outputs}}
        + \underbrace{c_0 - c_t}_{\text{features}}
        + \underbrace{[m_0 - c_0] - [m_t - c_t]}_{\text{head}}

    - *New outputs*: test examples of task 1 that are classified as a class not seen before the
      switch.
    - *Features*: the loss of accuracy of the current features when read out by the means of the old
      classes.
    - *Head*: the loss of the head beyond that: it no longer fits the features.

    Args:
        subject: The benchmark, with its data and its model.
        states: The states from ``gainjax.run(..., snapshots=snapshots)``.
        snapshots: The updates of the snapshots, starting with the last one before the switch
            (:func:`snapshots_around`).
        switch: Number of the switch, from 1. Old classes are those of the tasks before it.
        which: The networks that are "evaluated", such as averages, or those that are "trained".
        methods: As for :func:`networks`.
        features: Function from parameters, model state and inputs to features of shape (B, F);
            None for the inputs of the linear head.
        most: Maximum number of training examples of old tasks for the class means, >= 1.

    Returns:
        ``accuracy``, ``old_accuracy`` (old classes alone), ``ncm_accuracy``, ``loss`` (that of the
        benchmark, all outputs) and the parts ``new_outputs``, ``features`` and ``head`` over
        (setting, seed, snapshot). NaN where a network has diverged. Seeds have no labels, as in
        states: they are in the order of the run.

    Raises:
        ValueError: If the states have other snapshots, of another switch, or were trained in the
            form "model", or the targets are not classes.

    Example:
        >>> import gainjax
        >>> from gainjax.analysis import snapshots_around
        >>> bench = gainjax.get_benchmark("split-digits").replace(updates_per_task=20)
        >>> at = snapshots_around(bench, 1, (1, 5))
        >>> _, states = gainjax.run(bench, ["sgd"], 2, snapshots=at)
        >>> parts = drop_parts(Subject(bench), states, at)
        >>> drop = parts.accuracy[..., 0] - parts.accuracy
        >>> bool(abs(drop - parts.new_outputs - parts["features"] - parts["head"]).max() < 1e-6)
        True

    References:
        The decomposition is ours. Readout by class means: Rebuffi et al., arXiv 1611.07725, with
        normalized features.
    """
    targets = subject.stream.train_targets
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ValueError(
            "the benchmark must have classes as targets, for a drop to be decomposed: got "
            f"{targets.dtype} of shape {targets.shape}"
        )
    check_snapshots(states, snapshots)
    subject.check_before(switch, snapshots)
    old = subject.old_classes(switch)
    test = subject.test(0)
    train = subject.train(range(switch), most)
    given = features or head_features(subject)

    def measured(network: Network) -> dict[str, jax.Array]:
        outputs = subject.outputs(network, test.inputs)
        among_old = jnp.full(outputs.shape[-1], -jnp.inf).at[old].set(0)
        means = _class_means(given(*network, train.inputs), train.targets, old)
        found = given(*network, test.inputs)
        nearest = jnp.argmin(((found[:, None] - means) ** 2).sum(-1), axis=-1)
        loss = subject.bench.goal.loss(outputs, test.targets).mean()
        values = {
            "accuracy": jnp.mean(outputs.argmax(-1) == test.targets),
            "old_accuracy": jnp.mean((outputs + among_old).argmax(-1) == test.targets),
            "ncm_accuracy": jnp.mean(jnp.asarray(old)[nearest] == test.targets),
            "loss": loss,
        }
        # The largest of NaNs is the first one: such a network would always answer class 0.
        is_sound = jnp.all(jnp.array([jnp.isfinite(x).all() for x in (outputs, found, means)]))
        return {name: jnp.where(is_sound, each, jnp.nan) for name, each in values.items()}

    found = networks(states, which, methods)
    every = [over_runs(measured, network) for network in found.values()]
    arrays = {name: np.stack([np.asarray(one[name], float) for one in every]) for name in every[0]}
    whole, among, ncm = (arrays[f"{name}accuracy"] for name in ("", "old_", "ncm_"))
    arrays["new_outputs"] = (among - whole) - (among - whole)[..., :1]
    arrays["features"] = ncm[..., :1] - ncm
    arrays["head"] = (among - ncm)[..., :1] - (among - ncm)
    return xr.Dataset(
        {name: (_AXES, array) for name, array in arrays.items()},
        coords=setting_coords(states, methods) | {"snapshot": list(snapshots)},
        attrs={"switch": switch, "switch_update": int(snapshots[0])},
    )


def _class_means(features: jax.Array, targets: jax.Array, classes: np.ndarray) -> jax.Array:
    """Return the mean of the features (B, F) of each class that has an example: (classes, F)."""
    of = (targets[:, None] == jnp.asarray(classes)).astype(features.dtype)
    return (of.T @ features) / jnp.maximum(of.sum(0)[:, None], 1)


def check_snapshots(states: Mapping[str, TrainState], snapshots: Sequence[int]) -> None:
    """Raise ValueError unless states have these snapshots.

    Args:
        states: By label, with leading axes of seeds and snapshots.
        snapshots: Their updates.
    """
    if not states:
        raise ValueError("states must hold those of at least one setting: got none")
    for label, state in states.items():
        shape = jax.tree.leaves(state.params)[0].shape
        if len(shape) < 2 or shape[1] != len(snapshots):
            raise ValueError(
                f"states of {label} must have leading axes of seeds and of {len(snapshots)} "
                f"snapshots: got shape {shape}. Take them from run(..., snapshots=snapshots)"
            )
