"""Curvature at the snapshots of a run, measured in effective and in raw weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from gainjax.analysis.hessian import Curvature, estimated, flat_products
from gainjax.analysis.networks import Examples, Network, Subject, networks, setting_coords
from gainjax.analysis.switch import check_snapshots
from gainjax.checks import check_integer
from gainjax.optim.states import get_gains, modulated_params
from gainjax.training.step import TrainState

WEIGHTS = ("effective", "raw")
_AXES = ("setting", "seed", "snapshot", "weights")

# From weights, their factors, model state, examples and vectors, shape (m, n), to their products.
Products = Callable[[Any, Any, Any, Examples, jax.Array], jax.Array]


def curvature_along(
    subject: Subject,
    states: Mapping[str, TrainState],
    snapshots: Sequence[int],
    *,
    switch: int = 1,
    methods: Any = None,
    eigenvalues: int = 1,
    samples: int = 100,
    most: int | None = 1000,
) -> xr.Dataset:
    r"""Return the largest eigenvalues and the trace of the Hessian at each snapshot of each seed.

    .. math:: H_\theta = \nabla^2_\theta L(\theta), \qquad H_w = \nabla^2_w L(g \odot w)

    Both are measured, each by its own products with vectors: that :math:`H_w = g^2 H_\theta` if
    all weights are modulated is a result, not an assumption. The loss is the mean over a fixed
    sample of the training examples of all tasks up to the new one, for the trained network in
    evaluation mode.

    Args:
        subject: The benchmark, with its data and its model.
        states: The states from ``gainjax.run(..., snapshots=snapshots)``.
        snapshots: The updates of the snapshots, starting with the last one before the switch
            (:func:`snapshots_around`).
        switch: Number of the switch to the new task, from 1.
        methods: As for :func:`networks`.
        eigenvalues: Number of eigenvalues, >= 1 and below the number of parameters.
        samples: Random vectors for the trace, >= 2. The same for all snapshots, so that the error
            of a difference between snapshots is smaller than their own.
        most: Maximum number of training examples, >= 1; None for all of them.

    Returns:
        ``gain`` over (setting, seed, snapshot), 1 for a method without one; ``eigenvalue`` over
        (setting, seed, snapshot, weights, rank), the largest by magnitude, descending; ``trace``
        and ``trace_error``, its standard error from the random vectors, over (setting, seed,
        snapshot, weights). ``weights`` are "effective" and "raw"; without a gain, they are the
        same. NaN where a network has diverged. Seeds have no labels, as in states: they are in
        the order of the run.

    Raises:
        ValueError: If the states have other snapshots, of another switch, or were trained in the
            form "model", a number is out of range, a method has several gains, or the model has
            gains in its layers.

    Example:
        >>> import gainjax
        >>> bench = gainjax.get_benchmark("split-digits").replace(updates_per_task=20)
        >>> _, states = gainjax.run(bench, ["ngm-sgd"], 1, snapshots=[20, 25])
        >>> found = curvature_along(Subject(bench), states, [20, 25], samples=2, most=50)
        >>> top = found.eigenvalue.sel(rank=1)
        >>> ratio = top.sel(weights="raw") / top.sel(weights="effective")
        >>> bool(abs(ratio / found.gain**2 - 1).max() < 1e-3)
        True

    References:
        The methods are those of :func:`curvature`. The relation: effective weights of
        Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    check_snapshots(states, snapshots)
    subject.check_before(switch, snapshots)
    if subject.own_gains:
        raise ValueError(
            f"the model must be one of plain layers: it has {', '.join(sorted(subject.own_gains))} "
            "in its own, so its parameters are raw weights. Use in_raw_coordinates"
        )
    check_integer("samples", samples, 2)
    examples = subject.train(range(switch + 1), most)
    loss, products = _loss_and_products(subject)

    def measured(params: Any, factors: Any, model_state: Any) -> Curvature:
        """Return the curvature in the weights that these factors turn into effective ones."""
        raw = jax.tree.map(lambda x, factor: jnp.asarray(x) / factor, params, factors)
        flat, _ = ravel_pytree(raw)
        check_integer("eigenvalues", eigenvalues, 1, flat.size - 1)
        if not np.isfinite(loss(raw, factors, model_state, examples)):
            return Curvature(np.full(eigenvalues, np.nan), np.nan, np.nan)

        def on_host(vectors: np.ndarray) -> np.ndarray:
            given = jnp.asarray(vectors, flat.dtype)
            return np.asarray(products(raw, factors, model_state, examples, given), np.float64)

        return estimated(on_host, flat.size, eigenvalues, samples)

    gains, every = [], []
    for label, network in networks(states, "trained", methods).items():
        gain, mask = _gain_and_mask(label, states[label])
        gains.append(gain)
        for place in np.ndindex(gain.shape):
            params, model_state = jax.tree.map(lambda x, place=place: x[place], network)
            ones = jax.tree.map(lambda _: 1.0, mask)
            effective = measured(params, ones, model_state)
            raw = effective  # without a gain, there is nothing else to measure
            if any(jax.tree.leaves(mask)):
                g = float(gain[place])
                factors = jax.tree.map(lambda on, g=g: g if on else 1.0, mask)
                raw = measured(params, factors, model_state)
            every += [effective, raw]
    coords = setting_coords(states, methods) | {"snapshot": list(snapshots)}
    attrs = {"switch": switch, "switch_update": int(snapshots[0])}
    return _as_dataset(np.stack(gains), every, coords, attrs)


