"""Reader of image folders with one sub-folder per class."""

import re
from pathlib import Path

import numpy as np

from gainjax.data.dataset import Dataset
from gainjax.data.images import SUFFIXES, decode_images
from gainjax.files import open_regular

_OTHER_IMAGES = {
    ".avif", ".gif", ".heic", ".jfif", ".jp2", ".jpe", ".pbm", ".pgm", ".ppm", ".svg", ".tga",
    ".tif", ".tiff", ".webp",
}  # fmt: skip
_HIDDEN = (".", "__")  # folders, such as __MACOSX


def has_class_folders(folder: Path) -> bool:
    """Tell whether a folder looks like a data set with one sub-folder of images per class.

    Args:
        folder: Any path.

    Returns:
        True if a sub-folder holds an image, or there are sub-folders ``train`` and ``test`` that
        hold folders.

    Example:
        >>> has_class_folders(Path("no-such-folder"))
        False
    """
    if not folder.is_dir():
        return False
    parts = [folder / "train", folder / "test"]
    if all(part.is_dir() and _subfolders(part) for part in parts):
        return True
    return any(_images(sub) for sub in _subfolders(folder))


def read_class_folders(folder: Path, channels: int | None = None) -> Dataset:
    """Read images from one sub-folder per class, numbered by sorted folder name.

    Names that are numbers are sorted as such. Folders that begin with a dot or with two underscores
    are ignored.

    If there are sub-folders ``train`` and ``test``, these hold the classes. Otherwise the first
    five sixths of the images of each class, by sorted file name, are used for training.

    Args:
        folder: The folder. Its images are PNG, JPEG or BMP files of one size, once they are turned
            as their EXIF orientation says.
        channels: 1 or 3; None for 1 if all images are gray, else 3.

    Returns:
        The data set; images are uint8 of shape (N, H, W, C).

    Raises:
        ValueError: If classes or images are missing, an image is damaged, of another kind or
            differs in size from the first, or one would be left out: it is next to the folders of
            the classes, in a folder inside of one, or has no suffix.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (folder / name).mkdir()
        ...     for i in range(6):
        ...         Image.new("RGB", (4, 4)).save(folder / name / f"{i}.png")
        >>> dataset = read_class_folders(folder)
        >>> dataset.x_train.shape, dataset.y_test, dataset.class_names
        ((10, 4, 4, 3), array([0, 1]), ('cat', 'dog'))
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = _classes(folder / "train"), _classes(folder / "test")
        if train.keys() != test.keys():
            only = sorted(train.keys() ^ test.keys())
            raise ValueError(
                f"{folder}: train and test must hold the same classes, but {len(only)} are in one "
                f"only, e.g. {only[0]!r}. Merge a few-shot split by classes into one folder first"
            )
    else:
        train, test = _divided(folder)
    if not train:
        raise ValueError(f"{folder} must hold folders of images, one for each class: it holds none")
    parts = [[path for paths in part.values() for path in paths] for part in (train, test)]
    paths = [path for part in parts for path in part]
    images = decode_images([str(p) for p in paths], lambda i: open_regular(paths[i]), channels)
    labels = [
        np.repeat(np.arange(len(part)), [len(files) for files in part.values()])
        for part in (train, test)
    ]
    cut = len(parts[0])
    return Dataset(
        images[:cut], labels[0], images[cut:], labels[1], str(folder), class_names=tuple(train)
    )


def _divided(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the training and test files of each class, from one folder per class."""
    classes = _classes(folder)
    if alone := [name for name, paths in classes.items() if len(paths) < 2]:
        raise ValueError(
            f"{folder}: each class must have at least 2 images to be divided into training and "
            f"test: {alone[0]!r} has 1. Otherwise put the classes into two folders, train and test"
        )
    cut = {name: max(1, len(paths) * 5 // 6) for name, paths in classes.items()}
    return (
        {name: paths[: cut[name]] for name, paths in classes.items()},
        {name: paths[cut[name] :] for name, paths in classes.items()},
    )


def _subfolders(folder: Path) -> list[Path]:
    """Return the visible sub-folders by name, or by number if all names are numbers."""
    found = [x for x in folder.iterdir() if x.is_dir() and not x.name.startswith(_HIDDEN)]
    if all(re.fullmatch("[0-9]+", sub.name) for sub in found):
        return sorted(found, key=lambda sub: (int(sub.name), sub.name))
    return sorted(found)


def _images(folder: Path) -> list[Path]:
    """Return the visible image files of a folder by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of every class folder; none is empty, and no image is elsewhere."""
    classes = {sub.name: _images(sub) for sub in _subfolders(folder)}
    used = {path for paths in classes.values() for path in paths}
    for path in sorted(folder.rglob("*")):
        if path in used or not _may_be_image(path, folder):
            continue
        if path.suffix.lower() in SUFFIXES:
            raise ValueError(
                f"{path} must be in the folder of its class, directly in {folder}/CLASS, or it "
                "would silently be left out: move or remove it"
            )
        raise ValueError(
            f"{path} must be of a kind that is read ({', '.join(SUFFIXES)}), or it would silently "
            "be left out: convert, rename or remove it"
        )
    if empty := next((name for name, paths in classes.items() if not paths), None):
        raise ValueError(
            f"{folder / empty} holds no images ({', '.join(SUFFIXES)}): remove it or fill it"
        )
    return classes


def _may_be_image(path: Path, folder: Path) -> bool:
    """Tell whether a visible file could be an image: by its suffix or, below a class, without."""
    parts = path.relative_to(folder).parts
    kinds = {*SUFFIXES, *_OTHER_IMAGES, *([""] if len(parts) > 1 else [])}
    is_hidden = any(part.startswith(_HIDDEN) for part in parts[:-1]) or parts[-1].startswith(".")
    return path.suffix.lower() in kinds and not is_hidden and not path.is_dir()
