"""Gain modulation as an Optax transformation: the mechanism inside the optimiser.

The parameters that the model sees are the effective weights, gain times raw weights. The wrapper
undoes the gain, lets any base optimiser update the raw weights, and applies the next gain. The
model does not change, so this works for every model of every JAX framework.
"""

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.gain import GainDynamics, at_least_float32
from gainjax.optim.extra_args import for_raw_weights
from gainjax.optim.masks import Mask, fingerprints, map_modulated, scale_modulated
from gainjax.optim.states import GainModulationState


class GainRule(NamedTuple):
    """Where the gain comes from: its value before the first update, and the next one.

    Attributes:
        baseline: Tonic gain, shape ().
        next_gain: ``(gain, count, uncertainty, extra_args) -> gain``, called after each update.
    """

    baseline: ArrayLike
    next_gain: Callable[[jax.Array, jax.Array, jax.Array, dict[str, Any]], jax.Array]


def gain_modulation(
    base: optax.GradientTransformation,
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike = 0.4,
    *,
    max_gain: ArrayLike | None = None,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Wrap any optimiser so that a gain, driven by uncertainty, multiplies the weights.

    With parameters :math:`\theta = g w` (effective weights), base optimiser :math:`B` and the
    gain dynamics of :class:`gainjax.GainDynamics`,

    .. math::
        u_t = B(g_t \nabla_\theta L,\; \theta_t / g_t), \qquad
        \theta_{t+1} = g_{t+1} (\theta_t / g_t + u_t)

    which is exactly the base optimiser training :math:`w` in a model that computes
    :math:`g\,(w x)`. ``decay=0, sensitivity=0, baseline=1`` gives the base optimiser back. Multiply
    initial parameters by the baseline if it is not 1.

    The gain is kept in float32 or wider; updates have the dtype of their parameters. Keep those in
    float32, too: a change smaller than half a unit in the last place is lost in bfloat16, and
    weights that follow a slowly decaying gain drift away from gain times raw weights. A non-finite
    uncertainty leaves the gain as it was and is counted in ``state.skipped``. In data-parallel
    training, average the uncertainty over devices as you average gradients. Inside
    :func:`optax.MultiSteps` the uncertainty of the last mini-batch counts.

    Args:
        base: The optimiser to modulate, including its learning rate.
        decay: Decay of the phasic gain per update, in [0, 1).
        baseline: Tonic gain, > 0.
        sensitivity: Phasic burst per nat of uncertainty, >= 0. The default suits Split MNIST.
        max_gain: Upper bound on the gain, or None.
        mask: Which parameters are modulated: booleans in the structure (or a prefix of the
            structure) of the parameters, or a function that makes them (a static argument for
            :func:`optax.inject_hyperparams`). All if None. The base optimiser trains the others
            too, unscaled; biases usually belong there.

    Returns:
        A transformation with ``update(grads, state, params, *, uncertainty, **extra_args)``, where
        ``uncertainty`` is a scalar in nats, measured in the forward pass that gave the gradients
        (:func:`gainjax.predictive_entropy`). Extra arguments are forwarded to the base. Those
        that are about parameters, ``grad``, ``grad_fn`` and ``value_fn`` of Optax's line searches
        and SAM, are given for the effective weights and translated to the raw ones.

    Raises:
        ValueError: If a plain number is out of range, the mask does not fit the parameters, or
            ``update`` is called without parameters.
        TypeError: If ``base`` is not an optimiser, the mask holds anything but booleans, or
            ``update`` is called without uncertainty.

    Example:
        >>> from gainjax import get_gain
        >>> optimizer = gain_modulation(optax.adam(1e-3), sensitivity=0.4)
        >>> params = {"w": jnp.ones(2)}
        >>> state = optimizer.init(params)
        >>> grads = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update(grads, state, params, uncertainty=2.3)
        >>> print(get_gain(state).round(2), optax.apply_updates(params, updates)["w"].round(2))
        1.92 [1.92 1.92]

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, NGM-SGD. The form in effective weights, for any
        base optimiser, is ours and equals the published one.
    """
    dynamics = GainDynamics(decay, baseline, sensitivity, max_gain)

    def next_gain(gain: jax.Array, count: Any, uncertainty: jax.Array, extra: Any) -> jax.Array:
        del count, extra
        return dynamics.step(gain, uncertainty)

    return modulate(base, GainRule(baseline, next_gain), mask=mask)


def modulate(
    base: optax.GradientTransformation, rule: GainRule, *, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    """Wrap any optimiser so that the gain of a rule multiplies the weights.

    :func:`gain_modulation` is this with the published rule; controls bring rules of their own.

    Args:
        base: The optimiser to modulate.
        rule: The first gain, and how the next one follows.
        mask: As in :func:`gain_modulation`.

    Returns:
        A transformation as :func:`gain_modulation` returns it.

    Raises:
        TypeError: If ``base`` is not an optimiser.

    Example:
        >>> doubling = GainRule(1.0, lambda gain, count, uncertainty, extra: 2 * gain)
        >>> optimizer = modulate(optax.sgd(0.0), doubling)
        >>> params = jnp.ones(3)
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params, uncertainty=0.0)
        >>> optax.apply_updates(params, updates)
        Array([2., 2., 2.], dtype=float32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056; see :func:`gain_modulation`.
    """
    if not (hasattr(base, "init") and hasattr(base, "update")):
        raise TypeError(
            f"base must be an optax.GradientTransformation such as optax.sgd(0.01): got {base!r}"
        )
    base = optax.with_extra_args_support(base)

    def init_fn(params: optax.Params) -> GainModulationState:
        dtype = at_least_float32(*(jnp.result_type(leaf) for leaf in jax.tree.leaves(params)))
        # Copies: neither the caller's array nor one buffer twice can be donated.
        gain = jnp.array(rule.baseline, dtype)
        return GainModulationState(
            count=jnp.zeros((), jnp.int32),
            gain=gain,
            baseline=jnp.array(gain),
            skipped=jnp.zeros((), jnp.int32),
            modulated=fingerprints(params, mask),
            base_state=base.init(scale_modulated(params, 1 / gain, mask)),
        )

    def update_fn(
        updates: optax.Updates,
        state: GainModulationState,
        params: optax.Params | None = None,
        *,
        uncertainty: ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, GainModulationState]:
        if params is None:
            raise ValueError(
                "gain modulation needs the parameters: call "
                "`optimizer.update(grads, state, params, uncertainty=...)`"
            )
        uncertainty = _check_uncertainty(uncertainty).astype(state.gain.dtype)
        gain = state.gain
        new_gain = rule.next_gain(gain, state.count, uncertainty, extra_args).astype(gain.dtype)

        raw_updates, base_state = base.update(
            scale_modulated(updates, gain, mask),
            state.base_state,
            scale_modulated(params, 1 / gain, mask),
            uncertainty=uncertainty,
            **for_raw_weights(extra_args, functools.partial(scale_modulated, mask=mask), gain),
        )

        def to_effective(update: jax.Array, param: jax.Array) -> jax.Array:
            wide = (new_gain / gain - 1) * jnp.asarray(param, gain.dtype)
            wide += new_gain * jnp.asarray(update, gain.dtype)
            return wide.astype(jnp.result_type(param))

        return map_modulated(to_effective, mask, params, raw_updates), GainModulationState(
            count=optax.safe_increment(state.count),
            gain=new_gain,
            baseline=jnp.array(rule.baseline, gain.dtype),
            skipped=state.skipped + (~jnp.isfinite(uncertainty)).astype(jnp.int32),
            modulated=state.modulated,
            base_state=base_state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def ngm_sgd(
    learning_rate: optax.ScalarOrSchedule,
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike = 0.4,
    *,
    momentum: ArrayLike | None = None,
    max_gain: ArrayLike | None = None,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Noradrenergic gain-modulated stochastic gradient descent, the published optimiser.

    .. math::
        w \leftarrow w - \alpha \nabla_w L, \qquad
        g \leftarrow \gamma g + (1 - \gamma) g_0 + \eta H, \qquad \theta = g w

    Args:
        learning_rate: Step size of the raw weights, or a schedule.
        decay: Decay of the phasic gain per update, in [0, 1).
        baseline: Tonic gain, > 0.
        sensitivity: Phasic burst per nat of uncertainty, >= 0.
        momentum: Decay of the momentum of the raw weights, in [0, 1), or None.
        max_gain: Upper bound on the gain, or None.
        mask: Which parameters are modulated, as in :func:`gain_modulation`.

    Returns:
        ``gain_modulation(optax.sgd(learning_rate, momentum), ...)``.

    Raises:
        ValueError: If a plain number is out of range.

    Example:
        >>> from gainjax import get_gain
        >>> optimizer = ngm_sgd(0.01, sensitivity=0.3)
        >>> state = optimizer.init(jnp.ones(2))
        >>> float(get_gain(state))
        1.0

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, NGM-SGD.
    """
    return gain_modulation(
        optax.sgd(learning_rate, momentum),
        decay,
        baseline,
        sensitivity,
        max_gain=max_gain,
        mask=mask,
    )


def _check_uncertainty(uncertainty: ArrayLike | None) -> jax.Array:
    if uncertainty is None:
        raise TypeError(
            "gain modulation needs the keyword `uncertainty`: call `optimizer.update(grads, state, "
            "params, uncertainty=gainjax.predictive_entropy(logits))`. (Flax's TrainState does not "
            "pass it on; call the optimizer yourself.)"
        )
    if isinstance(uncertainty, numbers.Real) and -math.inf < uncertainty < 0:
        raise ValueError(f"uncertainty must be >= 0: got {uncertainty!r}")
    uncertainty = jnp.asarray(uncertainty)
    if uncertainty.ndim:
        raise ValueError(
            f"uncertainty must be a scalar, the mean over the batch: got shape {uncertainty.shape}"
        )
    return uncertainty
