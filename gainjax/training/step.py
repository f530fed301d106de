"""One update of one run: forward, loss and uncertainty, gradient step, gain."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from gainjax.models.model import Model
from gainjax.optim.states import get_gains
from gainjax.training.goal import Goal


class TrainState(NamedTuple):
    """All that the next update of a run needs, besides its seed and hyper-parameters."""

    params: Any  # what the optimizer trains: effective weights, or raw ones if the model has gains
    model_state: Any  # what the model keeps besides: batch statistics, a gain of its own
    opt_state: optax.OptState
    # Model state of the network that is evaluated, if that is another one and has a state; else ().
    eval_state: Any = ()


class Batch(NamedTuple):
    """What one update trains on."""

    inputs: jax.Array  # as the network takes them, shape (B, ...)
    targets: jax.Array  # shape (B, ...)
    key: jax.Array  # for what is random in a forward pass, such as dropout
    is_new: jax.Array | None = None  # which examples are of the newest task, shape (B,)
    seen_classes: jax.Array | None = None  # which classes tasks so far have, shape (C,)


class StepInfo(NamedTuple):
    """What one training forward pass measured."""

    train_loss: jax.Array  # shape=(): mean over the batch
    uncertainty: jax.Array  # shape=(): of the batch; NaN where nothing measures it
    gain: jax.Array  # shape=(): gain that the forward pass used; 1 where there is none
    gains: jax.Array  # shape=(G,): each gain where there are several, else empty


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

    The optimizer is called with these extra arguments; it takes those it needs:

    ==================  ==========================================================================
    ``uncertainty``     uncertainty of this batch, shape (), before the update
    ``value``           loss of this batch
    ``grad``            gradient of this batch, for line searches
    ``grad_fn``         ``grad_fn(params, i)``: gradient of the same batch at other parameters
    ``value_fn``        ``value_fn(params)``: loss of the same batch at other parameters
    ``loss_grad``       ``loss_grad(loss)``: gradient of ``loss(outputs, targets, of_each)``, shape
                        (), of this batch; ``of_each(outputs, targets)`` is the usual loss, (B,)
    ``is_new``          which examples of this batch are of the newest task, shape (B,)
    ``seen_classes``    which classes the tasks so far have, shape (C,)
    ``is_switch``       whether this is the first update of a new task (what an oracle knows)
    ``task``            index of the task, from 0
    ``update``          number of the update, from 1
    ==================  ==========================================================================

    What a pass at other parameters does to the model's state is dropped.

    Args:
        state: State before the update.
        batch: What to train on.
        model: The model.
        goal: Loss and uncertainty.
        optimizer: Optimizer of ``state.params``.
        **extra_args: Passed on to the optimizer: ``is_switch``, ``task``, ``update``.

    Returns:
        The state after the update, and what its forward pass measured.

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056, joint training with gain modulation.
    """

    def outputs_of(params: Any) -> tuple[jax.Array, Any]:
        return model.apply(params, state.model_state, batch.inputs, train=True, key=batch.key)

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        outputs, model_state = outputs_of(params)
        return goal.loss(outputs, batch.targets).mean(), (outputs, model_state)

    def value_fn(
        params: Any, uncertainty: Any = None, grad_fn: Any = None, loss_grad: Any = None,
        is_new: Any = None, seen_classes: Any = None, is_switch: Any = None, task: Any = None,
        update: Any = None,
    ) -> jax.Array:  # fmt: skip
        # Line searches pass on what is named here, and refuse an update with other arguments.
        del uncertainty, grad_fn, loss_grad, is_new, seen_classes, is_switch, task, update
        return loss_fn(params)[0]

    def loss_grad(loss: Callable[..., jax.Array]) -> Any:
        def of(params: Any) -> jax.Array:
            return loss(outputs_of(params)[0], batch.targets, goal.loss)

        return jax.grad(of)(state.params)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (outputs, model_state)), grads = gradient(state.params)
    uncertainty = None if goal.uncertainty is None else goal.uncertainty(outputs)
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
        is_new=batch.is_new,
        seen_classes=batch.seen_classes,
        **extra_args,
    )
    params = optax.apply_updates(state.params, updates)
    opt_state = _with_dtypes(opt_state, state.opt_state)
    gains = current_gains(state, model)
    info = StepInfo(
        loss,
        jnp.zeros_like(loss) if uncertainty is None else uncertainty.astype(loss.dtype),
        (jnp.ones(()) if not gains else cast(jax.Array, sum(gains)) / len(gains)).astype(
            loss.dtype
        ),
        jnp.stack(gains).astype(loss.dtype) if len(gains) > 1 else jnp.zeros((0,), loss.dtype),
    )
    return state._replace(params=params, model_state=model_state, opt_state=opt_state), info


def _with_dtypes(new: Any, old: Any) -> Any:
    """Return a new state in the dtypes of the old one.

    Hyper-parameters are float32 here, and would widen the moments of parameters in bfloat16.
    """

    def narrow(x: jax.Array, before: jax.Array) -> jax.Array:
        both = (jnp.issubdtype(array.dtype, jnp.inexact) for array in (x, before))
        return x.astype(before.dtype) if all(both) and x.dtype != before.dtype else x

    now, before = (cast(Any, jax.tree.structure(state)) for state in (new, old))
    if now != before:  # which the loop will say
        return new
    return jax.tree.map(narrow, new, old)


def current_gains(state: TrainState, model: Model) -> list[jax.Array]:
    """Return the gains of the next forward pass, the model's or the optimizer's, each scalar."""
    if model.gain_of is not None:
        return [model.gain_of(state.model_state)]
    return list(get_gains(state.opt_state).values())


def gain_names(state: TrainState, model: Model) -> list[str]:
    """Return the names of :func:`current_gains`, in their order."""
    if model.gain_of is not None:
        return ["gain"]
    return list(get_gains(state.opt_state))


def evaluate(
    predict: Callable[[jax.Array], jax.Array],
    goal: Goal,
    inputs: jax.Array,
    targets: jax.Array,
    size: jax.Array,
    batch_size: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Add up score and loss over a test set.

    Args:
        predict: Outputs of a batch of inputs.
        goal: Score and loss.
        inputs: Test inputs, shape (M, ...), of which the first ``size`` count.
        targets: Their targets, shape (M, ...).
        size: Number of real examples, shape ().
        batch_size: Examples per forward pass, or None for all at once.

    Returns:
        Sum of the scores and sum of the losses, shape ().
    """
    most = len(targets)
    batch_size = min(batch_size or most, most)

    def tally(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The last window moves back to fit; what it repeats does not count again.
        first = jnp.minimum(start, most - batch_size)
        batch = jax.lax.dynamic_slice_in_dim(inputs, first, batch_size)
        target = jax.lax.dynamic_slice_in_dim(targets, first, batch_size)
        index = first + jnp.arange(batch_size)
        counts = (index < size) & (index >= start)
        outputs = predict(batch)
        scores = goal.score(outputs, target).astype(float)
        losses = goal.loss(outputs, target)
        return jnp.sum(jnp.where(counts, scores, 0.0)), jnp.sum(jnp.where(counts, losses, 0.0))

    if batch_size == most:
        return tally(jnp.int32(0))
    parts = jax.lax.map(tally, jnp.arange(0, most, batch_size))
    score, loss = (jnp.sum(part) for part in parts)
    return score, loss
