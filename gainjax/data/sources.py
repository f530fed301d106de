"""Image data sets as plain NumPy arrays: the embedded digits, and sets that the user has on disk.

A data set is looked for in this order: an ``.npz`` file in the Keras naming, a prepared TensorFlow
Datasets folder (read without TensorFlow), and at last a download, which needs TensorFlow. Whatever
the origin, the arrays pass the same checks before anything is trained on them.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gainjax.data import files, prepared


class ImageDataset(NamedTuple):
    """A classified set of images on the host.

    Args:
        name: Name for messages.
        train_images: uint8, shape (N, H, W, C).
        train_labels: Classes of the training images, int32, shape (N,), in [0, num_classes).
        test_images: As the training images.
        test_labels: As the training labels.
        num_classes: Number of classes; each has training and test images.
        max_value: Largest possible pixel: 255, for the digits 16.
        mean: Mean per channel of pixels divided by ``max_value``.
        std: Standard deviation per channel of pixels divided by ``max_value``.
        train_coarse: Superclasses of the training images (CIFAR-100), int32, shape (N,), or None.
        test_coarse: As the training superclasses.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    max_value: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_coarse: np.ndarray | None = None
    test_coarse: np.ndarray | None = None


class _Facts(NamedTuple):
    """What is known of a data set beforehand; `url` is a file that its download needs."""

    shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_value: float = 255.0
    has_coarse: bool = False
    url: str = ""


