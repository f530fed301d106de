"""One update of one run: forward, loss and uncertainty, gradient step, gain."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from gainjax.models.model import Model
from gainjax.optim.states import get_gains
from gainjax.training.goal import Goal


class TrainState(NamedTuple):
    """All that the next update of a run needs besides its seed and hyperparameters."""

    params: Any  # trained by the optimizer: effective weights, or raw ones if the model has gains
    model_state: Any  # other state of the model: batch statistics, its gain
    opt_state: optax.OptState
    # Model state of the evaluated network, if that is a different one and has a state; else ().
    eval_state: Any = ()


class Batch(NamedTuple):
    """The data that one update trains on."""

    inputs: Shaped[Array, "batch ..."]  # as the network takes them
    targets: Shaped[Array, "batch ..."]
    key: Key[Array, ""]  # for randomness in a forward pass, such as dropout
    is_new: Bool[Array, "batch"] | None = None  # which examples belong to the newest task
    seen_classes: Bool[Array, "classes"] | None = None  # which classes occur in tasks so far


class StepInfo(NamedTuple):
    """The measurements of one training forward pass."""

    train_loss: Float[Array, ""]  # mean over the batch
    uncertainty: Float[Array, ""]  # of the batch; NaN if it is not measured
    gain: Float[Array, ""]  # gain used in the forward pass; 1 without a gain
    gains: Float[Array, "gains"]  # each gain if there are several, else empty


def train_step(
    state: TrainState,
    batch: Batch,
    model: Model,
    goal: Goal,
    optimizer: optax.GradientTransformationExtraArgs,
    **extra_args: Any,
) -> tuple[TrainState, StepInfo]:
    r"""Train on one batch.

    .. math:: L = \frac{1}{B} \sum_n \ell(f(x_n), y_n)

    Order: forward with the current gain, loss and uncertainty, step on the weights, next gain.

    The optimizer is called with these extra arguments and takes those it needs:

    ==================  ==========================================================================
    ``uncertainty``     uncertainty of this batch, shape (), before the update
    ``value``           loss of this batch
    ``grad``            gradient of this batch, for line searches
    ``grad_fn``         ``grad_fn(params, i)``: gradient of the same batch at other parameters
    ``value_fn``        ``value_fn(params)``: loss of the same batch at other parameters
    ``loss_grad``       ``loss_grad(loss)``: gradient of ``loss(outputs, targets, of_each)``, shape
                        (), of this batch; ``of_each(outputs, targets)`` is the usual loss, (B,)
    ``layer_inputs``    ``layer_inputs()``: inputs of the dense layers for this batch, see
                        :class:`gainjax.models.Model`; None if the model has none
    ``is_new``          which examples of this batch belong to the newest task, shape (B,)
    ``seen_classes``    which classes occur in the tasks so far, shape (C,)
    ``is_switch``       whether this is the first update of a new task (known to an oracle only)
    ``task``            index of the task, from 0
    ``update``          number of the update, from 1
    ==================  ==========================================================================

    Changes to the model's state in passes at other parameters are discarded.

    Args:
        state: State before the update.
        batch: The batch to train on.
        model: The model.
        goal: Loss and uncertainty.
        optimizer: Optimizer of ``state.params``.
        **extra_args: Passed on to the optimizer: ``is_switch``, ``task``, ``update``.

    Returns:
        The state after the update, and the measurements of its forward pass.

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, joint training with gain modulation.
    """

    def outputs_of(params: Any) -> tuple[jax.Array, Any]:
        return model.apply(params, state.model_state, batch.inputs, train=True, key=batch.key)

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        outputs, model_state = outputs_of(params)
        return goal.losses(outputs, batch.targets).mean(), (outputs, model_state)

    def value_fn(
        params: Any, uncertainty: Any = None, grad_fn: Any = None, loss_grad: Any = None,
        layer_inputs: Any = None, is_new: Any = None, seen_classes: Any = None,
        is_switch: Any = None, task: Any = None, update: Any = None,
    ) -> jax.Array:  # fmt: skip
        # Line searches pass on the arguments named here, and refuse an update with any others.
        del uncertainty, grad_fn, loss_grad, layer_inputs
        del is_new, seen_classes, is_switch, task, update
        return loss_fn(params)[0]

    def loss_grad(loss: Callable[..., jax.Array]) -> Any:
        return jax.grad(lambda p: loss(outputs_of(p)[0], batch.targets, goal.losses))(state.params)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (outputs, model_state)), grads = gradient(state.params)
    uncertainty = None if goal.uncertainty is None else jnp.asarray(goal.uncertainty(outputs))
    updates, opt_state = optimizer.update(
        grads,
        state.opt_state,
        state.params,
        uncertainty=uncertainty,
        value=loss,
        grad=grads,
        grad_fn=lambda params, i: gradient(params)[1],
        value_fn=value_fn,
        loss_grad=loss_grad,
        layer_inputs=_layer_inputs(model, state, batch),
        is_new=batch.is_new,
        seen_classes=batch.seen_classes,
        **extra_args,
    )
    params = optax.apply_updates(state.params, updates)
    opt_state = _with_dtypes(opt_state, state.opt_state)
    gains = list(current_gains(state, model).values())
    info = StepInfo(
        loss,
        jnp.zeros_like(loss) if uncertainty is None else uncertainty.astype(loss.dtype),
        (jnp.ones(()) if not gains else cast(jax.Array, sum(gains)) / len(gains)).astype(
            loss.dtype
        ),
        jnp.stack(gains).astype(loss.dtype) if len(gains) > 1 else jnp.zeros((0,), loss.dtype),
    )
    return state._replace(params=params, model_state=model_state, opt_state=opt_state), info


def _layer_inputs(model: Model, state: TrainState, batch: Batch) -> Callable[[], Any] | None:
    if model.layer_inputs is None:
        return None
    return partial(model.layer_inputs, state.params, state.model_state, batch.inputs)


def _with_dtypes(new: Any, old: Any) -> Any:
    """Return a new state in the dtypes of the old one.

    Hyperparameters are float32 here, and would widen the moments of parameters in bfloat16.
    """

    def narrow(x: jax.Array, before: jax.Array) -> jax.Array:
        both = (jnp.issubdtype(array.dtype, jnp.inexact) for array in (x, before))
        return x.astype(before.dtype) if all(both) and x.dtype != before.dtype else x

    now, before = (cast(Any, jax.tree.structure(state)) for state in (new, old))
    if now != before:  # which the loop reports
        return new
    return jax.tree.map(narrow, new, old)


def current_gains(state: TrainState, model: Model) -> dict[str, Float[Array, ""]]:
    """Return the gains of the next forward pass by name, the model's or the optimizer's.

    Raises:
        ValueError: If both have gains.
    """
    in_model = {} if model.gains_of is None else model.gains_of(state.model_state)
    if not isinstance(in_model, Mapping):
        raise TypeError(f"gains_of of a model must return gains by name, a dict: got {in_model!r}")
    in_model = {name: jnp.asarray(gain) for name, gain in in_model.items()}
    for name, gain in in_model.items():
        if gain.shape != () or not jnp.issubdtype(gain.dtype, jnp.floating):
            raise ValueError(
                f"gains_of of a model must return one real number for each gain: got {gain.dtype} "
                f"of shape {gain.shape} for {name!r}"
            )
    in_optimizer = get_gains(state.opt_state)
    if in_model and in_optimizer:
        raise ValueError(
            f"model has gains in its layers ({', '.join(in_model)}) and the method has one in its "
            "optimizer, so both would act: choose a method without a gain, such as 'sgd', or a "
            "model of plain layers"
        )
    return in_model or in_optimizer


def gain_names(states: TrainState, model: Model) -> list[str]:
    """Return the names of :func:`current_gains` of abstract states, in their order."""
    names: list[str] = []
    jax.eval_shape(lambda states: names.extend(current_gains(states, model)), states)
    return names


def evaluate(
    predict: Callable[[jax.Array], jax.Array],
    goal: Goal,
    inputs: Shaped[Array, "examples ..."],
    targets: Shaped[Array, "examples ..."],
    size: Int[Array, ""],
    batch_size: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum score and loss over a test set.

    Args:
        predict: Outputs of a batch of inputs.
        goal: Score and loss.
        inputs: Test inputs, shape (M, ...); only the first ``size`` count.
        targets: Their targets, shape (M, ...).
        size: Number of real examples, shape ().
        batch_size: Examples per forward pass, or None for all at once.

    Returns:
        Sum of the scores and sum of the losses, shape ().
    """
    most = len(targets)
    batch_size = min(batch_size or most, most)

    def tally(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The last window is shifted back to fit; examples that it repeats do not count again.
        first = jnp.minimum(start, most - batch_size)
        batch = jax.lax.dynamic_slice_in_dim(inputs, first, batch_size)
        target = jax.lax.dynamic_slice_in_dim(targets, first, batch_size)
        index = first + jnp.arange(batch_size)
        counts = (index < size) & (index >= start)
        outputs = predict(batch)
        scores = goal.score(outputs, target).astype(float)
        losses = goal.losses(outputs, target)
        return jnp.sum(jnp.where(counts, scores, 0.0)), jnp.sum(jnp.where(counts, losses, 0.0))

    if batch_size == most:
        return tally(jnp.int32(0))
    parts = jax.lax.map(tally, jnp.arange(0, most, batch_size))
    score, loss = (jnp.sum(part) for part in parts)
    return score, loss
