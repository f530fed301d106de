"""Task streams: a data set arranged as a sequence of tasks, as arrays that a compiled run can take.

A stream is built once on the host and is the same for all seeds of a run. All its tasks share one
set of outputs, and nothing in it tells a network which task an image belongs to.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from gainjax.checks import check_integer
from gainjax.data.assemble import Stream, by_classes, by_pixels, normalise
from gainjax.data.sources import ImageDataset, check_dataset

__all__ = ["Stream", "domain_cifar100", "normalise", "permuted", "rotated", "split"]

# Fine labels of CIFAR-100 by superclass, in the order of the authors' three contexts.
_AUTHORS_CONTEXTS = (
    (4, 30, 55, 72, 95),  # aquatic mammals: beaver, dolphin, otter, seal, whale
    (1, 32, 67, 73, 91),  # fish: aquarium fish, flatfish, ray, shark, trout
    (54, 62, 70, 82, 92),  # flowers: orchid, poppy, rose, sunflower, tulip
)


def split(
    dataset: ImageDataset,
    classes_per_task: int = 2,
    num_tasks: int | None = None,
    eval_examples: int | None = None,
) -> Stream:
    """Divide the classes over tasks in their natural order (class-incremental).

    Args:
        dataset: The images.
        classes_per_task: Number of new classes in each task, at least 1.
        num_tasks: Number of tasks, at least 1; the classes after the last task are left out. By
            default all classes are used, and their number must divide evenly.
        eval_examples: At most this many test images per task, a fixed random subset, or all.

    Returns:
        The stream; its labels are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is faulty.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = split(load_source("digits"))
        >>> stream.task_end - stream.task_start
        array([289, 289, 291, 289, 284], dtype=int32)

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056: Split MNIST, Split CIFAR-10 and Split
        mini-ImageNet (5 × 10 of its 100 classes).
    """
    check_dataset(dataset)
    check_integer("classes_per_task", classes_per_task, 1)
    if num_tasks is None:
        num_tasks, rest = divmod(dataset.num_classes, classes_per_task)
        if rest:
            raise ValueError(
                f"classes_per_task must divide the {dataset.num_classes} classes of {dataset.name} "
                f"evenly: got {classes_per_task}. Choose a divisor, or give num_tasks to leave "
                "classes out"
            )
    check_integer("num_tasks", num_tasks, 1)
    if num_tasks * classes_per_task > dataset.num_classes:
        raise ValueError(
            f"{num_tasks} tasks of {classes_per_task} classes need "
            f"{num_tasks * classes_per_task} classes: {dataset.name} has {dataset.num_classes}"
        )
    classes = np.arange(num_tasks * classes_per_task).reshape(num_tasks, classes_per_task)
    return by_classes(dataset, classes.tolist(), eval_examples)


def permuted(
    dataset: ImageDataset, num_tasks: int = 3, seed: int = 0, eval_examples: int | None = None
) -> Stream:
    """Show all images in every task, from the second on with permuted pixels (domain-incremental).

    The permutations are drawn in sequence from one NumPy generator and move all channels alike, so
    more tasks leave the first ones as they are.

    Args:
        dataset: The images.
        num_tasks: Number of tasks, at least 1; the first is the identity.
        seed: Seed of the permutations, at least 0. It belongs to the benchmark, not to a run.
        eval_examples: At most this many test images per task, a fixed random subset (the same
            images in every task), or all.

    Returns:
        The stream; its labels are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is faulty.

    Example:
        >>> from gainjax.data import load_source
        >>> permuted(load_source("digits"), eval_examples=100).test_images.shape
        (3, 100, 8, 8, 1)

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056: Permuted MNIST. Their permutations are not known.
    """
    check_dataset(dataset)
    check_integer("num_tasks", num_tasks, 1)
    check_integer("seed", seed, 0)
    height, width = dataset.train_images.shape[1:3]
    rng = np.random.default_rng(seed)
    sources = [np.arange(height * width)]
    sources += [rng.permutation(height * width) for _ in range(num_tasks - 1)]
    return by_pixels(dataset, sources, eval_examples)


def rotated(
    dataset: ImageDataset,
    angles: Sequence[float] = (0, 80, 160),
    eval_examples: int | None = None,
) -> Stream:
    """Show all images in every task, each time rotated by another angle (domain-incremental).

    Raw pixels are rotated about the centre by Pillow, counter-clockwise, with the nearest
    neighbour; corners that come from outside the image are 0.

    Args:
        dataset: The images.
        angles: One angle per task, in degrees.
        eval_examples: At most this many test images per task, a fixed random subset (the same
            images in every task), or all.

    Returns:
        The stream; its labels are those of the data set.

    Raises:
        ValueError: If an argument is out of range, or the data set is faulty.

    Example:
        >>> from gainjax.data import load_source
        >>> stream = rotated(load_source("digits"), angles=(0, 90))
        >>> turned = np.rot90(stream.test_images[0], axes=(1, 2))
        >>> bool(np.array_equal(stream.test_images[1], turned))
        True

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056: Rotated MNIST.
    """
    check_dataset(dataset)
    if not (
        isinstance(angles, Sequence)
        and len(angles) > 0
        and all(isinstance(angle, numbers.Real) and math.isfinite(angle) for angle in angles)
    ):
        raise ValueError(f"angles must be one or more finite numbers, in degrees: got {angles!r}")
    height, width = dataset.train_images.shape[1:3]
    # Rotate the numbers of the pixels once, instead of every image. 0 stays for the outside.
    numbered = Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, -1))
    nearest = Image.Resampling.NEAREST
    sources = [np.asarray(numbered.rotate(angle, nearest)).ravel() - 1 for angle in angles]
    return by_pixels(dataset, sources, eval_examples)


def domain_cifar100(
    dataset: ImageDataset,
    protocol: Literal["authors", "domain-incremental"] = "authors",
    eval_examples: int | None = None,
) -> Stream:
    """Arrange CIFAR-100 by its superclasses, in either of two ways.

    ``"authors"``: three tasks, the five fine classes each of aquatic mammals, fish, and flowers,
    under their fine labels among 100 outputs. So, in spite of the name, class-incremental.

    ``"domain-incremental"``: five tasks, each with one new fine class (by rising fine label) of
    every superclass, under the 20 superclass labels.

    Args:
        dataset: CIFAR-100; the domain-incremental form needs its superclass labels.
        protocol: One of the two.
        eval_examples: At most this many test images per task, a fixed random subset, or all.

    Returns:
        The stream; a network for it needs 100 or 20 outputs.

    Raises:
        ValueError: If an argument is out of range, or the data set is faulty or not CIFAR-100.

    Example:
        >>> from gainjax.data import load_source
        >>> domain_cifar100(load_source("digits"))
        Traceback (most recent call last):
        ValueError: dataset must be CIFAR-100: digits has 10 classes, not 100

    Source:
        Rodriguez-Garcia et al., arXiv 2507.14056 v1: Domain CIFAR-100. Hess et al. 2023: the
        domain-incremental form.
    """
    check_dataset(dataset)
    if protocol not in ("authors", "domain-incremental"):
        raise ValueError(f"protocol must be 'authors' or 'domain-incremental': got {protocol!r}")
    if dataset.num_classes != 100:
        raise ValueError(
            f"dataset must be CIFAR-100: {dataset.name} has {dataset.num_classes} classes, not 100"
        )
    if protocol == "authors":
        return by_classes(dataset, _AUTHORS_CONTEXTS, eval_examples)
    if dataset.train_coarse is None or dataset.test_coarse is None:
        raise ValueError(
            f"{dataset.name} has no superclass labels, which the domain-incremental protocol "
            "needs: add y_train_coarse and y_test_coarse to the .npz file"
        )
    fine = np.concatenate([dataset.train_labels, dataset.test_labels])
    coarse = np.concatenate([dataset.train_coarse, dataset.test_coarse])
    pairs = np.unique(np.stack([coarse, fine]), axis=1)  # sorted by superclass, then fine label
    if not (
        np.array_equal(pairs[0], np.repeat(np.arange(20), 5)) and len(np.unique(pairs[1])) == 100
    ):
        raise ValueError(
            f"the superclass labels of {dataset.name} must divide its 100 classes into 20 "
            "superclasses of 5"
        )
    by_superclass = dataset._replace(
        train_labels=dataset.train_coarse, test_labels=dataset.test_coarse
    )
    return by_classes(dataset, pairs[1].reshape(20, 5).T.tolist(), eval_examples, by_superclass)
