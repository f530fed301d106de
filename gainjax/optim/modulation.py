"""Gain modulation as an Optax transformation: the mechanism inside the optimizer.

The parameters that the model sees are the effective weights, gain times raw weights. The wrapper
removes the gain, lets any base optimizer update the raw weights, and applies the next gain. The
model is unchanged, so this works for every model of every JAX framework.
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
from gainjax.optim import masks
from gainjax.optim.extra_args import for_raw_weights, with_extra_args
from gainjax.optim.masks import Mask, scale_modulated
from gainjax.optim.states import GainModulationState

_NO_PARAMS = (
    "gain modulation needs the parameters: call "
    "`optimizer.update(grads, state, params, uncertainty=...)`"
)


class GainRule(NamedTuple):
    """A rule for the gain: its value before the first update, and the next one.

    Attributes:
        baseline: Tonic gain, shape ().
        next_gain: ``(gain, step, uncertainty, extra_args) -> gain``, called after each update;
            ``step`` is the number of updates before it.
    """

    baseline: ArrayLike
    next_gain: Callable[[jax.Array, jax.Array, jax.Array, dict[str, Any]], jax.Array]


def gain_modulation(
    base: optax.GradientTransformation,
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike | optax.Schedule | None = None,
    *,
    max_gain: ArrayLike | None = None,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Wrap any optimizer so that a gain, driven by uncertainty, multiplies the weights.

    With parameters :math:`\theta = g w` (effective weights), base optimizer :math:`B` and the
    gain dynamics of :class:`gainjax.GainDynamics`,

    .. math::
        u_t = B(g_t \nabla_\theta L,\; \theta_t / g_t), \qquad
        \theta_{t+1} = g_{t+1} (\theta_t / g_t + u_t)

    which is exactly the base optimizer training :math:`w` in a model that computes
    :math:`g\,(w x)`. ``decay=0, sensitivity=0, baseline=1`` recovers the base optimizer. Multiply
    initial parameters by the baseline if it is not 1.

    **It must be the last transformation**: a clip or a schedule after it would change weights
    without its knowledge; wrap it around them, ``gain_modulation(optax.chain(...))``. An update
    cannot see what comes after it: :func:`gainjax.get_gain`, :func:`gainjax.slow_params`,
    :class:`gainjax.TrainState` and :func:`gainjax.run` reject such a chain, but a bare loop is
    silently wrong. One chain is silently wrong everywhere, since no state tells it from a
    partition: that of two :func:`optax.masked` whose masks share parameters. Before calling
    ``init`` again, replacing weights, or saving them for another purpose, remove the gain from them
    (:func:`gainjax.reset`, :func:`gainjax.slow_params`).

    The gain is kept in float32 or wider; updates have the dtype of their parameters. Keep those in
    float32, too: bfloat16 loses any change smaller than half a unit in the last place, so weights
    that follow a slowly decaying gain drift away from gain times raw weights. (With
    :func:`optax.inject_hyperparams`, pass ``hyperparam_dtype=jnp.float32``, or the decay is rounded
    to the dtype of the parameters.) A non-finite uncertainty leaves the gain unchanged, a negative
    one counts as 0; ``state.skipped`` counts both. In data-parallel training, average the
    uncertainty over devices as you average gradients. Inside :func:`optax.MultiSteps` the
    uncertainty of the last mini-batch is used.

    Args:
        base: The optimizer to modulate, including its learning rate.
        decay: Decay of the phasic gain per update, in [0, 1).
        baseline: Tonic gain, > 0.
        sensitivity: Phasic burst per nat of uncertainty, >= 0, or an Optax schedule. None: the safe
            value of :meth:`gainjax.GainDynamics.for_layers`, with its bound on the gain,
            counting each parameter that the mask marks as a layer.
        max_gain: Upper bound on the gain. None: no bound, if the sensitivity is given.
        mask: Which parameters are modulated: booleans in the structure (or a prefix of the
            structure) of the parameters, or a function that returns them (a static argument for
            :func:`optax.inject_hyperparams`); True for all. None: weight matrices and kernels
            (:func:`gainjax.optim.masks.default_mask`). The base optimizer trains the others too,
            unscaled. Integers and random keys are never modulated.

    Returns:
        A transformation with ``update(grads, state, params, *, uncertainty, **extra_args)``, where
        ``uncertainty`` is a scalar in nats, measured in the forward pass that gave the gradients
        (:func:`gainjax.predictive_entropy`). It should be bounded, as an entropy is: a loss would
        grow with the gain that follows it, and with the paper's sensitivity both diverge. Extra
        arguments are forwarded to the base. Those that concern parameters, ``grad``, ``grad_fn``,
        ``loss_grad`` and ``value_fn``, are given for the effective weights and translated to the
        raw ones.

    Raises:
        ValueError: If a number that is not traced is out of range, the mask does not fit the
            parameters or marks different ones than at ``init`` (detected outside of
            :func:`jax.jit`; inside, only if their number differs), or ``update`` has no parameters.
        TypeError: If ``base`` is not an optimizer, the mask holds anything but booleans, or
            ``update`` is called without uncertainty or with a complex one.

    Example:
        >>> from gainjax import get_gain
        >>> optimizer = gain_modulation(optax.adam(1e-3), sensitivity=0.4)
        >>> params = {"w": jnp.ones((1, 2))}
        >>> state = optimizer.init(params)
        >>> grads = {"w": jnp.ones((1, 2))}
        >>> updates, state = optimizer.update(grads, state, params, uncertainty=2.3)
        >>> print(get_gain(state).round(2), optax.apply_updates(params, updates)["w"].round(2))
        1.92 [[1.92 1.92]]

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, NGM-SGD. The form in effective weights, for any
        base optimizer, is ours and equivalent to the published one. The defaults for arbitrary
        recipes are also ours; ``docs/adoption.md`` describes their evaluation. The paper's own
        setting is :func:`ngm_sgd`.
    """
    given = 0.0 if sensitivity is None or callable(sensitivity) else sensitivity
    dynamics = GainDynamics(decay, baseline, given, max_gain)
    for name, value in vars(dynamics).items():
        if value is not None and jnp.ndim(value):
            raise ValueError(f"{name} must be one number: got an array of shape {jnp.shape(value)}")

    def rule_for(layers: int) -> GainRule:
        if sensitivity is None:
            safe = GainDynamics.for_layers(layers, decay, baseline, max_gain=max_gain)
            return _following(lambda step: safe)
        if callable(sensitivity):
            return _following(
                lambda step: GainDynamics(decay, baseline, sensitivity(step), max_gain)
            )
        return _following(lambda step: dynamics)

    return _modulated(base, rule_for, mask)


