"""Prepared folders of TensorFlow Datasets, read without TensorFlow, and their download."""

import importlib.util
import io
import os
import sys
import threading
import types
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from made_files import keras_arrays, write_prepared

from gainjax.data import load_source, prepared

pytestmark = pytest.mark.usefixtures("no_data_elsewhere")


@pytest.fixture
def no_tensorflow(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def folder(tmp_path):
    """A small prepared MNIST folder, as (data_dir, version folder, arrays)."""
    arrays = keras_arrays(train=30)
    version = tmp_path / "tfds" / "mnist" / "3.0.1"
    write_prepared(version, arrays, ("image", "label"))
    return tmp_path / "tfds", version, arrays


# --- prepared TensorFlow Datasets folders


def test_prepared_folder_is_read_quietly_without_tensorflow(folder, capfd, caplog):
    from absl import logging

    data_dir, _, arrays = folder
    verbosity = logging.get_verbosity()
    mnist = load_source("mnist", data_dir)
    np.testing.assert_array_equal(mnist.x_train[..., 0], arrays["x_train"])
    np.testing.assert_array_equal(mnist.y_train, arrays["y_train"])
    np.testing.assert_array_equal(mnist.x_test[..., 0], arrays["x_test"])
    np.testing.assert_array_equal(mnist.y_test, arrays["y_test"])
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.get_verbosity() == verbosity


def test_npz_comes_before_folder_and_newest_readable_version_wins(folder):
    data_dir, version, _ = folder
    newer = keras_arrays(train=50)
    write_prepared(version.with_name("3.0.10"), newer, ("image", "label"))
    write_prepared(version.with_name("4.0.0"), newer, ("image", "label"), "tfrecord")
    version.with_name("9.9.9.incompleteABC").mkdir()
    assert prepared.find_version(version.parent).name == "3.0.10"
    assert len(load_source("mnist", data_dir).x_train) == 50
    np.savez(data_dir / "mnist.npz", **keras_arrays(train=20))
    assert len(load_source("mnist", data_dir).x_train) == 20


def test_other_format_says_how_to_prepare_again(tmp_path):
    version = tmp_path / "mnist" / "3.0.1"
    write_prepared(version, keras_arrays(), ("image", "label"), "tfrecord")
    with pytest.raises(ValueError, match=r"prepared as tfrecord.*file_format='array_record'"):
        load_source("mnist", tmp_path)
    (version / "dataset_info.json").write_text("{}")  # very old ones do not even name a format
    with pytest.raises(ValueError, match="prepared as tfrecord"):
        load_source("mnist", tmp_path)


def shard(version, part):
    return version / f"mnist-{part}.array_record-00000-of-00001"


def truncate(version):
    os.truncate(shard(version, "train"), shard(version, "train").stat().st_size // 2)


def damage(version):
    size = shard(version, "test").stat().st_size
    shard(version, "test").write_bytes(bytes(size))


DAMAGES = {
    "no description": lambda version: (version / "dataset_info.json").unlink(),
    "cut description": lambda version: (version / "dataset_info.json").write_text('{"name": "m'),
    "strange description": lambda version: (version / "dataset_info.json").write_text("[1]"),
    "no features": lambda version: (version / "features.json").unlink(),
    "no shard": lambda version: shard(version, "test").unlink(),
    "empty shard": lambda version: os.truncate(shard(version, "test"), 0),
    "cut shard": truncate,
    "zeroed shard": damage,
}


@pytest.mark.parametrize("case", DAMAGES)
def test_truncated_folder(folder, case):
    data_dir, version, _ = folder
    DAMAGES[case](version)
    with pytest.raises(ValueError, match=r"3.0.1 cannot be read .*prepare it again"):
        load_source("mnist", data_dir)


def test_folder_that_holds_something_else(tmp_path):
    write_prepared(tmp_path / "a" / "mnist" / "1.0.0", keras_arrays(), ("image", "digit"))
    with pytest.raises(ValueError, match="KeyError: 'label'"):
        load_source("mnist", tmp_path / "a")
    write_prepared(tmp_path / "b" / "cifar10" / "1.0.0", keras_arrays(), ("image", "label"))
    with pytest.raises(ValueError, match=r"must hold images of shape \(32, 32, 3\)"):
        load_source("cifar10", tmp_path / "b")
    arrays = keras_arrays() | {"y_test": np.arange(10) // 2}
    write_prepared(tmp_path / "c" / "mnist" / "1.0.0", arrays, ("image", "label"))
    with pytest.raises(ValueError, match="y_test: no image of class 5"):
        load_source("mnist", tmp_path / "c")


# --- not there, and downloads


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_missing_without_tensorflow_says_where_it_looked_and_what_to_do(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        load_source(name, tmp_path)
    for text in (
        str(tmp_path / f"{name}.npz"),
        str(tmp_path / name / "VERSION"),
        "TensorFlow, which prepares it, is not installed",
        "--data-dir",
        "TFDS_DATA_DIR",
        'pip install "gainjax[tf]"',
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize("network", ["hangs", "refuses"])
def test_missing_without_network_fails_before_tfds_is_asked(tmp_path, monkeypatch, network):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(prepared, "_NETWORK_SECONDS", 0.05)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # an import would raise
    end = threading.Event()

    def urlopen(request, timeout):
        assert request.get_method() == "HEAD"
        if network == "hangs":
            end.wait()
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    try:
        with pytest.raises(FileNotFoundError, match="network does not reach https://"):
            load_source("mnist", tmp_path)
    finally:
        end.set()


class FakeTfds:
    """Stands in for tensorflow_datasets: its download writes a prepared folder, or fails."""

    def __init__(self, real, error=None):
        self.real, self.error = real, error

    def builder(self, name, data_dir, file_format):
        assert file_format == "array_record"
        version = Path(data_dir) / name / "3.0.1"

        def download_and_prepare():
            if self.error:
                raise self.error
            write_prepared(version, keras_arrays(train=60), ("image", "label"))

        return types.SimpleNamespace(data_dir=version, download_and_prepare=download_and_prepare)

    def builder_from_directory(self, path):
        return self.real.builder_from_directory(path)


def test_download(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", FakeTfds(tfds, OSError("disk full")))
    with pytest.raises(RuntimeError, match=r"download of mnist into .* failed: disk full"):
        load_source("mnist", tmp_path / "new")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", FakeTfds(tfds))
    assert len(load_source("mnist", tmp_path / "new").x_train) == 60
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)
    assert len(load_source("mnist", tmp_path / "new").x_train) == 60
