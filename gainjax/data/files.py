"""Readers of the user's own files: an ``.npz`` in the Keras naming, or one folder per class.

Both return arrays under the names ``x_train, y_train, x_test, y_test``; what the arrays must look
like is checked in one place, :mod:`gainjax.data.sources`.
"""

import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

KEYS = ("x_train", "y_train", "x_test", "y_test")
COARSE_KEYS = ("y_train_coarse", "y_test_coarse")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
_T = TypeVar("_T")
# What NumPy and the standard library raise for a damaged, encrypted or pickled archive.
_BROKEN = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def show_progress(items: Iterable[_T], total: int, title: str) -> Iterable[_T]:
    """Pass items on and show a bar on standard error, if that is a terminal.

    Args:
        items: What to iterate over.
        total: Number of items, at least 0.
        title: Text before the bar.

    Returns:
        The same items.

    Example:
        >>> list(show_progress("ab", 2, "Reading"))
        ['a', 'b']
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, title, total, console=Console(stderr=True), transient=True)


def read_npz(path: Path, has_coarse: bool = False) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file in the Keras naming.

    Args:
        path: The file.
        has_coarse: Whether to read the optional ``y_train_coarse`` and ``y_test_coarse`` too.

    Returns:
        The arrays under ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as they are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ``.npz`` file, is truncated, needs pickle, or lacks an array.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.npz"
        >>> np.savez(path, **{key: np.arange(3) for key in KEYS})
        >>> read_npz(path)["y_test"]
        array([0, 1, 2])
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or it is truncated")
    try:
        # Object arrays would run code of whoever wrote the file: never. We open the file ourselves
        # because NumPy forgets to close one that turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            missing = [key for key in KEYS if key not in npz.files]
            if missing:
                raise ValueError(
                    f"no array {', '.join(missing)}; it needs {', '.join(KEYS)} and holds "
                    f"{', '.join(npz.files) or 'nothing'}"
                )
            keys = [*KEYS, *(key for key in COARSE_KEYS if has_coarse and key in npz.files)]
            return {key: npz[key] for key in keys}
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as image data: {error}") from error


def has_class_folders(folder: Path) -> bool:
    """Tell whether a folder looks like a data set with one sub-folder of images per class.

    Args:
        folder: Any path.

    Returns:
        True if a sub-folder holds an image, or there are sub-folders ``train`` and ``test``.

    Example:
        >>> has_class_folders(Path("no-such-folder"))
        False
    """
    if not folder.is_dir():
        return False
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return True
    return any(_images(sub) for sub in _subfolders(folder))


def read_class_folders(
    folder: Path, shape: tuple[int, int, int], num_classes: int
) -> dict[str, np.ndarray]:
    """Read images from one sub-folder per class, numbered by sorted folder name.

    With ``train`` and ``test`` inside, these hold the classes. Otherwise all classes must have the
    same number of images, and the first five sixths of each by sorted file name are for training.

    Args:
        folder: The folder.
        shape: Height, width and channels that every image must have; 3 channels (RGB).
        num_classes: Number of classes that must be there.

    Returns:
        The arrays under ``x_train``, ``y_train``, ``x_test`` and ``y_test``; images are uint8.

    Raises:
        ValueError: If classes or images are missing, or an image is broken or has a wrong size.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (folder / name).mkdir()
        ...     for i in range(6):
        ...         Image.new("RGB", (4, 4)).save(folder / name / f"{i}.png")
        >>> arrays = read_class_folders(folder, (4, 4, 3), 2)
        >>> arrays["x_train"].shape, arrays["y_test"]
        ((10, 4, 4, 3), array([0, 1]))
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = _classes(folder / "train"), _classes(folder / "test")
        if train.keys() != test.keys():
            only = sorted(train.keys() ^ test.keys())
            raise ValueError(
                f"{folder}: train and test must hold the same classes, but {len(only)} are in one "
                f"only, e.g. {only[0]!r}. A few-shot division by classes must be put together into "
                "one folder first."
            )
    else:
        classes = _classes(folder)
        sizes = {len(paths) for paths in classes.values()}
        if len(sizes) > 1 or sizes == {1}:
            name = min(classes, key=lambda name: len(classes[name]))
            raise ValueError(
                f"{folder}: all classes must have the same number of images, at least 2, to be "
                f"divided into training and test: got {min(sizes)} for {name!r}, up to {max(sizes)}"
            )
        cut = {name: max(1, len(paths) * 5 // 6) for name, paths in classes.items()}
        train = {name: paths[: cut[name]] for name, paths in classes.items()}
        test = {name: paths[cut[name] :] for name, paths in classes.items()}
    if len(train) != num_classes:
        raise ValueError(
            f"{folder} must have {num_classes} class folders with images: got {len(train)}"
        )
    arrays = {}
    for part, classes in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = _decode([path for paths in classes.values() for path in paths], shape)
        arrays[f"y_{part}"] = np.repeat(
            np.arange(num_classes), [len(paths) for paths in classes.values()]
        )
    return arrays


def _subfolders(folder: Path) -> list[Path]:
    """Return the visible sub-folders by name."""
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] not in "._")


def _images(folder: Path) -> list[Path]:
    """Return the visible image files of a folder by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of every class folder; an empty class is an error."""
    classes = {sub.name: _images(sub) for sub in _subfolders(folder)}
    for name, paths in classes.items():
        if not paths:
            raise ValueError(
                f"{folder / name} holds no images ({', '.join(sorted(_SUFFIXES))}): remove it or "
                "fill it"
            )
    return classes


def _decode(paths: Sequence[Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Return the images of `paths` as one array."""
    height, width, _ = shape

    def read(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                size, pixels = image.size, np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
        if size != (width, height):
            raise ValueError(
                f"{path} must be {width}×{height} pixels: got {size[0]}×{size[1]}. Resize the "
                "images first."
            )
        return pixels

    images = np.empty((len(paths), *shape), np.uint8)
    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter
        decoded = show_progress(pool.map(read, paths), len(paths), "Reading images")
        for i, pixels in enumerate(decoded):
            images[i] = pixels
    return images