def _following(dynamics_at: Callable[[Any], GainDynamics]) -> GainRule:
    def next_gain(gain: jax.Array, step: Any, uncertainty: jax.Array, extra: Any) -> jax.Array:
        del extra
        return dynamics_at(step).step(gain, uncertainty)

    return GainRule(dynamics_at(0).baseline, next_gain)


def modulate(
    base: optax.GradientTransformation, rule: GainRule, *, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    """Wrap any optimizer so that a gain, given by a rule, multiplies the weights.

    :func:`gain_modulation` is this with the published rule; controls use other rules.

    Args:
        base: The optimizer to modulate.
        rule: The initial gain, and the rule for the next one.
        mask: As in :func:`gain_modulation`.

    Returns:
        A transformation as :func:`gain_modulation` returns it.

    Raises:
        TypeError: If ``base`` is not an optimizer.

    Example:
        >>> doubling = GainRule(1.0, lambda gain, step, uncertainty, extra: 2 * gain)
        >>> optimizer = modulate(optax.sgd(0.0), doubling, mask=True)
        >>> params = jnp.ones(3)
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params, uncertainty=0.0)
        >>> optax.apply_updates(params, updates)
        Array([2., 2., 2.], dtype=float32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056; see :func:`gain_modulation`.
    """
    return _modulated(base, lambda layers: rule, mask)


def _modulated(
    base: optax.GradientTransformation, rule_for: Callable[[int], GainRule], mask: Mask
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer; the rule may depend on how many parameters are modulated."""
    if not (hasattr(base, "init") and hasattr(base, "update")):
        raise TypeError(
            f"base must be an optax.GradientTransformation such as optax.sgd(0.01): got {base!r}"
        )
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> GainModulationState:
        marks = masks.marks_of(mask, params)
        gain = jnp.array(rule_for(sum(jax.tree.leaves(marks))).baseline, _dtype_of_gain(params))
        return GainModulationState(
            step=jnp.zeros((), jnp.int32),
            gain=gain,  # copies: neither the caller's array nor one buffer twice can be donated
            carried=jnp.array(gain),
            baseline=jnp.array(gain),
            skipped=jnp.zeros((), jnp.int32),
            modulated=jnp.asarray(masks.fingerprints(params, marks)),
            base_state=base.init(scale_modulated(params, 1 / gain, marks)),
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
            raise ValueError(_NO_PARAMS)
        marks = masks.same_marks(mask, params, state.modulated)
        rule = rule_for(sum(jax.tree.leaves(marks)))
        gain = state.carried
        uncertainty = _check_uncertainty(uncertainty).astype(gain.dtype)
        new_gain = rule.next_gain(state.gain, state.step, uncertainty, extra_args)
        new_gain = new_gain.astype(gain.dtype)
        scaled = functools.partial(scale_modulated, marks=marks)
        raw_updates, base_state = base.update(
            scaled(updates, gain),
            state.base_state,
            scaled(params, 1 / gain),
            uncertainty=uncertainty,
            **for_raw_weights(extra_args, scaled, gain, updates),
        )

        emit = functools.partial(_effective, gain=gain, new_gain=new_gain)
        bad = ~(jnp.isfinite(uncertainty) & (uncertainty >= 0))
        return masks.map_modulated(emit, marks, params, raw_updates), GainModulationState(
            step=optax.safe_increment(state.step),
            gain=new_gain,
            carried=jnp.array(new_gain),
            baseline=jnp.array(rule.baseline, gain.dtype),
            skipped=state.skipped + bad.astype(jnp.int32),
            modulated=state.modulated,
            base_state=base_state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def ngm_sgd(
    learning_rate: optax.ScalarOrSchedule,
    decay: ArrayLike = 0.9,
    baseline: ArrayLike = 1.0,
    sensitivity: ArrayLike | optax.Schedule = 0.4,
    *,
    momentum: ArrayLike | None = None,
    max_gain: ArrayLike | None = None,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Noradrenergic gain-modulated stochastic gradient descent, the published optimizer.

    .. math::
        w \leftarrow w - \alpha \nabla_w L, \qquad
        g \leftarrow \gamma g + (1 - \gamma) g_0 + \eta H, \qquad \theta = g w

    The defaults are the paper's for Split MNIST: learning rates near .01 and few layers.

    Args:
        learning_rate: Step size of the raw weights, or a schedule.
        decay: Decay of the phasic gain per update, in [0, 1).
        baseline: Tonic gain, > 0.
        sensitivity: Phasic burst per nat of uncertainty, >= 0, or a schedule of the step.
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
        >>> state = optimizer.init(jnp.ones((2, 2)))
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


def _effective(
    update: jax.Array, param: jax.Array, gain: jax.Array, new_gain: jax.Array
) -> jax.Array:
    """Return the update of an effective weight from that of the raw weight and the next gain."""
    if jnp.shape(update) != jnp.shape(param):
        raise ValueError(
            "gradients must have the shapes of their parameters, or they would broadcast: got an "
            f"update of shape {jnp.shape(update)} for {jnp.shape(param)}"
        )
    dtype = jnp.result_type(param)
    old, new = (x.astype(masks.with_complex(x.dtype, dtype)) for x in (gain, new_gain))
    wide = (new / old - 1) * jnp.asarray(param, old.dtype)
    wide += new * jnp.asarray(update, old.dtype)
    return wide.astype(dtype)


def _dtype_of_gain(params: optax.Params) -> Any:
    """Return the widest real dtype among the parameters, at least float32."""
    dtypes = [masks.dtype_of(leaf) for leaf in jax.tree.leaves(params)]
    inexact = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)]
    return at_least_float32(*(jnp.finfo(dtype).dtype for dtype in inexact))


def _check_uncertainty(uncertainty: ArrayLike | None) -> jax.Array:
    if uncertainty is None:
        raise TypeError(
            "gain modulation needs the keyword `uncertainty`: call `optimizer.update(grads, state, "
            "params, uncertainty=gainjax.predictive_entropy(logits))`. (Flax's TrainState does not "
            "pass it on: use gainjax.TrainState, or call the optimizer yourself. Optax's wrappers "
            "do not pass it to optax.MultiSteps: put that into gainjax.optim.extra_args."
            "with_extra_args; optax.contrib.sam belongs inside the gain modulation.)"
        )
    if isinstance(uncertainty, numbers.Real) and -math.inf < uncertainty < 0:
        raise ValueError(f"uncertainty must be >= 0: got {uncertainty!r}")
    try:
        uncertainty = jnp.asarray(uncertainty)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"uncertainty must be a real number: got {uncertainty!r}") from None
    if uncertainty.ndim:
        raise ValueError(
            f"uncertainty must be a scalar, the mean over the batch: got shape {uncertainty.shape}"
        )
    if jnp.iscomplexobj(uncertainty):
        raise TypeError(f"uncertainty must be real: got {uncertainty.dtype}")
    return uncertainty
