"""Steps along the gradient of a different loss of the same batch.

They need the extra argument ``loss_grad`` of the training step
(:func:`gainjax.training.step.train_step`): ``loss_grad(loss)`` is the gradient of
``loss(outputs, targets, of_each)``, where ``of_each(outputs, targets)`` is the loss of each
example, whose mean training minimizes, such as the cross-entropy.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from gainjax.optim.extra_args import with_extra_args, with_gradient

OfEach = Callable[
    [Float[Array, "batch outputs"], Shaped[Array, "batch ..."]], Float[Array, "batch"]
]
Loss = Callable[
    [Float[Array, "batch outputs"], Shaped[Array, "batch ..."], OfEach], Float[Array, ""]
]
LossGrad = Callable[[Loss], optax.Updates]
_NEVER = -1e9  # logit of an excluded class


def at_temperature(
    base: optax.GradientTransformation, level: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Train on the loss of the outputs times a level: a softmax at the temperature 1/level.

    .. math:: L = \ell(c f(x), y)

    In a network without biases whose L layers are followed by ReLU, this is equivalent to a
    constant gain of :math:`c^{1/L}` on all layers.

    Args:
        base: The optimizer.
        level: Factor on the outputs, :math:`c` > 0.

    Returns:
        A transformation that needs the keyword ``loss_grad``.

    Example:
        >>> of_each = optax.losses.softmax_cross_entropy_with_integer_labels
        >>> outputs = lambda p: p * jnp.array([[1.0, -1.0]])
        >>> target = jnp.array([0])
        >>> optimizer = at_temperature(optax.sgd(1.0), level=2.0)
        >>> updates, _ = optimizer.update(
        ...     0.0,
        ...     optimizer.init(0.0),
        ...     0.0,
        ...     loss_grad=lambda loss: jax.grad(lambda p: loss(outputs(p), target, of_each))(0.0),
        ... )
        >>> print(updates)
        2.0

    References:
        Ours, to separate the effect of a raised gain from that of a rising one.
    """

    def loss(outputs: jax.Array, targets: jax.Array, of_each: OfEach) -> jax.Array:
        return of_each(jnp.asarray(level * outputs), targets).mean()

    return _with_loss(base, lambda extra_args: loss)


def of_outputs(seen_classes: Bool[Array, "classes"], outputs: int) -> Bool[Array, "outputs"]:
    """Return which outputs belong to a class seen so far, shape (outputs,).

    Args:
        seen_classes: Which classes occur in the tasks so far.
        outputs: Number of outputs; those beyond the classes belong to none.

    Raises:
        ValueError: If there is no output for each class, or there are no classes.
    """
    if not 0 < len(seen_classes) <= outputs:
        raise ValueError(
            f"there must be an output for each class: got {outputs} outputs for "
            f"{len(seen_classes)} classes"
        )
    return jnp.pad(seen_classes, (0, outputs - len(seen_classes)))


