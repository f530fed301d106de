"""Curvature of the loss, in effective and in raw coordinates, without storing a Hessian."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, eigsh

from gainjax.checks import check_integer

_AT_ONCE = 10  # random vectors, so that there is memory for those of a large network

Loss = Callable[[Any], jax.Array]  # of parameters, shape ()


class Curvature(NamedTuple):
    """Estimated properties of a Hessian."""

    eigenvalues: np.ndarray  # shape=(k,): the largest ones by magnitude, descending
    trace: float
    trace_error: float  # standard error of the estimate


def hessian_vector_product(loss: Loss, params: Any, vector: Any) -> Any:
    r"""Return the product of the Hessian of a loss with a vector.

    .. math:: H v = \frac{\mathrm d}{\mathrm d\epsilon} \nabla L(\theta + \epsilon v)

    Args:
        loss: A function of the parameters, shape ().
        params: The point of evaluation.
        vector: In the structure of the parameters.

    Example:
        >>> print(
        ...     hessian_vector_product(lambda x: jnp.sum(x**3), jnp.array([1.0, 2.0]), jnp.ones(2))
        ... )
        [ 6. 12.]
    """
    return jax.jvp(jax.grad(loss), (params,), (vector,))[1]


def in_raw_coordinates(loss: Loss, gain: ArrayLike, mask: Any) -> Loss:
    r"""Return a loss of effective weights as a function of raw weights.

    .. math:: L_\mathrm{raw}(w) = L(g \odot w), \quad
        \nabla_w = g\, \nabla_\theta, \quad H_w = g^2 H_\theta

    (the second and third if all parameters are modulated): a landscape that is flatter in effective
    coordinates and a step that is larger by :math:`g^2` are equivalent statements.

    Args:
        loss: A function of effective parameters.
        gain: The gain, shape ().
        mask: Boolean mask of the parameters that the gain multiplies, in their structure.

    Example:
        >>> raw = in_raw_coordinates(lambda x: jnp.sum(x**2), 3.0, True)
        >>> float(raw(jnp.array(2.0)))
        36.0

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056 (effective weights).
    """

    def of_raw(raw: Any) -> jax.Array:
        return loss(jax.tree.map(lambda on, w: gain * w if on else w, mask, raw))

    return of_raw


def curvature(
    loss: Loss, params: Any, *, eigenvalues: int = 1, samples: int = 30, seed: int = 0
) -> Curvature:
    r"""Return the largest eigenvalues and the trace of the Hessian of a loss.

    Eigenvalues by Lanczos' method (SciPy's ``eigsh``), the trace by Hutchinson's,
    :math:`\operatorname{tr} H = \mathbb E\, v^\top H v` over random signs :math:`v`.

    Args:
        loss: A function of the parameters, shape ().
        params: The point of evaluation.
        eigenvalues: Number of eigenvalues, >= 1 and below the number of parameters.
        samples: Random vectors for the trace, >= 2.
        seed: Seed of the random vectors.

    Returns:
        Eigenvalues, trace, and the standard error of the trace.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> scales = jnp.array([5.0, -7.0, 1.0])
        >>> found = curvature(lambda x: jnp.sum(scales * x**2) / 2, jnp.ones(3), eigenvalues=2)
        >>> print(found.eigenvalues.round(4), round(found.trace, 4))
        [-7.  5.] -1.0

    References:
        Hutchinson 1990, for the trace.
    """
    flat, _ = ravel_pytree(params)
    size = flat.size
    check_integer("eigenvalues", eigenvalues, 1, size - 1)
    check_integer("samples", samples, 2)
    if not np.isfinite(found := np.asarray(loss(params), float)).all():
        raise ValueError(f"loss must be finite at params: got {found}")

    @jax.jit  # for each call anew: what the loss refers to may have changed
    def products(params: Any, vectors: jax.Array) -> jax.Array:
        return flat_products(loss, params, vectors)

    def on_host(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(products(params, jnp.asarray(vectors, flat.dtype)), np.float64)

    return estimated(on_host, size, eigenvalues, samples, seed)


def flat_products(loss: Loss, params: Any, vectors: jax.Array) -> jax.Array:
    """Return the products of the Hessian with several vectors; common parts are computed once.

    Args:
        loss: A function of the parameters, shape ().
        params: The point of evaluation, with n numbers.
        vectors: Shape (m, n).

    Returns:
        Shape (m, n).
    """
    flat, unravel = ravel_pytree(params)
    _, product = jax.linearize(jax.grad(lambda x: loss(unravel(x))), flat)
    return jax.lax.map(product, vectors)


def estimated(
    products: Callable[[np.ndarray], np.ndarray],
    size: int,
    eigenvalues: int,
    samples: int,
    seed: int = 0,
) -> Curvature:
    """Return the curvature of a Hessian that is given by its products with vectors.

    Args:
        products: From vectors of float64, shape (m, size), to their products.
        size: Number of parameters.
        eigenvalues: As for :func:`curvature`.
        samples: As for :func:`curvature`.
        seed: As for :func:`curvature`.
    """
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(size)
    operator = LinearOperator(
        (size, size), matvec=lambda vector: products(vector.reshape(1, size))[0], dtype=np.float64
    )
    found = eigsh(operator, k=eigenvalues, which="LM", v0=start, return_eigenvectors=False)
    found = found[np.argsort(-np.abs(found))]
    quadratic = []
    for first in range(0, samples, _AT_ONCE):
        signs = rng.choice([-1.0, 1.0], (min(_AT_ONCE, samples - first), size))
        quadratic.extend((signs * products(signs)).sum(axis=1))
    error = np.std(quadratic, ddof=1) / np.sqrt(samples)
    return Curvature(found, float(np.mean(quadratic)), float(error))
