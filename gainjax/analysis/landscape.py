"""The loss landscape around the weights of a run: along a line, and on a plane through three."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gainjax.checks import check_integer

Loss = Callable[[Any], jax.Array]


class Plane(NamedTuple):
    """The loss on a plane."""

    x: np.ndarray  # shape=(n,): coordinates, in units of distance between weights
    y: np.ndarray  # shape=(n,)
    loss: np.ndarray  # shape=(n, n): at [row of y, column of x]
    corners: np.ndarray  # shape=(3, 2): coordinates of the three weights
    others: np.ndarray  # shape=(m, 2): coordinates of further weights, projected onto the plane


def along_line(loss: Loss, start: Any, end: Any, points: Sequence[float]) -> np.ndarray:
    r"""Return the loss on the line through two sets of weights.

    .. math:: L((1 - s)\, \theta_0 + s\, \theta_1)

    Args:
        loss: A function of the parameters, shape (); or several of them at once, shape (m,).
        start: Parameters at s = 0.
        end: Parameters at s = 1.
        points: Values of s, shape (n,).

    Returns:
        The losses, shape (n,); of several (n, m).

    Example:
        >>> print(along_line(lambda x: x**2, jnp.array(0.0), jnp.array(2.0), [0, 0.5, 1]))
        [0. 1. 4.]

    References:
        Goodfellow et al., arXiv 1412.6544.
    """

    @jax.jit
    def every(s: jax.Array) -> jax.Array:
        return jax.lax.map(
            lambda t: loss(jax.tree.map(lambda a, b: (1 - t) * a + t * b, start, end)), s
        )

    return np.asarray(every(jnp.asarray(points, jnp.result_type(float))))


def on_plane(
    loss: Loss,
    corners: Sequence[Any],
    *,
    others: Sequence[Any] = (),
    points: int = 25,
    margin: float = 0.3,
) -> Plane:
    r"""Return the loss on the plane through three sets of weights.

    .. math:: \theta(x, y) = \theta_0 + x\, e_1 + y\, e_2

    with :math:`e_1` from the first to the second and :math:`e_2` orthogonal to it, both of length
    1, so that distances on the plane equal those between sets of weights.

    Args:
        loss: A function of the parameters, shape ().
        corners: Three sets of parameters, such as those before, during and after a switch.
        others: Further parameters, such as those of all snapshots, to project onto the plane.
        points: Points along each axis, >= 2.
        margin: How far the plane reaches beyond the corners, as a fraction of their extent, >= 0.

    Returns:
        Coordinates and losses.

    Raises:
        ValueError: If there are not three corners, or they lie on one line.

    Example:
        >>> corners = [jnp.array([0.0, 0.0]), jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0])]
        >>> plane = on_plane(lambda p: jnp.sum(p**2), corners, points=3, margin=0)
        >>> plane.corners.tolist(), plane.loss.tolist()[1]
        ([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], [0.25, 1.25, 4.25])

    References:
        Garipov et al., arXiv 1802.10026.
    """
    if len(corners) != 3:
        raise ValueError(f"corners must be three sets of parameters: got {len(corners)}")
    check_integer("points", points, 2)
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0: got {margin!r}")
    origin, unravel = ravel_pytree(corners[0])
    first, second = (ravel_pytree(corner)[0] - origin for corner in corners[1:])
    length = jnp.linalg.norm(first)
    along = first / jnp.where(length > 0, length, 1)
    aside = second - (second @ along) * along
    height = jnp.linalg.norm(aside)
    if not (length > 0 and height > 1e-6 * length):
        raise ValueError("corners must not lie on one line: they span no plane")
    axes = jnp.stack([along, aside / height])

    def places(every: Sequence[Any]) -> np.ndarray:
        return np.array([np.asarray(axes @ (ravel_pytree(p)[0] - origin)) for p in every])

    where = places(corners)
    low, high = where.min(0), where.max(0)
    room = margin * (high - low)
    x, y = (np.linspace(low[i] - room[i], high[i] + room[i], points) for i in (0, 1))

    @jax.jit
    def every(grid: jax.Array) -> jax.Array:
        return jax.lax.map(lambda at: loss(unravel(origin + at @ axes)), grid)

    grid = jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), origin.dtype)
    losses = np.asarray(every(grid)).reshape(points, points)
    return Plane(x, y, losses, where, places(others) if others else np.zeros((0, 2)))
