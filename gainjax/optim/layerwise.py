"""Steps that change the outputs of each layer little for examples of earlier tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from gainjax.gain import at_least_float32
from gainjax.optim.extra_args import with_extra_args
from gainjax.optim.masks import Mask, marks_of


class LayerwiseState(NamedTuple):
    """State of :func:`layerwise_proximal`."""

    # Second moments of the inputs of all kernels, (D, D) each, in one row: no tree like parameters.
    moments: Float[Array, "numbers"]
    base_state: optax.OptState


def layerwise_proximal(
    base: optax.GradientTransformation,
    strength: ArrayLike,
    decay: ArrayLike = 0.9,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Precondition the gradient of each dense layer by its inputs on earlier tasks.

    .. math::
        \hat\nabla_\ell = \Bigl(I + \omega \frac{A_\ell}{\mathrm{tr}(A_\ell) / D}\Bigr)^{-1}
        \nabla_\ell, \qquad A_\ell \leftarrow \delta A_\ell + (1 - \delta)
        \frac{1}{n} \sum_{i\ \mathrm{old}} x_{\ell i} x_{\ell i}^\top

    with :math:`x_{\ell i}` the input of layer :math:`\ell` for example i of the batch. A step of
    the layer then costs :math:`\omega` times the mean squared change of its outputs on earlier
    tasks. In the first task, and for parameters other than kernels with two axes, the gradient is
    unchanged.

    Args:
        base: The optimizer, which receives the preconditioned gradient.
        strength: :math:`\omega` >= 0; 0 is ``base``.
        decay: Decay :math:`\delta` of the second moments per update, in [0, 1).
        mask: Which parameters are preconditioned, as for :func:`gainjax.gain_modulation`.

    Returns:
        A transformation that needs the keywords ``layer_inputs`` and ``is_new``.

    Raises:
        TypeError: If ``layer_inputs`` is None, as for a model that does not provide it.
        ValueError: If it has the inputs of no marked kernel, so that nothing would change.

    Example:
        >>> optimizer = layerwise_proximal(optax.sgd(1.0), strength=1.0, decay=0.0)
        >>> params = {"w": jnp.ones((2, 1))}
        >>> updates, _ = optimizer.update(
        ...     params,
        ...     optimizer.init(params),
        ...     params,
        ...     layer_inputs=lambda: {"w": jnp.array([[1.0, 0.0]])},
        ...     is_new=jnp.array([False]),
        ... )
        >>> print(updates["w"][:, 0].round(3))  # 1 / (1 + 2) and 1
        [-0.333 -1.   ]

    References:
        Layerwise proximal replay, Yoo et al., arXiv 2402.09542. There the inputs are those of the
        whole memory, refreshed from time to time; the moving average over batches and the
        normalization by the trace, which makes the strength independent of scale, are ours.
    """
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> LayerwiseState:
        kernels = _kernels(mask, params)
        numbers = sum(size**2 for _, size in kernels)
        leaves = jax.tree.leaves(params)
        dtype = jnp.result_type(*(leaves[i] for i, _ in kernels)) if kernels else jnp.float32
        return LayerwiseState(jnp.zeros(numbers, dtype), base.init(params))

    def update_fn(
        updates: optax.Updates,
        state: LayerwiseState,
        params: optax.Params | None = None,
        *,
        layer_inputs: Callable[[], Any] | None,
        is_new: Bool[Array, "batch"],
        **extra_args: Any,
    ) -> tuple[optax.Updates, LayerwiseState]:
        if layer_inputs is None:
            raise TypeError(
                "layer_inputs must be a function that returns the inputs of each dense layer: this "
                "model has none. Linen models have it; for others, pass layer_inputs= to "
                "gainjax.models.Model"
            )
        leaves, structure = cast(Any, jax.tree.flatten(updates))
        inputs = structure.flatten_up_to(layer_inputs())
        moments, start, kernels = [], 0, _kernels(mask, updates)
        if leaves and all(isinstance(inputs[place], optax.MaskedNode) for place, _ in kernels):
            raise ValueError(
                "layer_inputs must have the inputs of at least one kernel that the mask marks; "
                "gainjax.models.from_linen finds those of flax.linen.Dense and gainjax.GainDense "
                "that are called once"
            )
        for place, size in kernels:
            moment = state.moments[start : start + size**2].reshape(size, size)
            start += size**2
            if not isinstance(inputs[place], optax.MaskedNode):
                moment = _followed(moment, jnp.asarray(inputs[place]), ~is_new, decay)
                leaves[place] = _preconditioned(jnp.asarray(leaves[place]), moment, strength)
            moments.append(moment.ravel())
        updates, base_state = base.update(
            structure.unflatten(leaves), state.base_state, params,
            layer_inputs=layer_inputs, is_new=is_new, **extra_args,
        )  # fmt: skip
        flat = jnp.concatenate(moments) if moments else state.moments
        return updates, LayerwiseState(flat, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _kernels(mask: Mask, params: Any) -> list[tuple[int, int]]:
    """Return place and number of inputs of each marked kernel with two axes."""
    leaves, marks = (jax.tree.leaves(tree) for tree in (params, marks_of(mask, params)))
    shapes = [jnp.shape(leaf) for leaf in leaves]
    return [(i, shapes[i][0]) for i, on in enumerate(marks) if on and len(shapes[i]) == 2]


def _followed(
    moment: Float[Array, "d d"],
    x: Float[Array, "batch d"],
    old: Bool[Array, "batch"],
    decay: ArrayLike,
) -> Float[Array, "d d"]:
    """Return the moving average with the examples of earlier tasks, unchanged without any."""
    count = old.sum()
    x = jnp.where(old[:, None], x, 0).astype(moment.dtype)
    now = x.T @ x / jnp.maximum(count, 1).astype(moment.dtype)
    return jnp.where(count > 0, decay * moment + (1 - decay) * now, moment).astype(moment.dtype)


def _preconditioned(
    gradient: Float[Array, "d outputs"], moment: Float[Array, "d d"], strength: ArrayLike
) -> Float[Array, "d outputs"]:
    dtype = at_least_float32(moment.dtype, gradient.dtype)  # half precision cannot be factorized
    moment = moment.astype(dtype)
    mean = jnp.trace(moment) / len(moment)
    scaled = strength * moment / jnp.where(mean > 0, mean, 1)
    matrix = jnp.eye(len(moment), dtype=moment.dtype) + scaled
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), gradient.astype(dtype))
    return solved.astype(gradient.dtype)
