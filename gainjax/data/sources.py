"""Image data sets as plain NumPy arrays: the embedded digits, and sets on the user's disk.

A data set is searched for in this order: an ``.npz`` file with Keras array names, a prepared
TensorFlow Datasets folder (read without TensorFlow), and finally a download, which needs
TensorFlow. Arrays of any origin pass the same checks before training.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gainjax.checks import lookup
from gainjax.data import prepared
from gainjax.data.dataset import Dataset, check_dataset
from gainjax.data.folders import has_class_folders, read_class_folders
from gainjax.data.npz import read_npz
from gainjax.data.reading import standard_shapes
from gainjax.files import expanded


class _Facts(NamedTuple):
    """The known properties of a data set; `url` is a file that its download needs."""

    shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_value: float = 255.0
    has_coarse: bool = False
    url: str = ""


_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-{}-binary.tar.gz"
_FACTS = {
    # Mean and standard deviation of the digits are those of the training part made below.
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


def load_source(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load an image data set by name, from the first place that has it.

    ``"digits"`` comes with scikit-learn: of each class, in the original order, every fifth image is
    a test image (1,442 + 355 images of 8×8 pixels). All others are searched for in this order:

    1. ``data_dir`` itself, if it is an ``.npz`` file, or ``data_dir/NAME.npz``. Keras naming:
       ``x_train, y_train, x_test, y_test``, and for CIFAR-100 optionally ``y_train_coarse,
       y_test_coarse``; images uint8 (N, H, W) or (N, H, W, C), integer labels (N,) or (N, 1).
    2. ``data_dir/NAME/VERSION``, a prepared TensorFlow Datasets folder in ``array_record`` format.
       It is read without TensorFlow.
    3. A download into ``data_dir``, with the extra ``gainjax[tf]`` and a network.

    ``"mini-imagenet"`` (84×84×3, 100 classes × 600) cannot be downloaded; instead of 2 and 3 it is
    read from ``data_dir/mini-imagenet`` or ``data_dir`` with one sub-folder of images per class, or
    with ``train`` and ``test`` that hold such sub-folders. Classes are numbered by sorted folder
    name. Without ``train`` and ``test``, the first five sixths of each class by sorted file name
    (500 of 600) are used for training, the rest for testing.

    Args:
        name: One of ``SOURCES``.
        data_dir: Folder or ``.npz`` file; by default the folder ``$TFDS_DATA_DIR`` or else
            ``~/tensorflow_datasets``. The digits need none.

    Returns:
        The data set.

    Raises:
        ValueError: If the name is unknown, or a file is damaged or holds another data set.
        FileNotFoundError: If the data are missing and cannot be downloaded; this takes at most
            five seconds, and the message says what to do.
        RuntimeError: If a download failed.

    Example:
        >>> digits = load_source("digits")
        >>> digits.x_train.shape, digits.x_test.shape
        ((1442, 8, 8, 1), (355, 8, 8, 1))

    References:
        Normalization as in the experiments of Rodriguez-Garcia et al., arXiv 2507.14056.
    """
    lookup(_FACTS, "data set", name)
    origin, dataset = ("scikit-learn", _digits()) if name == "digits" else _read(name, data_dir)
    try:
        return _standard(name, dataset)
    except ValueError as error:
        raise ValueError(f"{name} from {origin}: {error}") from None


def _digits() -> Dataset:
    """Return scikit-learn's 1,797 digits, every fifth image of each class as a test image."""
    from sklearn.datasets import load_digits  # a slow import, and only for this data set

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    test = np.zeros(len(labels), bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[4::5]] = True
    return Dataset(images[~test], labels[~test], images[test], labels[test])


def _read(name: str, data_dir: str | os.PathLike[str] | None) -> tuple[Path, Dataset]:
    """Return where a data set was found, and the data set."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = expanded(default if data_dir is None else data_dir)
    if root.suffix == ".npz":
        return root, Dataset(**read_npz(root))
    if root.exists() and not root.is_dir():
        raise ValueError(f"data_dir must be a folder or an .npz file: got {root}")
    npz = root / f"{name}.npz"
    if npz.exists():
        return npz, Dataset(**read_npz(npz))
    if name == "mini-imagenet":
        # Only a folder that the user names can itself be the data set.
        places = [root / name] if data_dir is None else [root / name, root]
        for place in places:
            if has_class_folders(place):
                return place, read_class_folders(place, channels=3)
        raise FileNotFoundError(
            "mini-imagenet is not there, and there is no public download. Looked for "
            + ", ".join(str(place) for place in [npz, *places])
            + ". Set data_dir (--data-dir) to an .npz file with x_train, y_train, x_test, y_test "
            "or to a folder with one sub-folder of 84×84 images for each of the 100 classes."
        )
    url = _FACTS[name].url
    folder = prepared.find_version(root / name) or prepared.download(name, root, url)
    return folder, prepared.read_prepared(folder)


def _standard(name: str, dataset: Dataset) -> Dataset:
    """Return a known data set with its statistics, checked against its known properties."""
    facts = _FACTS[name]
    dataset = standard_shapes(dataset)
    for part in ("train", "test"):
        images = getattr(dataset, f"x_{part}")
        if images.dtype != np.uint8:
            raise ValueError(f"x_{part} must be uint8: got {images.dtype}")
        if images.shape[1:] != facts.shape:
            raise ValueError(
                f"x_{part} must hold images of shape {facts.shape} (height, width, channels): got "
                f"an array of shape {images.shape}"
            )
    check_dataset(dataset)
    coarse = ("y_train_coarse", "y_test_coarse") if facts.has_coarse else ()
    changed: dict[str, Any] = dict.fromkeys(("y_train_coarse", "y_test_coarse"))
    for field in ("y_train", "y_test", *coarse):
        labels = getattr(dataset, field)
        if labels is not None:
            _check_labels(field, labels, None if field in coarse else facts.num_classes)
            changed[field] = labels.astype(np.int32)
    mean, std = customary_statistics(name)
    return dataset._replace(name=name, mean=mean, std=std, **changed)


def customary_statistics(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel, in the units of the pixels.

    Args:
        name: Name of a data set that :func:`load_source` knows.

    Example:
        >>> print(customary_statistics("mnist")[0].round(2))
        [33.33]
    """
    facts = _FACTS[name]
    # Products of float32, as used by all runs of the benchmarks.
    scale = np.float32(facts.max_value)
    return np.array(facts.mean, np.float32) * scale, np.array(facts.std, np.float32) * scale


def _check_labels(field: str, labels: np.ndarray, num_classes: int | None) -> None:
    """Raise unless labels are classes, each with an image if the number of classes is known."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{field} must be integers, one per image: got {labels.dtype} of shape {labels.shape}"
        )
    most = 1_000 if num_classes is None else num_classes
    if labels.min() < 0 or labels.max() >= most:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{field} must be in [0, {most}): got {wrong}")
    if num_classes is not None:
        missing = np.flatnonzero(np.bincount(labels.astype(np.int64), minlength=num_classes) == 0)
        if missing.size:
            raise ValueError(f"{field}: no image of class {missing[0]}")
