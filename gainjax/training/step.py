"""One update of one run: sample a batch, forward, gradient step, gain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gainjax.gain import predictive_entropy
from gainjax.models.layers import COLLECTION
from gainjax.optim.modulation import find_gain_states


class TrainState(NamedTuple):
    """All that the next update of a run needs, besides its seed and hyper-parameters."""

    params: Any  # what the optimiser trains: effective weights, or raw ones if the model has gains
    model_state: Any  # collections other than params: gain, batch_stats
    opt_state: optax.OptState


class StepInfo(NamedTuple):
    """What one training forward pass measured, each of shape ()."""

    train_loss: jax.Array  # mean cross-entropy of the batch, nats
    uncertainty: jax.Array  # predictive entropy of the batch, nats
    gain: jax.Array  # gain that the forward pass used; 1 where there is none


def train_step(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    model: nn.Module,
    optimizer: optax.GradientTransformationExtraArgs,
    **extra_args: Any,
) -> tuple[TrainState, StepInfo]:
    r"""Train on one batch.

    .. math:: L = -\frac{1}{B} \sum_n \ln \mathrm{softmax}(f(x_n))_{y_n}

    Order: forward with the current gain, loss and uncertainty, step on the weights, next gain.

    Args:
        state: State before the update.
        images: Normalised inputs, shape (B, H, W, C).
        labels: Classes, shape (B,), int32.
        model: Flax module called as ``model(images, train=True)``.
        optimizer: Optimiser of ``state.params``.
        **extra_args: Passed on to the optimiser, beside ``uncertainty``, ``value`` (the loss) and
            ``grad_fn(params, i)`` (the gradient of this batch elsewhere).

    Returns:
        The state after the update, and what its forward pass measured.

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056, joint training with gain modulation.
    """

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, model_state = model.apply(
            {"params": params, **state.model_state},
            images,
            train=True,
            mutable=list(state.model_state),
        )
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, (logits, model_state)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (logits, model_state)), grads = gradient(state.params)
    uncertainty = predictive_entropy(logits)
    updates, opt_state = optimizer.update(
        grads,
        state.opt_state,
        state.params,
        uncertainty=uncertainty,
        value=loss,
        # For methods that look elsewhere; what such a pass does to the model's state is dropped.
        grad_fn=lambda params, i: gradient(params)[1],
        **extra_args,
    )
    params = optax.apply_updates(state.params, updates)
    info = StepInfo(loss, uncertainty, current_gain(state).astype(loss.dtype))
    return TrainState(params, model_state, opt_state), info


def current_gain(state: TrainState) -> jax.Array:
    """Return the gain of the next forward pass, from the model or the optimiser; 1 without one."""
    gains = jax.tree.leaves(state.model_state.get(COLLECTION, {}))
    if gains:
        return gains[0].reshape(-1)[0]  # all units share one drive
    found = find_gain_states(state.opt_state)
    return found[0].gain if found else jnp.ones(())


def evaluate(
    predict: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    labels: jax.Array,
    batch_size: int | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count correct answers and add up the loss over a test set.

    An answer with a non-finite logit is wrong, so a diverged network scores zero.

    Args:
        predict: Logits, shape (N, C), of a batch of normalised images, shape (N, H, W, C).
        images: Test images, shape (M, H, W, C).
        labels: Classes, shape (M,); -1 marks padding, which does not count.
        batch_size: Images per forward pass, or None for all at once.

    Returns:
        Number of correct answers, sum of cross-entropies in nats, number of examples; shape ().
    """
    size = len(labels)
    batch_size = min(batch_size or size, size)

    def tally(start: jax.Array) -> tuple[jax.Array, ...]:
        # The last window moves back to fit; what it repeats does not count again.
        first = jnp.minimum(start, size - batch_size)
        batch = jax.lax.dynamic_slice_in_dim(images, first, batch_size)
        target = jax.lax.dynamic_slice_in_dim(labels, first, batch_size)
        counts = (target >= 0) & (first + jnp.arange(batch_size) >= start)
        logits = predict(batch)
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, jnp.maximum(target, 0)
        )
        correct = (jnp.argmax(logits, -1) == target) & jnp.all(jnp.isfinite(logits), -1)
        return tuple(jnp.sum(jnp.where(counts, x, 0.0)) for x in (correct, losses, 1.0))

    if batch_size == size:
        correct, loss, count = tally(jnp.int32(0))
    else:
        parts = jax.lax.map(tally, jnp.arange(0, size, batch_size))
        correct, loss, count = (jnp.sum(part) for part in parts)
    return correct, loss, count
