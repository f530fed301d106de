"""Prepared TensorFlow Datasets folders: found, read without TensorFlow, or created by a download.

``tensorflow_datasets`` is imported only when a folder is read, because that takes over a second.
Without a network it would retry a download for minutes, so reachability is checked first.
"""

import contextlib
import http.client
import importlib.util
import os
import re
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gainjax.data.dataset import Dataset
from gainjax.data.progress import show_progress
from gainjax.data.safe import check_claim, read_json
from gainjax.files import check_regular

_NETWORK_SECONDS = 3.0
_BATCH = 1_000
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")
_OWN_CLASS = r"tensorflow_datasets\.(core\.features|proto)(\.\w+)+"


def find_version(folder: Path) -> Path | None:
    """Find the newest prepared version of a data set that can be read without TensorFlow.

    Args:
        folder: The folder of the data set, whose sub-folders are named by version.

    Returns:
        The version's folder, or None if nothing has been prepared.

    Raises:
        ValueError: If a version is incomplete, or there are versions but none in the format
            ``array_record``.

    Example:
        >>> print(find_version(Path("no-such-folder")))
        None
    """
    if not folder.is_dir():
        return None
    versions = [sub for sub in folder.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", sub.name)]
    versions.sort(key=lambda sub: tuple(map(int, sub.name.split("."))), reverse=True)
    formats = {version: _formats(version) for version in versions}
    for version in versions:
        if "array_record" in formats[version]:
            return version
    if not versions:
        return None
    raise ValueError(
        f"{versions[0]} is prepared as {', '.join(formats[versions[0]])}, which only TensorFlow "
        "can read. Prepare it again as array_record: with gainjax[tf] installed, run "
        f"tfds.builder({folder.name!r}, data_dir=OTHER_FOLDER, file_format='array_record')"
        ".download_and_prepare(), and set data_dir (--data-dir) to OTHER_FOLDER."
    )


def _formats(version: Path) -> list[str]:
    """Return the file formats of a prepared version."""
    try:
        info = read_json(version / "dataset_info.json")
        # Old versions of tfds did not write the format: it was always tfrecord.
        return [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])]
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(version, error) from error


def _unreadable(version: Path, error: Exception) -> ValueError:
    """Return the error for a prepared folder that cannot be read."""
    reason = str(error).partition("\n")[0]
    return ValueError(
        f"{version} cannot be read ({type(error).__name__}: {reason}). If it is incomplete or "
        "damaged, delete it and copy or prepare it again."
    )


def read_prepared(version: Path) -> Dataset:
    """Read a prepared image data set with features ``image`` and ``label``.

    Args:
        version: Folder of one version, in the format ``array_record``.

    Returns:
        The data set, with superclasses if there is a feature ``coarse_label``.

    Raises:
        ValueError: If files are missing, truncated or of other content, if a description names code
            outside TensorFlow Datasets or files elsewhere, or if the images claim to need more
            memory than there is.

    Example:
        >>> read_prepared(Path("no-such-folder"))
        Traceback (most recent call last):
        ValueError: no-such-folder cannot be read ...
    """
    with _quiet():
        try:
            _check_files(version)
            import tensorflow_datasets as tfds

            builder = tfds.builder_from_directory(version)
            arrays: dict[str, np.ndarray] = {}
            for part in ("train", "test"):
                arrays |= _read_part(builder, part)
            label = builder.info.features["label"]
            named = not all(name.isdecimal() for name in label.names)
        except Exception as error:  # tfds, array_record and Pillow raise many kinds
            raise _unreadable(version, error) from error
    names = tuple(label.names) if named else None
    return Dataset(**arrays, name=str(version), class_names=names)


