"""The arrays of a task stream, and how they are put together from images and indices."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from gainjax.checks import check_integer
from gainjax.data.sources import ImageDataset

Array = np.ndarray | jax.Array
_EVAL_SEED = 0  # the evaluation subset is part of a benchmark, so no seed of a run moves it


class Stream(NamedTuple):
    """A sequence of K tasks. All fields are arrays; the compiled program takes it as an argument.

    Joint training at task k samples uniformly from the first ``task_end[k]`` training images.

    Args:
        train_images: Raw pixels sorted by task, uint8, shape (N, H, W, C).
        train_labels: int32, shape (N,).
        task_start: First training image of each task, int32, shape (K,).
        task_end: One past the last training image of each task, int32, shape (K,).
        test_images: Normalised, padded with zeros to the largest test set, float32,
            shape (K, M, H, W, C).
        test_labels: int32, shape (K, M), -1 where padded.
        shift: Normalised pixels are (raw - shift) * scale; float32, shape (C,).
        scale: As the shift.
    """

    train_images: Array
    train_labels: Array
    task_start: Array
    task_end: Array
    test_images: Array
    test_labels: Array
    shift: Array
    scale: Array


def normalise(stream: Stream, images: ArrayLike) -> jax.Array:
    r"""Return images as the network takes them. Traceable, so batches are normalised on the device.

    .. math:: x = \frac{p / p_{max} - \mu}{\sigma} = (p - \text{shift}) \cdot \text{scale}

    Args:
        stream: The stream that the images belong to.
        images: Raw pixels, uint8, shape (..., C).

    Returns:
        Normalised images of the same shape, float32.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = by_classes(load_source("digits"), [range(10)])
        >>> x = normalise(stream, stream.train_images)
        >>> print(x.dtype, abs(float(x.mean())) < 1e-3, abs(float(x.std()) - 1) < 1e-3)
        float32 True True
    """
    return (jnp.asarray(images).astype(jnp.float32) - stream.shift) * stream.scale


def by_classes(
    dataset: ImageDataset,
    tasks: Sequence[Sequence[int]],
    eval_examples: int | None = None,
    relabelled: ImageDataset | None = None,
) -> Stream:
    """Return the stream whose tasks hold different classes.

    Args:
        dataset: The images, already checked; its labels decide which task an image belongs to.
        tasks: The classes of each task.
        eval_examples: At most this many test images per task, a fixed random subset, or all.
        relabelled: The data set with the labels to learn, if these are others.

    Returns:
        The stream.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = by_classes(load_source("digits"), [[7], [1, 3]])
        >>> np.unique(stream.train_labels[stream.task_start[1] :])
        array([1, 3], dtype=int32)
    """
    return _build(
        relabelled or dataset,
        [np.flatnonzero(np.isin(dataset.train_labels, classes)) for classes in tasks],
        [np.flatnonzero(np.isin(dataset.test_labels, classes)) for classes in tasks],
        [None] * len(tasks),
        eval_examples,
    )


def by_pixels(
    dataset: ImageDataset, sources: Sequence[np.ndarray], eval_examples: int | None = None
) -> Stream:
    """Return the stream whose tasks hold all images, each with its pixels moved in another way.

    Args:
        dataset: The images, already checked.
        sources: For each task the pixel (counted row by row) that each pixel is taken from, or -1
            for a pixel of value 0; integers of shape (H * W,).
        eval_examples: At most this many test images per task, a fixed random subset (the same
            images in every task), or all.

    Returns:
        The stream.

    Example:
        >>> from gainjax.data import load_source
        >>> upside_down = np.arange(64).reshape(8, 8)[::-1].ravel()
        >>> stream = by_pixels(load_source("digits"), [np.arange(64), upside_down])
        >>> bool(np.array_equal(stream.test_images[1], stream.test_images[0, :, ::-1]))
        True
    """
    everything = [np.arange(len(dataset.train_labels))] * len(sources)
    tests = [np.arange(len(dataset.test_labels))] * len(sources)
    return _build(dataset, everything, tests, sources, eval_examples)


def _build(
    dataset: ImageDataset,
    train: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    sources: Sequence[np.ndarray | None],
    eval_examples: int | None,
) -> Stream:
    """Return the stream whose task k holds images `train[k]`, their pixels from `sources[k]`."""
    if eval_examples is not None:
        check_integer("eval_examples", eval_examples, 1)
        test = [_subset(index, eval_examples) for index in test]
    shape = dataset.train_images.shape[1:]
    task_end = np.cumsum([len(index) for index in train])
    task_start = task_end - [len(index) for index in train]
    train_images = np.empty((task_end[-1], *shape), np.uint8)
    test_images = np.zeros((len(test), max(map(len, test)), *shape), np.float32)
    test_labels = np.full(test_images.shape[:2], -1, np.int32)
    shift = np.array(dataset.mean, np.float32) * np.float32(dataset.max_value)
    scale = 1 / (np.array(dataset.std, np.float32) * np.float32(dataset.max_value))
    # Task by task and in place: beside the result, memory holds one task's raw images.
    for k, source in enumerate(sources):
        raw = _take_pixels(dataset.train_images[train[k]], source)
        train_images[task_start[k] : task_end[k]] = raw
        normalised = test_images[k, : len(test[k])]
        raw = _take_pixels(dataset.test_images[test[k]], source)
        np.subtract(raw, shift, out=normalised)
        np.multiply(normalised, scale, out=normalised)
        test_labels[k, : len(test[k])] = dataset.test_labels[test[k]]
    return Stream(
        train_images=train_images,
        train_labels=dataset.train_labels[np.concatenate(train)].astype(np.int32),
        task_start=task_start.astype(np.int32),
        task_end=task_end.astype(np.int32),
        test_images=test_images,
        test_labels=test_labels,
        shift=shift,
        scale=scale,
    )


def _take_pixels(images: np.ndarray, source: np.ndarray | None) -> np.ndarray:
    """Return images (N, H, W, C) whose pixel i was pixel `source[i]`; a source of -1 gives 0."""
    if source is None:
        return images
    pixels = images.reshape(len(images), len(source), -1)
    moved = np.take(pixels, source, axis=1, mode="wrap")
    moved[:, source < 0] = 0
    return moved.reshape(images.shape)


def _subset(index: np.ndarray, size: int) -> np.ndarray:
    """Return at most `size` entries, drawn without replacement by a fixed seed, in their order."""
    if size >= len(index):
        return index
    rng = np.random.default_rng(_EVAL_SEED)
    return index[np.sort(rng.choice(len(index), size, replace=False))]
