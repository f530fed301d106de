"""Sources: every place a data set may come from, and every way in which it may be wrong."""

import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import types
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gainjax.data import SOURCES, load_source, npz, prepared
from gainjax.data.dataset import check_dataset
from gainjax.data.folders import read_class_folders
from gainjax.data.progress import show_progress

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def keras_arrays(shape=(28, 28), classes=10, train=20, test=10, seed=0):
    """Random images of every class in the Keras naming."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (train, *shape), np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": rng.integers(0, 256, (test, *shape), np.uint8),
        "y_test": np.arange(test) % classes,
    }


@pytest.fixture(autouse=True)
def no_data_elsewhere(monkeypatch, tmp_path):
    """Neither the environment nor the home folder of the tester takes part."""
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def no_tensorflow(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def write_prepared(version, arrays, features, file_format="array_record"):
    """Write a TensorFlow Datasets folder as tfds would, but without TensorFlow."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    version.mkdir(parents=True)
    name, splits = version.parent.name, []
    for part in ("train", "test"):
        images = arrays[f"x_{part}"].reshape(len(arrays[f"x_{part}"]), 28, 28)
        file = version / f"{name}-{part}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for image, label in zip(images, arrays[f"y_{part}"], strict=True):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            example.features.feature[features[1]].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
        splits.append(
            {
                "name": part,
                "shardLengths": [str(len(images))],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    info = {"name": name, "version": version.name, "splits": splits, "fileFormat": file_format}
    (version / "dataset_info.json").write_text(json.dumps(info))
    module = "tensorflow_datasets.core.features"
    image_feature = {
        "pythonClassName": f"{module}.image_feature.Image",
        "image": {"dtype": "uint8", "shape": {"dimensions": ["28", "28", "1"]}},
    }
    label_feature = {
        "pythonClassName": f"{module}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "10"},
    }
    tree = {
        "pythonClassName": f"{module}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": image_feature, features[1]: label_feature}},
    }
    (version / "features.json").write_text(json.dumps(tree))


@pytest.fixture
def folder(tmp_path):
    """A small prepared MNIST folder, as (data_dir, version folder, arrays)."""
    arrays = keras_arrays(train=30)
    version = tmp_path / "tfds" / "mnist" / "3.0.1"
    write_prepared(version, arrays, ("image", "label"))
    return tmp_path / "tfds", version, arrays


# --- the embedded digits