def _as_dataset(
    gains: np.ndarray, every: Sequence[Curvature], coords: dict[str, Any], attrs: dict[str, int]
) -> xr.Dataset:
    """Return curvatures, of effective and raw weights in turn, over all axes."""
    shape = (*gains.shape, len(WEIGHTS))
    values = np.array([one.eigenvalues for one in every])
    rank = np.arange(1, values.shape[-1] + 1)
    return xr.Dataset(
        {
            "gain": (_AXES[:-1], gains),
            "eigenvalue": ((*_AXES, "rank"), values.reshape(*shape, -1)),
            "trace": (_AXES, np.reshape([one.trace for one in every], shape)),
            "trace_error": (_AXES, np.reshape([one.trace_error for one in every], shape)),
        },
        coords=coords | {"weights": list(WEIGHTS), "rank": rank},
        attrs=attrs,
    )


def _loss_and_products(subject: Subject) -> tuple[Callable[..., jax.Array], Products]:
    """Return the loss and the products with its Hessian, compiled once for all networks."""

    def loss(raw: Any, factors: Any, model_state: Any, examples: Examples) -> jax.Array:
        params = jax.tree.map(lambda w, factor: factor * w, raw, factors)
        outputs = subject.outputs(Network(params, model_state), examples.inputs)
        return subject.bench.goal.loss(outputs, examples.targets).mean()

    @jax.jit
    def products(
        raw: Any, factors: Any, model_state: Any, examples: Examples, vectors: jax.Array
    ) -> jax.Array:
        return flat_products(lambda w: loss(w, factors, model_state, examples), raw, vectors)

    return jax.jit(loss), products


def _gain_and_mask(label: str, state: TrainState) -> tuple[np.ndarray, Any]:
    """Return the gain of each seed and snapshot, and which parameters it multiplies."""
    mask = modulated_params(state.params, state.opt_state)
    gains = get_gains(state.opt_state)
    if len(gains) > 1:
        raise ValueError(
            f"the method of {label!r} must have one gain: it has {', '.join(gains)}, and so no "
            "single factor between raw and effective weights. Use in_raw_coordinates for each"
        )
    runs = jax.tree.leaves(state.params)[0].shape[:2]
    gain = next(iter(gains.values())) if gains else np.ones(runs)
    return np.asarray(gain, np.float64), mask
