r"""The two timescales of effective weights: a slow part that is learned, a fast one that fades."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import xarray as xr

from gainjax.analysis.recorded import gain_traces
from gainjax.optim.states import slow_params


class Timescales(NamedTuple):
    """Two parts that add up to the effective weights."""

    slow: optax.Params  # g0 w, and parameters that no gain modulates
    fast: optax.Params  # (g - g0) w, zero for parameters that no gain modulates


class PartNorms(NamedTuple):
    """Euclidean norms over all parameters."""

    slow: jax.Array  # shape=()
    fast: jax.Array  # shape=()


def split_timescales(params: optax.Params, opt_state: optax.OptState) -> Timescales:
    r"""Split effective weights into a part that stays and a part that fades with the gain.

    .. math:: \theta = g w = \underbrace{g_0 w}_{slow} + \underbrace{(g - g_0) w}_{fast}

    Args:
        params: Effective weights, as trained by :func:`gainjax.gain_modulation`. A batch of runs
            may keep its leading axes if the state has them too.
        opt_state: Their state, at any depth.

    Returns:
        The two parts, each in the structure of ``params``.

    Raises:
        ValueError: As :func:`gainjax.slow_params`.

    Example:
        >>> import jax.numpy as jnp
        >>> from gainjax import ngm_sgd
        >>> optimizer = ngm_sgd(0.0)
        >>> params = jnp.ones((1, 2))
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params, uncertainty=2.3)
        >>> parts = split_timescales(optax.apply_updates(params, updates), state)
        >>> print(f"{parts.slow[0, 0]:.2f} + {parts.fast[0, 0]:.2f}")
        1.00 + 0.92

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, decomposition of the effective weight.
    """
    slow = slow_params(params, opt_state)
    return Timescales(slow, jax.tree.map(lambda whole, part: whole - part, params, slow))


def part_norms(params: optax.Params, opt_state: optax.OptState) -> PartNorms:
    r"""Return the norms of the slow and of the fast part of effective weights.

    .. math:: \|g_0 w\|, \qquad \|(g - g_0) w\|

    Args:
        params: Effective weights of one run; map over batches with :func:`jax.vmap`.
        opt_state: Their state.

    Returns:
        The norms over all parameters. Parameters that no gain modulates count as slow.

    Raises:
        ValueError: As :func:`gainjax.slow_params`.

    Example:
        >>> import jax.numpy as jnp
        >>> from gainjax import ngm_sgd
        >>> params = jnp.array([[3.0, 4.0]])
        >>> norms = part_norms(params, ngm_sgd(0.1).init(params))
        >>> print(norms.slow, norms.fast)
        5.0 0.0
    """
    return PartNorms(*(optax.tree.norm(part) for part in split_timescales(params, opt_state)))


def fast_share(curves: xr.Dataset) -> xr.DataArray:
    r"""Return the share of the fast part in the effective weights, from the recorded gain.

    .. math:: \frac{\|(g - g_0) w\|}{\|g w\|} = \frac{g - g_0}{g}

    The raw weights cancel, so curves are enough. It is the share in each modulated weight: 0 at the
    baseline, 1/2 where the gain has doubled it.

    Args:
        curves: Curves with a gain, as for :func:`gainjax.analysis.gain_traces`: it need not follow
            uncertainty.

    Returns:
        Shares over (setting, seed, update), of the forward pass of each update; NaN for seeds that
        diverged.

    Raises:
        ValueError: As :func:`gainjax.analysis.gain_traces`.

    Example:
        >>> import gainjax
        >>> curves = gainjax.run("split-digits", ["ngm-sgd"], 2, updates_per_task=5, progress=False)
        >>> print(fast_share(curves).sel(update=[1, 2]).mean("seed").values.round(2))
        [[0.   0.48]]

    References:
        Ours.
    """
    found = gain_traces(curves)
    values = np.full((len(found), curves.sizes["seed"], curves.sizes["update"]), np.nan)
    for row, trace in enumerate(found.values()):
        places = np.isin(curves["seed"].values, trace.seeds)
        values[row, places] = 1 - trace.baseline[:, None] / trace.gain
    coords: dict[str, Any] = {
        "setting": list(found),
        "seed": curves["seed"].values,
        "update": curves["update"].values,
    }
    return xr.DataArray(values, coords, ("setting", "seed", "update"), "fast_share")