_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-{}-binary.tar.gz"
_FACTS = {
    # The mean and standard deviation of the digits are those of the training part made below.
    "digits": _Facts((8, 8, 1), 10, (0.3051,), (0.3762,), max_value=16.0),
    "mnist": _Facts(
        (28, 28, 1),
        10,
        (0.1307,),
        (0.3081,),
        url="https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz",
    ),
    "cifar10": _Facts(
        (32, 32, 3),
        10,
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        url=_CIFAR_URL.format(10),
    ),
    "cifar100": _Facts(
        (32, 32, 3),
        100,
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        has_coarse=True,
        url=_CIFAR_URL.format(100),
    ),
    # The customary statistics of ImageNet.
    "mini-imagenet": _Facts((84, 84, 3), 100, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
SOURCES = tuple(_FACTS)
"""Names that :func:`load_source` knows."""


def load_source(name: str, data_dir: str | os.PathLike[str] | None = None) -> ImageDataset:
    """Load an image data set by name, from the first place that has it.

    ``"digits"`` comes with scikit-learn: of each class, in the original order, every fifth image is
    a test image (1,442 + 355 images of 8×8 pixels). All others are looked for in this order:

    1. ``data_dir`` itself, if it is an ``.npz`` file, or ``data_dir/NAME.npz``. Keras naming:
       ``x_train, y_train, x_test, y_test``, and for CIFAR-100 optionally ``y_train_coarse,
       y_test_coarse``; images uint8 (N, H, W) or (N, H, W, C), integer labels (N,) or (N, 1).
    2. ``data_dir/NAME/VERSION``, a prepared TensorFlow Datasets folder in ``array_record`` format.
       It is read without TensorFlow.
    3. A download into ``data_dir``, with the extra ``gainjax[tf]`` and a network.

    ``"mini-imagenet"`` (84×84×3, 100 classes × 600) cannot be downloaded; instead of 2 and 3 it is
    read from ``data_dir/mini-imagenet`` or ``data_dir`` with one sub-folder of images per class, or
    with ``train`` and ``test`` that hold such sub-folders. Classes are numbered by sorted folder
    name. Without ``train`` and ``test`` the first five sixths of each class by sorted file name
    (500 of 600) are for training, the rest for testing.

    Args:
        name: One of ``SOURCES``.
        data_dir: Folder or ``.npz`` file; by default the folder ``$TFDS_DATA_DIR`` or else
            ``~/tensorflow_datasets``. The digits need none.

    Returns:
        The data set.

    Raises:
        ValueError: If the name is unknown, or a file is broken or does not hold such a data set.
        FileNotFoundError: If the data are not there and cannot be downloaded; this takes at most
            five seconds, and the message says what to do.
        RuntimeError: If a download was begun and failed.

    Example:
        >>> digits = load_source("digits")
        >>> digits.train_images.shape, digits.test_images.shape
        ((1442, 8, 8, 1), (355, 8, 8, 1))

    Source:
        Normalisation as in the experiments of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    if name not in _FACTS:
        near = difflib.get_close_matches(str(name).lower(), SOURCES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name must be one of {', '.join(SOURCES)}: got {name!r}.{hint}")
    facts = _FACTS[name]
    origin, arrays = ("scikit-learn", _digits()) if name == "digits" else _read(name, data_dir)
    try:
        return _assemble(name, facts, arrays)
    except ValueError as error:
        raise ValueError(f"{name} from {origin}: {error}") from None


def check_dataset(dataset: ImageDataset) -> None:
    """Raise if a data set cannot be trained on as it claims.

    Args:
        dataset: The data set.

    Raises:
        ValueError: If shapes, dtypes, lengths, label or pixel ranges do not fit together, or a
            class has no training or no test images. The message names the field.

    Example:
        >>> digits = load_source("digits")
        >>> check_dataset(digits._replace(num_classes=11))
        Traceback (most recent call last):
        ValueError: train_labels: no image of class 10
    """
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images")
        if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0:
            raise ValueError(
                f"{part}_images must be uint8 of shape (N, H, W, C) and not empty: got "
                f"{images.dtype} {images.shape}"
            )
        if images.max() > dataset.max_value:
            raise ValueError(
                f"{part}_images must be at most max_value = {dataset.max_value}: got {images.max()}"
            )
        labels = getattr(dataset, f"{part}_labels")
        _check_labels(f"{part}_labels", labels, len(images))
        counts = np.bincount(labels.astype(np.int64), minlength=dataset.num_classes)
        if len(counts) > dataset.num_classes:
            raise ValueError(
                f"{part}_labels must be in [0, {dataset.num_classes}): got {len(counts) - 1}"
            )
        if not counts.all():
            raise ValueError(f"{part}_labels: no image of class {int(np.argmin(counts))}")
        coarse = getattr(dataset, f"{part}_coarse")
        if coarse is not None:
            _check_labels(f"{part}_coarse", coarse, len(images))
    if dataset.train_images.shape[1:] != dataset.test_images.shape[1:]:
        raise ValueError(
            "training and test images must have one shape: got "
            f"{dataset.train_images.shape[1:]} and {dataset.test_images.shape[1:]}"
        )
    channels = dataset.train_images.shape[-1]
    if len(dataset.mean) != channels or len(dataset.std) != channels:
        raise ValueError(
            f"mean and std must have {channels} numbers, one per channel: got {dataset.mean} and "
            f"{dataset.std}"
        )
    if not (np.isfinite(dataset.mean).all() and np.isfinite(dataset.std).all()):
        raise ValueError(f"mean and std must be finite: got {dataset.mean} and {dataset.std}")
    if not (min(dataset.std) > 0 and dataset.max_value > 0):
        raise ValueError(
            f"std and max_value must be positive: got {dataset.std} and {dataset.max_value}"
        )
    if (dataset.train_coarse is None) != (dataset.test_coarse is None):
        raise ValueError("train_coarse and test_coarse must both be given, or neither")


def _check_labels(field: str, labels: np.ndarray, length: int) -> None:
    """Raise unless `labels` are `length` numbers that can count as classes."""
    if labels.shape != (length,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{field} must be {length} integers, one per image: got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    # No image set has a million classes; a larger number would only exhaust memory in a count.
    if labels.min() < 0 or labels.max() >= 1_000_000:
        raise ValueError(f"{field}: {labels.min()}..{labels.max()} is no range of classes")


def _digits() -> dict[str, np.ndarray]:
    """Return scikit-learn's 1,797 digits, every fifth image of each class as a test image."""
    from sklearn.datasets import load_digits  # a slow import, and only for this data set

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    test = np.zeros(len(labels), bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[4::5]] = True
    return {
        "x_train": images[~test],
        "y_train": labels[~test],
        "x_test": images[test],
        "y_test": labels[test],
    }


def _read(
    name: str, data_dir: str | os.PathLike[str] | None
) -> tuple[Path, Mapping[str, np.ndarray]]:
    """Return where a data set was found and its arrays in the Keras naming."""
    facts = _FACTS[name]
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = Path(default if data_dir is None else data_dir).expanduser()
    if root.suffix == ".npz":
        return root, files.read_npz(root, facts.has_coarse)
    if root.exists() and not root.is_dir():
        raise ValueError(f"data_dir must be a folder or an .npz file: got {root}")
    npz = root / f"{name}.npz"
    if npz.exists():
        return npz, files.read_npz(npz, facts.has_coarse)
    if name == "mini-imagenet":
        # Only a folder that the user names can itself be the data set.
        places = [root / name] if data_dir is None else [root / name, root]
        for place in places:
            if files.has_class_folders(place):
                return place, files.read_class_folders(place, facts.shape, facts.num_classes)
        raise FileNotFoundError(
            "mini-imagenet is not there, and there is no public download. Looked for "
            + ", ".join(str(place) for place in [npz, *places])
            + ". Set data_dir (--data-dir) to an .npz file with x_train, y_train, x_test, y_test "
            "or to a folder with one sub-folder of 84×84 images for each of the 100 classes."
        )
    folder = prepared.find_version(root / name) or prepared.download(name, root, facts.url)
    return folder, prepared.read_prepared(folder, facts.has_coarse)


def _assemble(name: str, facts: _Facts, arrays: Mapping[str, np.ndarray]) -> ImageDataset:
    """Bring arrays in the Keras naming to their standard shapes, and check them."""
    images = {}
    for key in ("x_train", "x_test"):
        image = arrays[key]
        if image.ndim == 3 and facts.shape[-1] == 1:
            image = image[..., None]
        if image.shape[1:] != facts.shape:
            raise ValueError(
                f"{key} must hold images of shape {facts.shape} (height, width, channels): got an "
                f"array of shape {arrays[key].shape}"
            )
        images[key] = image
    labels = {
        key: label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
        for key, label in arrays.items()
        if key.startswith("y_")
    }
    dataset = ImageDataset(
        name=name,
        train_images=images["x_train"],
        train_labels=labels["y_train"],
        test_images=images["x_test"],
        test_labels=labels["y_test"],
        num_classes=facts.num_classes,
        max_value=facts.max_value,
        mean=facts.mean,
        std=facts.std,
        train_coarse=labels.get("y_train_coarse"),
        test_coarse=labels.get("y_test_coarse"),
    )
    check_dataset(dataset)  # before the cast, which would wrap numbers that are too large
    fields = ("train_labels", "test_labels", "train_coarse", "test_coarse")
    given = {field: getattr(dataset, field) for field in fields}
    return dataset._replace(
        **{field: label.astype(np.int32) for field, label in given.items() if label is not None}
    )