def _read_part(builder: Any, part: str) -> dict[str, np.ndarray]:
    """Return the images and labels of a part, "train" or "test"."""
    source = builder.as_data_source(part)
    features = builder.info.features
    image = features["image"]
    if image.np_dtype != np.uint8 or None in image.shape:
        raise ValueError(f"images must be uint8 of one shape: got {image.np_dtype} {image.shape}")
    check_claim(len(source) * int(np.prod(image.shape)))
    images = np.empty((len(source), *image.shape), np.uint8)
    coarse = ("coarse_label",) if "coarse_label" in features else ()
    labels = {key: np.empty(len(source), np.int64) for key in ("label", *coarse)}
    starts = range(0, len(source), _BATCH)
    title = f"Reading {builder.name} ({part})"
    for start in show_progress(starts, len(starts), title):
        # One call per batch: three times as fast as one per image.
        keys = range(start, min(start + _BATCH, len(source)))
        for i, example in zip(keys, source.__getitems__(list(keys)), strict=True):
            images[i] = example["image"]
            for key, label in labels.items():
                label[i] = example[key]
    arrays = {f"x_{part}": images, f"y_{part}": labels["label"]}
    return arrays | {f"y_{part}_coarse": labels[key] for key in coarse}


def _check_files(version: Path) -> None:
    """Raise unless a version is safe for tfds, which imports and opens what descriptions name."""
    for path in version.iterdir():
        if not path.is_dir():
            check_regular(path)
    info = read_json(version / "dataset_info.json")
    names = [info["name"], *(split["name"] for split in info["splits"])]
    names += [split.get("filepathTemplate", "") for split in info["splits"]]
    for name in names:
        if not isinstance(name, str) or "/" in name or os.sep in name or ".." in name:
            raise ValueError(f"dataset_info.json names files elsewhere: {name!r}")
    _check_features(read_json(version / "features.json"))


def _check_features(tree: Any) -> None:
    """Raise if a feature description names a class outside TensorFlow Datasets."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if "/" in key or os.sep in key or ".." in key:  # feature names become file names
            raise ValueError(f"features.json names files elsewhere: {key!r}")
        is_class = key in _CLASS_KEYS and isinstance(value, str)
        if is_class and not re.fullmatch(_OWN_CLASS, value):
            raise ValueError(
                f"features.json names the class {value!r}, whose module would be imported; only "
                "those of tensorflow_datasets.core.features are allowed"
            )
    for value in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        _check_features(value)


def download(name: str, root: Path, url: str) -> Path:
    """Download and prepare a data set with TensorFlow Datasets, which shows its progress.

    Whether this can succeed is checked first, within a few seconds.

    Args:
        name: Name of the data set in TensorFlow Datasets.
        root: Folder to put it in.
        url: An address that the download needs, to test the network.

    Returns:
        The folder of the prepared version.

    Raises:
        FileNotFoundError: If TensorFlow or the network is missing. The message says what to do.
        RuntimeError: If the download fails.

    Example:
        >>> download("mnist", Path("data"), url="http://localhost:1/nobody-answers-here")
        Traceback (most recent call last):
        FileNotFoundError: mnist is not there and cannot be downloaded: ...
    """
    if importlib.util.find_spec("tensorflow") is None:
        obstacle = "TensorFlow, which prepares it, is not installed"
    elif not _reachable(url):
        obstacle = f"the network does not reach {url}"
    else:
        obstacle = ""
    if obstacle:
        raise FileNotFoundError(
            f"{name} is not there and cannot be downloaded: {obstacle}.\n"
            f"Looked for {root / name}.npz\n"
            f"       and {root / name / 'VERSION'} (prepared by TensorFlow Datasets).\n"
            "Do one of these:\n"
            f"  * put {name}.npz with x_train, y_train, x_test, y_test there, or set data_dir "
            "(--data-dir) to such a file;\n"
            "  * set data_dir (--data-dir) or the environment variable TFDS_DATA_DIR to a folder "
            "of prepared data sets;\n"
            '  * pip install "gainjax[tf]" and run again where there is a network.'
        )
    with _quiet():
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=os.fspath(root), file_format="array_record")
            builder.download_and_prepare()
        except Exception as error:  # anything from a full disk to a changed checksum
            raise RuntimeError(f"download of {name} into {root} failed: {error}") from error
    return Path(builder.data_dir)


def _reachable(url: str) -> bool:
    """Tell within a few seconds whether an address answers (through a proxy if one is set)."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        with contextlib.suppress(OSError, http.client.HTTPException):
            urllib.request.urlopen(request, timeout=_NETWORK_SECONDS).close()
            answered.set()

    # A thread, because a host name lookup has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_SECONDS)
    return answered.is_set()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings and log messages of tfds below errors within this context."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
