"""Reading a data set in any supported format, detected from the path."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gainjax.data import prepared
from gainjax.data.dataset import Dataset, check_dataset
from gainjax.data.folders import has_class_folders, read_class_folders
from gainjax.data.idx import find_idx, read_idx
from gainjax.data.npz import read_npz
from gainjax.data.parquet import find_parquet, read_parquet
from gainjax.files import expanded


def read(path: str | os.PathLike[str]) -> Dataset:
    """Read a data set from a file or folder; the format is detected.

    ===================================================== ==========================================
    ``data.npz``                                          arrays ``x_train, y_train, x_test,
                                                          y_test``, of any shape and type
    ``train/CLASS/*.png``, ``test/CLASS/*.png``           images by class: PNG, JPEG or BMP of one
                                                          size, gray or color
    ``train-images-idx3-ubyte.gz``, ``train-labels-...``, IDX, compressed or not
    ``t10k-images-...``, ``t10k-labels-...``
    ``train-00000-of-00001.parquet``, ``test-...``        as the Hugging Face hub exports image
                                                          sets; needs ``gainjax[parquet]``
    ``dataset_info.json``, or a folder ``1.0.0`` with it  prepared TensorFlow Datasets, as
                                                          ``array_record``; TensorFlow is not needed
    ===================================================== ==========================================

    Without ``train`` and ``test``, class folders are divided: the first five sixths of each class,
    by file name, are used for training.

    Pixels (uint8) of shape (N, H, W) get a channel axis, and labels of shape (N, 1) lose their
    second axis; otherwise arrays are as they are in the file.

    Args:
        path: The file or folder.

    Returns:
        The data set; ``dataset[:4]`` are the arrays that scenarios take.

    Raises:
        FileNotFoundError: If nothing exists at that path.
        ValueError: If there is no such data set, there are several, or a file is damaged or not a
            regular file. The message names it. Nothing in a file is executed or read from
            elsewhere.
        ImportError: If pyarrow is needed but not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "table.npz"
        >>> x, y = np.eye(3), np.arange(3)
        >>> np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
        >>> read(path).x_train.shape
        (3, 3)
    """
    place = expanded(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder {place}")
    if place.is_dir():
        dataset = _read_folder(place)
    elif place.suffix == ".npz":
        dataset = Dataset(**read_npz(place), name=str(place))
    else:
        raise ValueError(
            f"{place} must be an .npz file, or a folder with images by class, IDX files, parquet "
            "files or prepared TensorFlow Datasets. For files in a folder, give the folder"
        )
    dataset = standard_shapes(dataset)
    try:
        check_dataset(dataset)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return dataset


def standard_shapes(dataset: Dataset) -> Dataset:
    """Return a data set with a channel axis for grayscale images and one axis for labels.

    Args:
        dataset: The data set, as read.

    Example:
        >>> x, y = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 1), int)
        >>> standard_shapes(Dataset(x, y, x, y)).x_test.shape
        (2, 8, 8, 1)
    """
    changed = {}
    for name, array in dataset._asdict().items():
        if name in ("x_train", "x_test") and array.ndim == 3 and array.dtype == np.uint8:
            changed[name] = array[..., None]
        column = name.startswith("y_") and array is not None and array.shape[1:] == (1,)
        if column and array.dtype.kind in "iubU":
            changed[name] = array[:, 0]
    return dataset._replace(**changed)


def _read_folder(folder: Path) -> Dataset:
    """Read the data set in a folder that holds one, in any format."""
    is_version = (folder / "dataset_info.json").exists()
    places: dict[str, tuple[Any, Callable[[Any], Dataset]]] = {
        "prepared TensorFlow Datasets": (
            folder if is_version else prepared.find_version(folder),
            prepared.read_prepared,
        ),
        "folders of images": (folder if has_class_folders(folder) else None, read_class_folders),
        "IDX files": (find_idx(folder), read_idx),
        "parquet files": (find_parquet(folder), read_parquet),
    }
    found = {kind: there for kind, there in places.items() if there[0] is not None}
    if len(found) > 1:  # the images may be samples, or the data set
        raise ValueError(
            f"{folder} must hold one data set: it holds {' and '.join(found)}. Move the others "
            "elsewhere"
        )
    for where, reader in found.values():
        return reader(where)
    inside = sorted(path.name for path in folder.iterdir())
    raise ValueError(
        f"{folder} holds no data set: it needs folders train and test with a folder of images for "
        "each class, IDX files, parquet files named train-... and test-..., or prepared TensorFlow "
        f"Datasets. It holds {', '.join(map(repr, inside[:5])) or 'nothing'}"
        f"{', ...' if len(inside) > 5 else ''}"
    )
