"""Prepared TensorFlow Datasets folders: found, read without TensorFlow, or made by a download.

``tensorflow_datasets`` is imported only when a folder is read, because that takes over a second.
Left alone it would retry a download without a network for minutes; so we look before we leap.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import re
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gainjax.data.files import show_progress

_NETWORK_SECONDS = 3.0
_BATCH = 1_000


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
        info = json.loads((version / "dataset_info.json").read_text(encoding="utf-8"))
        # Old versions of tfds wrote no format: it was always tfrecord.
        return [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])]
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(version, error) from error


def _unreadable(version: Path, error: Exception) -> ValueError:
    """Return the error of a prepared folder that cannot be read."""
    reason = str(error).partition("\n")[0]
    return ValueError(
        f"{version} cannot be read ({type(error).__name__}: {reason}). If it is incomplete or "
        "damaged, delete it and copy or prepare it again."
    )


def read_prepared(version: Path, has_coarse: bool = False) -> dict[str, np.ndarray]:
    """Read a prepared image data set.

    Args:
        version: Folder of one version, in the format ``array_record``.
        has_coarse: Whether to read the feature ``coarse_label`` too.

    Returns:
        The arrays in the Keras naming: ``x_train``, ``y_train``, ``x_test``, ``y_test`` and, if
        asked for, ``y_train_coarse``, ``y_test_coarse``.

    Raises:
        ValueError: If files are missing, truncated or hold something else.

    Example:
        >>> read_prepared(Path("no-such-folder"))
        Traceback (most recent call last):
        ValueError: no-such-folder cannot be read ...
    """
    features = {"label": ""} | ({"coarse_label": "_coarse"} if has_coarse else {})
    with _quiet():
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder_from_directory(version)
            arrays = {}
            for part in ("train", "test"):
                source = builder.as_data_source(part)
                feature = builder.info.features["image"]
                if feature.np_dtype != np.uint8:
                    raise ValueError(f"images must be uint8: got {feature.np_dtype}")
                images = np.empty((len(source), *feature.shape), np.uint8)
                labels = {key: np.empty(len(source), np.int64) for key in features}
                starts = range(0, len(source), _BATCH)
                title = f"Reading {builder.name} ({part})"
                for start in show_progress(starts, len(starts), title):
                    # One call per batch: three times as fast as one per image.
                    keys = range(start, min(start + _BATCH, len(source)))
                    for i, example in zip(keys, source.__getitems__(list(keys)), strict=True):
                        images[i] = example["image"]
                        for key, label in labels.items():
                            label[i] = example[key]
                arrays[f"x_{part}"] = images
                for key, suffix in features.items():
                    arrays[f"y_{part}{suffix}"] = labels[key]
        except Exception as error:  # tfds, array_record and Pillow raise a great many kinds
            raise _unreadable(version, error) from error
    return arrays


def download(name: str, root: Path, url: str) -> Path:
    """Download and prepare a data set through TensorFlow Datasets, which shows its progress.

    Whether that can succeed is found out first, within a few seconds.

    Args:
        name: Name of the data set in TensorFlow Datasets.
        root: Folder to put it in.
        url: An address that the download needs, to see if the network is there.

    Returns:
        The folder of the prepared version.

    Raises:
        FileNotFoundError: If TensorFlow or the network is missing. The message says what to do.
        RuntimeError: If the download fails on the way.

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

    # A thread, because the look-up of a host name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_SECONDS)
    return answered.is_set()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings and log messages of tfds below errors, here only."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
