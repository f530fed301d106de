"""The training goal: loss, score and uncertainty of a network."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gainjax.gain import at_least_float32, predictive_entropy


def cross_entropy(
    outputs: Float[Array, "batch classes"], targets: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """Return the cross-entropy of each example in nats."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)


def accuracy(
    outputs: Float[Array, "batch classes"], targets: Int[Array, "batch"]
) -> Bool[Array, "batch"]:
    """Return whether each answer is right; with a non-finite output it is wrong."""
    return (jnp.argmax(outputs, -1) == targets) & jnp.all(jnp.isfinite(outputs), -1)


@dataclasses.dataclass(frozen=True)
class Goal:
    """Functions of outputs and targets that define the training goal.

    Args:
        loss: ``loss(outputs, targets)`` of each example, shape (B,); training minimizes its mean.
        score: ``score(outputs, targets)`` of each example, shape (B,), higher is better; the curves
            show its mean over a test set.
        uncertainty: ``uncertainty(outputs)`` of a batch, shape (), >= 0; if None, methods that
            follow uncertainty cannot be used.
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy
    score: Callable[[jax.Array, jax.Array], jax.Array] = accuracy
    uncertainty: Callable[[jax.Array], jax.Array] | None = predictive_entropy

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Return the loss of each example, in at least float32 so that it can be summed."""
        loss = self.loss(outputs, targets)
        return loss.astype(at_least_float32(loss.dtype))

    @property
    def classifies(self) -> bool:
        """Whether targets are classes, each the index of an output."""
        return self.loss is cross_entropy or self.score is accuracy

    @property
    def score_name(self) -> str:
        """Name of the score in titles, "accuracy" by default."""
        name = getattr(self.score, "__name__", "score").strip("_<>").replace("lambda", "score")
        # Only the built-in one is known to be a fraction.
        return "own accuracy" if name == "accuracy" and self.score is not accuracy else name


CLASSIFICATION = Goal()