def test_digits_are_split_by_class_and_always_alike():
    digits = load_source("digits")
    whole = np.bincount(digits.y_train) + np.bincount(digits.y_test)
    np.testing.assert_array_equal(whole, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(np.bincount(digits.y_test), whole // 5)
    assert digits.x_train.dtype == np.uint8
    assert digits.y_train.dtype == digits.y_test.dtype == np.int32
    assert digits.x_train.max() == 16
    again = load_source("digits", data_dir="a-folder-that-digits-do-not-need")
    np.testing.assert_array_equal(digits.x_train, again.x_train)


def test_digits_constants_are_those_of_the_training_part():
    digits = load_source("digits")
    assert digits.x_train.mean() == pytest.approx(digits.mean[0], abs=1e-3)
    assert digits.x_train.std() == pytest.approx(digits.std[0], abs=1e-3)


# --- npz files


@pytest.mark.parametrize("label_shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_npz_in_keras_naming(tmp_path, shape, label_shape):
    arrays = keras_arrays(shape)
    labels = {key: arrays[key].reshape(label_shape).astype(np.uint8) for key in npz.KEYS[1::2]}
    np.savez(tmp_path / "mnist.npz", **(arrays | labels))
    for data_dir in (tmp_path, str(tmp_path / "mnist.npz")):
        mnist = load_source("mnist", data_dir)
        np.testing.assert_array_equal(mnist.x_train[..., 0], arrays["x_train"].reshape(-1, 28, 28))
        np.testing.assert_array_equal(mnist.y_test, arrays["y_test"])
        assert mnist.x_train.shape == (20, 28, 28, 1)
        assert mnist.y_train.dtype == np.int32
        assert mnist.y_train_coarse is None
        np.testing.assert_allclose([mnist.mean, mnist.std], [[0.1307 * 255], [0.3081 * 255]])


def test_default_folders(tmp_path, monkeypatch):
    home = tmp_path / "home" / "tensorflow_datasets"
    home.mkdir(parents=True)
    np.savez(home / "mnist.npz", **keras_arrays(train=30))
    assert len(load_source("mnist").x_train) == 30
    assert len(load_source("mnist", "~/tensorflow_datasets").x_train) == 30
    np.savez(tmp_path / "mnist.npz", **keras_arrays(train=40))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(load_source("mnist").x_train) == 40


def test_cifar_keeps_colour_and_coarse_labels_are_optional(tmp_path):
    arrays = keras_arrays((32, 32, 3), 10)
    np.savez(tmp_path / "cifar10.npz", **arrays)
    np.testing.assert_array_equal(load_source("cifar10", tmp_path).x_test, arrays["x_test"])
    arrays = keras_arrays((32, 32, 3), 100, 100, 100)
    np.savez(tmp_path / "cifar100.npz", **arrays)
    assert load_source("cifar100", tmp_path).y_train_coarse is None
    coarse = {f"y_{part}_coarse": arrays[f"y_{part}"][:, None] // 5 for part in ("train", "test")}
    np.savez(tmp_path / "cifar100.npz", **arrays, **coarse)
    cifar100 = load_source("cifar100", tmp_path)
    np.testing.assert_array_equal(cifar100.y_train_coarse, cifar100.y_train // 5)
    assert cifar100.y_test_coarse.dtype == np.int32


BAD_ARRAYS = {
    "one row of pixels": ({"x_train": np.zeros((20, 784), np.uint8)}, "x_train must hold images"),
    "color": ({"x_test": np.zeros((10, 28, 28, 3), np.uint8)}, "x_test must hold images of shape"),
    "other size": ({"x_train": np.zeros((20, 32, 32), np.uint8)}, r"\(28, 28, 1\)"),
    "float images": ({"x_train": np.zeros((20, 28, 28))}, "x_train must be uint8: got float64"),
    "no images": ({"x_test": np.zeros((0, 28, 28), np.uint8)}, "x_test must hold examples"),
    "float labels": (
        {"y_train": np.arange(20) % 10 * 1.0},
        "y_train must (be integers|have a target)",
    ),
    "one-hot labels": (
        {"y_train": np.eye(20, 10, dtype=int)},
        "y_train must (be integers|have a target)",
    ),
    "scalar label": ({"y_test": np.int64(3)}, "y_test must have a target"),
    "too few labels": ({"y_train": np.arange(19) % 10}, "y_train must (be integers|have a target)"),
    "label 10": ({"y_test": np.arange(10) + 1}, r"y_test must be in \[0, 10\): got 10"),
    "negative label": ({"y_test": np.arange(10) - 1}, r"y_test must be in \[0, 10\): got -1"),
    "label of 64 bits": ({"y_test": np.arange(10) + 2**32}, r"y_test must be in \[0, 10\)"),
    "unsigned 64 bits": ({"y_test": np.full(10, 2**63, np.uint64)}, r"y_test must be in \[0, 10\)"),
    "empty class": ({"y_train": np.arange(20) % 9}, "y_train: no image of class 9"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_npz_with_wrong_arrays(tmp_path, case):
    changed, message = BAD_ARRAYS[case]
    np.savez(tmp_path / "mnist.npz", **(keras_arrays() | changed))
    with pytest.raises(ValueError, match=message) as caught:
        load_source("mnist", tmp_path)
    assert str(tmp_path / "mnist.npz") in str(caught.value)


def test_npz_with_wrong_coarse_labels(tmp_path):
    arrays = keras_arrays((32, 32, 3), 100, 100, 100)
    np.savez(tmp_path / "cifar100.npz", **arrays, y_train_coarse=arrays["y_train"] // 5)
    with pytest.raises(ValueError, match="must both be given, or neither"):
        load_source("cifar100", tmp_path)
    np.savez(tmp_path / "cifar100.npz", **arrays, y_train_coarse=[1, 2], y_test_coarse=[1, 2])
    with pytest.raises(
        ValueError, match="y_train_coarse must have a target for each of 100 examples"
    ):
        load_source("cifar100", tmp_path)


def test_npz_that_lacks_an_array_tells_what_it_holds(tmp_path):
    arrays = keras_arrays()
    np.savez(tmp_path / "mnist.npz", images=arrays["x_train"], y_train=arrays["y_train"])
    with pytest.raises(
        ValueError, match=r"no array x_train, x_test, y_test.*holds images, y_train"
    ):
        load_source("mnist", tmp_path)


FIRED = []


class Fuse:
    """Unpickling this calls `light`."""

    def __reduce__(self):
        return light, ()


def light():
    FIRED.append(1)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **(keras_arrays() | {"y_train": np.array([Fuse()], object)}))
    with pytest.raises(
        ValueError, match=r"mnist.npz cannot be read .*holds pickled Python objects"
    ):
        load_source("mnist", path)
    path.write_bytes(pickle.dumps(Fuse()))
    with pytest.raises(ValueError, match=r"is not an .npz file"):
        load_source("mnist", path)
    assert not FIRED
    pickle.loads(path.read_bytes())
    assert FIRED  # so it would have been noticed


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mnist.npz"):
        load_source("mnist", tmp_path / "mnist.npz")
    (tmp_path / "text.npz").write_text("x_train")
    with pytest.raises(ValueError, match=r"text.npz is not an .npz file"):
        load_source("mnist", tmp_path / "text.npz")
    (tmp_path / "mnist.h5").write_text("")
    with pytest.raises(ValueError, match=r"data_dir must be a folder or an .npz file: got .*h5"):
        load_source("mnist", tmp_path / "mnist.h5")


def npz_bytes():
    arrays = {key: np.arange(6, dtype=np.uint8).reshape(2, 3) for key in npz.KEYS}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return arrays, file.getvalue()


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_npz_raises_value_error_or_reads_the_truth(tmp_path, data):
    arrays, raw = npz_bytes()
    damaged = bytearray(raw[: data.draw(st.sampled_from([len(raw), len(raw) // 2, 40, 0]))])
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(damaged)
    try:
        read = npz.read_npz(path)
    except ValueError:
        return
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)


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


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("minst", "mnist"),
        ("MNIST", "mnist"),
        ("cifar-100", "cifar100"),
        ("miniimagenet", "mini-imagenet"),
    ],
)
def test_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        load_source(name)


def test_unknown_name_lists_all():
    with pytest.raises(ValueError, match="unknown data set 'qqq': Known: " + ", ".join(SOURCES)):
        load_source("qqq")


# --- mini-ImageNet


def write_classes(folder, counts, size=(84, 84), first=0):
    """Write one folder per class; the red channel of an image is its number in the class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(first, first + count):
            image = Image.new("RGB", size, (i % 256, i // 256, len(name)))
            image.save(folder / name / f"{i:04d}.png")
    return folder


HUNDRED = [f"n{i:08d}" for i in range(100)]


def test_mini_imagenet_from_npz(tmp_path):
    np.savez(tmp_path / "m.npz", **keras_arrays((84, 84, 3), 100, 200, 100))
    mini = load_source("mini-imagenet", tmp_path / "m.npz")
    assert mini.x_train.shape == (200, 84, 84, 3)
    assert len(mini.y_test) == 100
    np.savez(tmp_path / "m.npz", **keras_arrays((64, 64, 3), 100, 100, 100))
    with pytest.raises(ValueError, match=r"must hold images of shape \(84, 84, 3\)"):
        load_source("mini-imagenet", tmp_path / "m.npz")
    np.savez(tmp_path / "m.npz", **keras_arrays((84, 84, 3), 64, 64, 64))
    with pytest.raises(ValueError, match="y_train: no image of class 64"):
        load_source("mini-imagenet", tmp_path / "m.npz")


def test_mini_imagenet_from_one_folder(tmp_path):
    root = write_classes(tmp_path / "mini-imagenet", dict.fromkeys(reversed(HUNDRED), 6))
    (root / ".cache").mkdir()
    (root / "labels.csv").write_text("not an image")
    for data_dir in (tmp_path, root):
        mini = load_source("mini-imagenet", data_dir)
        np.testing.assert_array_equal(mini.y_train, np.repeat(np.arange(100), 5))
        np.testing.assert_array_equal(mini.y_test, np.arange(100))
        np.testing.assert_array_equal(mini.x_train[:, 0, 0, 0], np.tile(np.arange(5), 100))
        assert (mini.x_test[..., 0] == 5).all()


def test_six_hundred_images_are_divided_500_to_100_by_file_name(tmp_path):
    write_classes(tmp_path, {"b": 600, "a": 600}, size=(2, 2))
    arrays = read_class_folders(tmp_path)._asdict()
    number = lambda images: images[:, 0, 0].astype(int) @ [1, 256, 0]  # noqa: E731
    np.testing.assert_array_equal(number(arrays["x_train"]), np.tile(np.arange(500), 2))
    np.testing.assert_array_equal(number(arrays["x_test"]), np.tile(np.arange(500, 600), 2))
    np.testing.assert_array_equal(arrays["y_test"], np.repeat([0, 1], 100))


def test_train_and_test_folders(tmp_path):
    write_classes(tmp_path / "train", {"cat": 3, "dog": 4}, (2, 2))
    write_classes(tmp_path / "test", {"cat": 1, "dog": 2}, (2, 2), first=9)
    arrays = read_class_folders(tmp_path)._asdict()
    np.testing.assert_array_equal(arrays["y_train"], [0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(arrays["x_test"][:, 0, 0, 0], [9, 9, 10])


def test_gray_and_color_images_are_read_as_color(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (2, 2), 7).save(tmp_path / name / "0.png")
        Image.new("RGB", (2, 2), (7, 7, 7)).save(tmp_path / name / "1.JPEG")
    arrays = read_class_folders(tmp_path)._asdict()
    assert (arrays["x_train"] == 7).all()
    assert arrays["x_test"].shape == (2, 2, 2, 3)


def few_shot(root):
    write_classes(root / "train", {"a": 2}, (2, 2))
    write_classes(root / "test", {"b": 2}, (2, 2))


def broken(root):
    write_classes(root, {"a": 2, "b": 2}, (2, 2))
    path = root / "b" / "0001.png"
    path.write_bytes(path.read_bytes()[:-25])


def two_sizes(root):
    write_classes(root, {"a": 2}, (3, 2))
    write_classes(root, {"b": 2}, (2, 2))


def with_empty_class(root):
    write_classes(root, {"a": 2, "b": 0}, (2, 2))


BAD_FOLDERS = {
    "wrong size": (two_sizes, "b/0000.png must be 3×2 pixels, as .*a/0000.png is: got 2×2"),
    "no class": (lambda r: (r / "train").mkdir(), "holds no images"),
    "single images": (lambda r: write_classes(r, {"a": 1, "b": 1}, (2, 2)), "at least 2"),
    "empty class": (with_empty_class, "b holds no images"),
    "few-shot": (few_shot, "same classes, but 2 are in one only, e.g. 'a'.*few-shot"),
    "broken image": (broken, "0001.png cannot be read as an image"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_wrong_class_folders(tmp_path, case):
    make, message = BAD_FOLDERS[case]
    make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_class_folders(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_missing_mini_imagenet(tmp_path):
    (tmp_path / "mnist").mkdir()
    for data_dir in (None, tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match=r"mini-imagenet is not there.*--data-dir"):
            load_source("mini-imagenet", data_dir)


# --- checks of hand-made data sets


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_test": np.zeros((355, 9, 9, 1), np.uint8)}, "one shape and type"),
        ({"x_test": np.zeros((355, 8, 8, 1))}, "one shape and type"),
        ({"x_train": np.zeros((0, 8, 8, 1), np.uint8)}, "x_train must hold examples"),
        ({"y_test": np.zeros(3, int)}, "y_test must have a target for each of 355 examples"),
        ({"y_test_coarse": np.zeros(355, int)}, "must both be given, or neither"),
    ],
)
def test_check_dataset(changed, message):
    digits = load_source("digits")
    check_dataset(digits)
    with pytest.raises(ValueError, match=message):
        check_dataset(digits._replace(**changed))


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    assert list(show_progress("abc", 3, "Reading")) == list("abc")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert list(show_progress(iter("abc"), 3, "Reading letters")) == list("abc")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Reading letters" in err


# --- real data, and the cost of an import


@pytest.mark.slow
@has_shared
def test_real_mnist_is_the_same_from_folder_and_npz(tmp_path):
    spec = importlib.util.spec_from_file_location("packed", SHARED / "packed.py")
    packed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packed)
    arrays = packed.load(SHARED / "mnist.npz")
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(tmp_path / "mnist.npz", **dict(zip(npz.KEYS, map(arrays.get, names), strict=True)))
    keras, tfds = load_source("mnist", tmp_path), load_source("mnist", SHARED / "tfds")
    hashing = np.random.default_rng(0).normal(size=785)
    for part, size in (("train", 60_000), ("test", 10_000)):
        hashes = []
        for mnist in (keras, tfds):  # the two may differ in order
            images, labels = getattr(mnist, f"x_{part}"), getattr(mnist, f"y_{part}")
            assert images.shape == (size, 28, 28, 1)
            flat = np.concatenate([images.reshape(size, -1), labels[:, None]], axis=1)
            hashes.append(np.sort(flat @ hashing))
        np.testing.assert_allclose(*hashes, rtol=0, atol=1e-9)
    assert keras.x_train.mean() == pytest.approx(keras.mean[0], abs=0.013)
    assert keras.x_train.std() == pytest.approx(keras.std[0], abs=0.013)


def test_import_leaves_slow_modules_alone():
    code = (
        "import sys, gainjax.data\n"
        "slow = {'tensorflow', 'tensorflow_datasets', 'sklearn', 'array_record', 'rich'}\n"
        "slow.add('pyarrow')\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
