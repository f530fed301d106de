"""Optimizers that seek flat minima, with gradients of the same batch at nearby points."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.optim.extra_args import with_gradient

GradFn = Callable[[optax.Params, int], optax.Updates]
_TINY = 1e-12


def sharpness_aware(
    base: optax.GradientTransformation, radius: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the gradient at the worst nearby point (SAM).

    .. math:: u = B\left(\nabla L\left(\theta + \rho \frac{\nabla L}{\|\nabla L\|}\right)\right)

    Args:
        base: The optimizer that receives the second gradient.
        radius: Distance rho to the worst point, >= 0.

    Returns:
        A transformation with ``update(grads, state, params, *, grad_fn, **extra_args)``, where
        ``grad_fn(params, 0)`` gives the gradient of the same batch at other parameters.

    Raises:
        ValueError: If ``update`` is called without parameters.

    Example:
        >>> optimizer = sharpness_aware(optax.sgd(1.0), radius=0.5)
        >>> params = jnp.ones(1)
        >>> grad_fn = lambda p, i: 2 * p  # of p ** 2
        >>> updates, _ = optimizer.update(
        ...     grad_fn(params, 0), optimizer.init(params), params, grad_fn=grad_fn
        ... )
        >>> updates
        Array([-3.], dtype=float32)

    References:
        Foret et al., arXiv 2010.01412.
    """

    def gradient(grads: optax.Updates, params: optax.Params, grad_fn: GradFn) -> optax.Updates:
        worst = _moved(params, grads, radius)
        return grad_fn(worst, 0)

    return _at_other_points(base, gradient, "sharpness_aware")


def curvature_flat(
    base: optax.GradientTransformation, radius: ArrayLike, balance: ArrayLike
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the gradient at the worst nearby point, and penalize large gradients around it.

    .. math::
        u = B\left(\nabla L(\theta + \rho \hat g) + \lambda \,
        \rho \nabla \|\nabla L(\theta + \rho \hat h)\|\right), \qquad
        h = \nabla \|\nabla L(\theta)\|

    with :math:`\hat x = x / \|x\|` and gradients of norms by finite differences of gradients at a
    distance :math:`\rho`: three more gradients per update than plain SGD.

    Args:
        base: The optimizer that receives the gradient.
        radius: Distance :math:`\rho`, >= 0.
        balance: Weight :math:`\lambda` of the second term, >= 0. With 0 the result is
            :func:`sharpness_aware`.

    Returns:
        A transformation with ``update(grads, state, params, *, grad_fn, **extra_args)``.

    Raises:
        ValueError: If ``update`` is called without parameters.

    Example:
        >>> optimizer = curvature_flat(optax.sgd(1.0), radius=0.5, balance=0.0)
        >>> params = jnp.ones(1)
        >>> grad_fn = lambda p, i: 2 * p  # of p ** 2
        >>> updates, _ = optimizer.update(
        ...     grad_fn(params, 0), optimizer.init(params), params, grad_fn=grad_fn
        ... )
        >>> updates
        Array([-3.], dtype=float32)

    References:
        C-Flat, Bian et al., arXiv 2404.00986, with the finite differences of GAM, arXiv 2303.03108.
    """

    def gradient(grads: optax.Updates, params: optax.Params, grad_fn: GradFn) -> optax.Updates:
        sharp = grad_fn(_moved(params, grads, radius), 0)
        steeper = _moved(params, optax.tree.sub(sharp, grads), radius)
        there = grad_fn(steeper, 1)
        beyond = grad_fn(_moved(steeper, there, radius), 2)
        gradient = jax.tree.map(
            lambda g, a, b: g + (balance * (b - a)).astype(g.dtype), sharp, there, beyond
        )
        return gradient

    return _at_other_points(base, gradient, "curvature_flat")


def local_entropy(
    base: optax.GradientTransformation,
    inner_rate: ArrayLike,
    scope: ArrayLike,
    steps: int = 5,
) -> optax.GradientTransformationExtraArgs:
    r"""Step toward the mean of a short search around the weights.

    .. math::
        \phi_{i+1} = \phi_i - \eta \bigl(\nabla L(\phi_i) - \gamma (\theta - \phi_i)\bigr),
        \qquad \phi_0 = \theta, \qquad u = B(c\,(\theta - \mu))

    with :math:`\mu \leftarrow .75 \mu + .25 \phi_i` along the way, and c chosen so that a search
    along a straight line gives plain steps.

    Args:
        base: The optimizer that receives the step.
        inner_rate: Learning rate of the search, > 0.
        scope: Strength :math:`\gamma` >= 0 of the pull back to the weights.
        steps: Number of gradients in the search.

    Returns:
        A transformation with ``update(grads, state, params, *, grad_fn, **extra_args)``.

    Raises:
        ValueError: If ``update`` is called without parameters.

    Example:
        >>> optimizer = local_entropy(optax.sgd(1.0), inner_rate=0.1, scope=0.0, steps=1)
        >>> params = jnp.ones(1)
        >>> grad_fn = lambda p, i: 2 * p
        >>> updates, _ = optimizer.update(
        ...     grad_fn(params, 0), optimizer.init(params), params, grad_fn=grad_fn
        ... )
        >>> print(updates.round(3))
        [-2.]

    References:
        Entropy-SGD, Chaudhari et al., arXiv 1611.01838, with a noiseless search on one batch.
    """
    # Weights of the searched points in the mean, and the sum that a straight search would have.
    shares = [0.25 * 0.75 ** (steps - 1 - i) for i in range(steps)]
    straight = sum(share * (i + 1) for i, share in enumerate(shares))

    def gradient(grads: optax.Updates, params: optax.Params, grad_fn: GradFn) -> optax.Updates:
        def moved(place: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array:
            return place - (inner_rate * (grad - scope * (start - place))).astype(place.dtype)

        place, away = params, optax.tree.zeros_like(params)
        for i, share in enumerate(shares):
            gradient = grads if i == 0 else grad_fn(place, i)
            place = jax.tree.map(moved, place, gradient, params)
            away = jax.tree.map(lambda a, p, q, s=share: a + s * (p - q), away, params, place)
        direction = jax.tree.map(lambda a: (a / (inner_rate * straight)).astype(a.dtype), away)
        return direction

    return _at_other_points(base, gradient, "local_entropy")


def _at_other_points(
    base: optax.GradientTransformation,
    gradient: Callable[[optax.Updates, optax.Params, GradFn], optax.Updates],
    name: str,
) -> optax.GradientTransformationExtraArgs:
    def with_params(
        grads: optax.Updates, params: optax.Params | None, extra_args: dict[str, Any]
    ) -> optax.Updates:
        if params is None:
            raise ValueError(f"{name} needs the parameters: call update(..., params)")
        # Loaded weights may be NumPy arrays of a precision that is not enabled.
        return gradient(grads, jax.tree.map(jnp.asarray, params), extra_args["grad_fn"])

    return with_gradient(base, with_params, "grad_fn")


def _moved(params: optax.Params, direction: optax.Updates, radius: ArrayLike) -> optax.Params:
    """Return parameters moved by a distance."""
    norm = jnp.maximum(optax.tree.norm(direction), _TINY)
    return jax.tree.map(
        lambda p, g: p + (radius / norm * g.astype(norm.dtype)).astype(p.dtype), params, direction
    )