def without_unseen(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Exclude the outputs of classes that no task has had so far from the softmax.

    Otherwise each update of task 1 pushes these outputs down, and they have to recover when their
    class arrives. Evaluation uses all outputs.

    Args:
        base: The optimizer.

    Returns:
        A transformation that needs the keywords ``loss_grad`` and ``seen_classes``.

    Example:
        >>> optimizer = without_unseen(optax.sgd(1.0))
        >>> of_each = optax.losses.softmax_cross_entropy_with_integer_labels
        >>> outputs, target = jnp.zeros((1, 3)), jnp.array([0])
        >>> updates, _ = optimizer.update(
        ...     outputs,
        ...     optimizer.init(outputs),
        ...     outputs,
        ...     loss_grad=lambda loss: jax.grad(lambda x: loss(x, target, of_each))(outputs),
        ...     seen_classes=jnp.array([True, True, False]),
        ... )
        >>> print(abs(updates))
        [[0.5 0.5 0. ]]

    References:
        Masking of logits in SGM, Harun et al., arXiv 2306.01904.
    """

    def loss_of(extra_args: dict[str, Any]) -> Loss:
        def loss(outputs: jax.Array, targets: jax.Array, of_each: OfEach) -> jax.Array:
            here = of_outputs(extra_args["seen_classes"], outputs.shape[-1])
            return of_each(jnp.where(here, outputs, _NEVER), targets).mean()

        return loss

    return _with_loss(base, loss_of)


def smoothed(
    base: optax.GradientTransformation, length: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Raise the new task's share of the loss from 0 to its full value after a switch (an oracle).

    .. math:: L = (1 - s_t) L_{old} + s_t L_{new}, \qquad s_t = \min(1, n_t / T) / k

    with :math:`n_t` updates since the switch to task k, whose examples are a share 1/k of all.

    Args:
        base: The optimizer.
        length: Updates :math:`T` until the share has its full value, > 0.

    Returns:
        A transformation that needs the keywords ``loss_grad``, ``is_new``, ``task`` and
        ``is_switch``.

    Example:
        >>> optimizer = smoothed(optax.sgd(1.0), length=10)
        >>> state = optimizer.init(jnp.zeros(()))

    References:
        Loss smoothing, arXiv 2607.00634.
    """
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> tuple[jax.Array, optax.OptState]:
        return jnp.zeros((), jnp.int32), base.init(params)

    def update_fn(
        updates: optax.Updates,
        state: tuple[jax.Array, optax.OptState],
        params: optax.Params | None = None,
        *,
        loss_grad: LossGrad,
        is_new: Bool[Array, "batch"],
        **extra_args: Any,
    ) -> tuple[optax.Updates, tuple[jax.Array, optax.OptState]]:
        del updates
        since = jnp.where(extra_args["is_switch"], 0, state[0])
        task = jnp.asarray(extra_args["task"])
        own = 1 / (task.astype(float) + 1.0)
        share = jnp.where(task > 0, own * jnp.minimum(1.0, since.astype(float) / length), 1.0)
        weights = jnp.where(is_new, share / own, (1 - share) / jnp.maximum(1 - own, 1e-6))

        def loss(outputs: jax.Array, targets: jax.Array, of_each: OfEach) -> jax.Array:
            return (weights * of_each(outputs, targets)).mean()

        updates, base_state = base.update(
            loss_grad(loss), state[1], params, loss_grad=loss_grad, is_new=is_new, **extra_args
        )
        return updates, (optax.safe_increment(since), base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def projected(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Remove the gradient component that would raise the batch's loss on earlier tasks' examples.

    .. math:: \hat g = g - \frac{\min(0, g^\top g_{old})}{\|g_{old}\|^2} g_{old}

    Args:
        base: The optimizer.

    Returns:
        A transformation that needs the keywords ``loss_grad`` and ``is_new``.

    Example:
        >>> optimizer = projected(optax.sgd(1.0))
        >>> updates, _ = optimizer.update(
        ...     jnp.array([1.0, -1.0]),
        ...     optimizer.init(jnp.zeros(2)),
        ...     jnp.zeros(2),
        ...     loss_grad=lambda loss: jnp.array([0.0, 2.0]),
        ...     is_new=jnp.array([True, False]),
        ... )
        >>> print(updates)
        [-1. -0.]

    References:
        A-GEM on the joint loss, Hess et al., arXiv 2311.04898.
    """

    def gradient(
        grads: optax.Updates, params: optax.Params | None, extra_args: dict[str, Any]
    ) -> optax.Updates:
        del params
        is_new = extra_args["is_new"]

        def loss(outputs: jax.Array, targets: jax.Array, of_each: OfEach) -> jax.Array:
            losses = jnp.where(is_new, 0.0, of_each(outputs, targets))
            return losses.sum() / jnp.maximum((~is_new).sum(), 1)

        old = extra_args["loss_grad"](loss)
        inner = optax.tree.sum(optax.tree.mul(grads, old))
        scale = jnp.minimum(inner, 0.0) / jnp.maximum(optax.tree.norm(old, squared=True), 1e-12)
        return jax.tree.map(lambda g, o: g - scale.astype(g.dtype) * o, grads, old)

    return with_gradient(base, gradient, "loss_grad")


def _with_loss(
    base: optax.GradientTransformation, loss_of: Callable[[dict[str, Any]], Loss]
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that follows the gradient of a loss built from extra arguments."""
    return with_gradient(
        base, lambda grads, params, extra: extra["loss_grad"](loss_of(extra)), "loss_grad"
    )
