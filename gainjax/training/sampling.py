"""Sampling of training batches: joint training, experience replay, or plain fine-tuning."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from gainjax.data import Stream
from gainjax.training.protocol import Buffer


def sample(
    key: Key[Array, ""],
    stream: Stream,
    task: ArrayLike,
    batch_size: int,
    buffer: Int[Array, "size"] | None = None,
    *,
    joint: bool = True,
) -> Int[Array, "{batch_size}"]:
    """Draw the indices of a batch, with replacement.

    Args:
        key: Key of this update.
        stream: The tasks.
        task: Index of the current task, from 0.
        batch_size: Number of indices B.
        buffer: Stored examples of earlier tasks, from :func:`fill_buffer`, or None. With a buffer,
            half of the batch comes from it in every task but the first.
        joint: Draw from the pooled examples of all tasks so far; otherwise from the current task.

    Returns:
        Indices into the training examples, shape (B,), int32.

    Example:
        >>> from gainjax.data import load_source, split
        >>> stream = split(load_source("digits"))
        >>> index = sample(jax.random.key(0), stream, 1, 64)
        >>> print(index.min() < stream.task_start[1] <= index.max() < stream.task_end[1])
        True

    References:
        Joint: Rodriguez-Garcia et al., arXiv 2507.14056, i.i.d. over the pooled examples.
    """
    start = 0 if joint else jnp.asarray(stream.task_start)[task]
    end = jnp.asarray(stream.task_end)[task]
    fresh = jax.random.randint(key, (batch_size,), start, end)
    if buffer is None:
        return fresh
    stored = jnp.sum(buffer >= 0)
    slot = jax.random.randint(jax.random.fold_in(key, 1), (batch_size,), 0, jnp.maximum(stored, 1))
    from_buffer = (stored > 0) & (jnp.arange(batch_size) < batch_size // 2)
    return jnp.where(from_buffer, buffer[slot], fresh)


def fill_buffer(
    key: Key[Array, ""],
    stream: Stream,
    task: ArrayLike,
    size: int,
    kind: Buffer,
    num_classes: int,
) -> Int[Array, "stored"]:
    r"""Choose the examples of earlier tasks that a bounded memory holds when a task begins.

    Each seed assigns a random priority to every training image, and the memory holds the examples
    of highest priority among all seen so far: a reservoir sample, uniform without replacement, to
    which dropped examples never return. A balanced memory holds the highest priorities of each
    class, ``size // classes seen`` of each.

    Args:
        key: Key of the seed.
        stream: The tasks.
        task: Index of the task that begins, from 0.
        size: Number of examples that the memory holds, >= 1.
        kind: "reservoir" or "balanced".
        num_classes: Number of classes C.

    Returns:
        Indices into the training examples, shape (size,), int32; unfilled places at the end are
        -1.

    Example:
        >>> from gainjax.data import load_source, split
        >>> stream = split(load_source("digits"))
        >>> buffer = fill_buffer(jax.random.key(0), stream, 2, 40, "balanced", 10)
        >>> jnp.bincount(jnp.asarray(stream.train_targets)[buffer])
        Array([10, 10, 10, 10], dtype=int32)

    References:
        Reservoir: Vitter 1985, in the form with random priorities. Class-balanced memories are
        common in experience replay.
    """
    labels = jnp.asarray(stream.train_targets)
    seen = jnp.arange(len(labels)) < jnp.asarray(stream.task_start)[task]
    priority = jnp.where(seen, jax.random.uniform(key, (len(labels),)), -1.0)
    if kind == "balanced":
        count = jnp.bincount(labels, weights=seen.astype(jnp.int32), length=num_classes)
        share = size // jnp.maximum(jnp.sum(count > 0), 1)
        # Rank within the class: by class first, then by descending priority.
        order = jnp.lexsort((-priority, labels))
        everyone = jnp.bincount(labels, length=num_classes)
        first = jnp.cumsum(everyone) - everyone
        rank = jnp.zeros_like(labels).at[order].set(jnp.arange(len(labels))) - first[labels]
        priority = jnp.where(rank < share, priority, -1.0)
    size = min(size, len(labels))
    highest, index = jax.lax.top_k(priority, size)
    return jnp.where(highest >= 0, index, -1)
