"""The standard task streams: split, permuted and rotated images, and Domain CIFAR-100."""

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gainjax.checks import check_integer
from gainjax.data.augment import crop_and_flip
from gainjax.data.dataset import Dataset, check_dataset
from gainjax.data.scenarios import class_incremental, domain_incremental, transformed
from gainjax.data.sources import customary_statistics
from gainjax.data.stream import Stream

# Fine labels of CIFAR-100 by superclass, in the order of the authors' three contexts.
_AUTHORS_CONTEXTS = (
    (4, 30, 55, 72, 95),  # aquatic mammals: beaver, dolphin, otter, seal, whale
    (1, 32, 67, 73, 91),  # fish: aquarium fish, flatfish, ray, shark, trout
    (54, 62, 70, 82, 92),  # flowers: orchid, poppy, rose, sunflower, tulip
)


def split(
    dataset: Dataset,
    classes_per_task: int = 2,
    num_tasks: int | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Divide the classes over tasks in their natural order (class-incremental).

    Args:
        dataset: The examples, with integer classes from 0.
        classes_per_task: Number of new classes in each task, at least 1.
        num_tasks: Number of tasks, at least 1; the classes after the last task are left out. By
            default all classes are used, and their number must divide evenly.
        eval_examples: At most this many test examples per task, a fixed random subset, or all.

    Returns:
        The stream; its labels are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is invalid.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = split(load_source("digits"))
        >>> stream.task_end - stream.task_start
        array([289, 289, 291, 289, 284], dtype=int32)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: Split MNIST, Split CIFAR-10 and Split
        mini-ImageNet (5 × 10 of its 100 classes).
    """
    check_dataset(dataset)
    check_integer("classes_per_task", classes_per_task, 1)
    num_classes = _num_classes(dataset)
    if num_tasks is None:
        num_tasks, rest = divmod(num_classes, classes_per_task)
        if rest:
            raise ValueError(
                f"classes_per_task must divide the {num_classes} classes of {dataset.name} "
                f"evenly: got {classes_per_task}. Choose a divisor, or give num_tasks to leave "
                "classes out"
            )
    check_integer("num_tasks", num_tasks, 1)
    if num_tasks * classes_per_task > num_classes:
        raise ValueError(
            f"{num_tasks} tasks of {classes_per_task} classes need "
            f"{num_tasks * classes_per_task} classes: {dataset.name} has {num_classes}"
        )
    classes = np.arange(num_tasks * classes_per_task).reshape(num_tasks, classes_per_task)
    return class_incremental(
        *dataset[:4], tasks=classes, **_statistics(dataset), eval_examples=eval_examples
    )


def permuted(
    dataset: Dataset,
    num_tasks: int = 3,
    seed: int = 0,
    eval_examples: int | None = None,
    make_rng: Callable[[int], Any] = np.random.default_rng,
) -> Stream:
    """Use all examples in every task, with permuted pixels from the second task on.

    This is domain-incremental. The permutations are drawn in sequence from one NumPy generator and
    move all channels together, so adding tasks does not change the first ones.

    Args:
        dataset: The examples; with three or more axes the last one holds the channels.
        num_tasks: Number of tasks, at least 1; the first is the identity.
        seed: Seed of the permutations, at least 0. It belongs to the benchmark, not to a run.
        eval_examples: At most this many test examples per task, a fixed random subset (the same in
            every task), or all.
        make_rng: Makes the generator from the seed.

    Returns:
        The stream; its targets are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is invalid.

    Example:
        >>> from gainjax.data import load_source
        >>> permuted(load_source("digits"), eval_examples=100).test_inputs.shape
        (3, 100, 8, 8, 1)

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: Permuted MNIST. Their permutations are those of
        ``seed=42`` and ``make_rng=numpy.random.RandomState``.
    """
    check_dataset(dataset)
    check_integer("num_tasks", num_tasks, 1)
    check_integer("seed", seed, 0)
    shape = dataset.x_train.shape[1:]
    pixels = math.prod(shape[:-1] if len(shape) >= 3 else shape)
    rng = make_rng(seed)
    moves = [partial(_take_pixels, rng.permutation(pixels)) for _ in range(num_tasks - 1)]
    return transformed(
        *dataset[:4], transforms=[None, *moves], **_statistics(dataset), eval_examples=eval_examples
    )


def rotated(
    dataset: Dataset,
    angles: Sequence[float] = (0, 80, 160),
    eval_examples: int | None = None,
) -> Stream:
    """Use all images in every task, each time rotated by another angle (domain-incremental).

    Raw pixels are rotated about the center by Pillow, counterclockwise, by nearest-neighbor
    interpolation; corners that come from outside the image are 0.

    Args:
        dataset: Images of shape (N, H, W) or (N, H, W, C).
        angles: One angle per task, in degrees.
        eval_examples: At most this many test images per task, a fixed random subset (the same
            images in every task), or all.

    Returns:
        The stream; its targets are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is invalid or holds no images.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = rotated(load_source("digits"), angles=(0, 90))
        >>> turned = np.rot90(stream.test_inputs[0], axes=(1, 2))
        >>> bool(np.array_equal(stream.test_inputs[1], turned))
        True

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056: Rotated MNIST.
    """
    check_dataset(dataset)
    if not (
        isinstance(angles, Sequence)
        and len(angles) > 0
        and all(isinstance(angle, numbers.Real) and math.isfinite(angle) for angle in angles)
    ):
        raise ValueError(f"angles must be one or more finite numbers, in degrees: got {angles!r}")
    if dataset.x_train.ndim not in (3, 4):
        raise ValueError(
            f"{dataset.name} must hold images of shape (N, H, W) or (N, H, W, C) to be rotated: "
            f"got {dataset.x_train.shape}"
        )
    height, width = dataset.x_train.shape[1:3]
    # Rotate the pixel indices once, instead of every image. 0 stands for the outside.
    numbered = Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, -1))
    nearest = Image.Resampling.NEAREST
    sources = [np.asarray(numbered.rotate(angle, nearest)).ravel() - 1 for angle in angles]
    return transformed(
        *dataset[:4],
        transforms=[partial(_take_pixels, source) for source in sources],
        **_statistics(dataset),
        eval_examples=eval_examples,
    )


def domain_cifar100(
    dataset: Dataset,
    protocol: Literal["authors", "authors-scripts", "domain-incremental"] = "authors",
    eval_examples: int | None = None,
) -> Stream:
    """Arrange CIFAR-100 by its superclasses, in one of three ways.

    ``"authors"``: three tasks, with the five fine classes each of aquatic mammals, fish, and
    flowers, under their fine labels among 100 outputs; despite the name, class-incremental.

    ``"authors-scripts"``: the same with two flaws of the authors' scripts: pixels are normalized
    with the statistics of CIFAR-10, and test images are shifted and mirrored as training images
    are. (The scripts redraw the shifts for each evaluation; here they are drawn once.)

    ``"domain-incremental"``: five tasks, each with one new fine class (in order of fine label) of
    every superclass, under the 20 superclass labels.

    Args:
        dataset: CIFAR-100; the domain-incremental form needs its superclass labels.
        protocol: One of the three.
        eval_examples: At most this many test images per task, a fixed random subset, or all.

    Returns:
        The stream; a network for it needs 100 or 20 outputs.

    Raises:
        ValueError: If an argument is out of range, or the data set is invalid or not CIFAR-100.

    Example:
        >>> from gainjax.data import load_source
        >>> domain_cifar100(load_source("digits"))
        Traceback (most recent call last):
        ValueError: dataset must be CIFAR-100: digits has 10 classes, not 100

    References:
        Rodriguez-Garcia et al., arXiv 2507.14056 v1: Domain CIFAR-100, and its authors' public
        scripts. Hess et al. 2023: the domain-incremental form.
    """
    check_dataset(dataset)
    known = ("authors", "authors-scripts", "domain-incremental")
    if protocol not in known:
        raise ValueError(f"protocol must be one of {', '.join(known)}: got {protocol!r}")
    if (num_classes := _num_classes(dataset)) != 100:
        raise ValueError(
            f"dataset must be CIFAR-100: {dataset.name} has {num_classes} classes, not 100"
        )
    options = {**_statistics(dataset), "eval_examples": eval_examples}
    if protocol == "authors-scripts":
        key = jax.random.key(0, impl="threefry2x32")
        augmented = np.asarray(crop_and_flip(key, jnp.asarray(dataset.x_test)))
        dataset = dataset._replace(x_test=augmented)
        mean, std = customary_statistics("cifar10")
        options |= {"mean": mean, "std": std}
    if protocol != "domain-incremental":
        return class_incremental(*dataset[:4], tasks=_AUTHORS_CONTEXTS, **options)
    return domain_incremental(_superclass_tasks(dataset), **options)


def _superclass_tasks(dataset: Dataset) -> Sequence[tuple[np.ndarray, ...]]:
    """Return five tasks, each with a new fine class of every superclass, under its label."""
    if dataset.y_train_coarse is None or dataset.y_test_coarse is None:
        raise ValueError(
            f"{dataset.name} has no superclass labels, which the domain-incremental protocol "
            "needs: add y_train_coarse and y_test_coarse to the .npz file"
        )
    fine = np.concatenate([dataset.y_train, dataset.y_test])
    coarse = np.concatenate([dataset.y_train_coarse, dataset.y_test_coarse])
    pairs = np.unique(np.stack([coarse, fine]), axis=1)  # sorted by superclass, then fine label
    if not (
        np.array_equal(pairs[0], np.repeat(np.arange(20), 5)) and len(np.unique(pairs[1])) == 100
    ):
        raise ValueError(
            f"the superclass labels of {dataset.name} must divide its 100 classes into 20 "
            "superclasses of 5"
        )
    tasks = []
    for classes in pairs[1].reshape(20, 5).T:
        train, test = np.isin(dataset.y_train, classes), np.isin(dataset.y_test, classes)
        tasks.append(
            (
                dataset.x_train[train],
                dataset.y_train_coarse[train],
                dataset.x_test[test],
                dataset.y_test_coarse[test],
            )
        )
    return tasks


def _num_classes(dataset: Dataset) -> int:
    """Return the number of classes of a data set: its highest label plus one."""
    labels = dataset.y_train
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{dataset.name} must have classes, integers of shape (N,): got {labels.dtype} of "
            f"shape {labels.shape}. gainjax.data.class_incremental also takes strings"
        )
    return int(labels.max()) + 1


def _statistics(dataset: Dataset) -> dict[str, Any]:
    """Return the customary mean and standard deviation of a data set, as arguments."""
    return {"mean": dataset.mean, "std": dataset.std}


def _take_pixels(source: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return inputs whose pixel i was pixel `source[i]`; a source of -1 gives 0."""
    pixels = inputs.reshape(len(inputs), len(source), -1)
    moved = np.take(pixels, source, axis=1, mode="wrap")
    moved[:, source < 0] = 0
    return moved.reshape(inputs.shape)
