"""Sources: the places of a data set, the names of all, and what each must hold."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_files import keras_arrays, write_classes

from gainjax.data import SOURCES, load_source, npz
from gainjax.data.dataset import check_dataset
from gainjax.data.progress import show_progress

pytestmark = pytest.mark.usefixtures("no_data_elsewhere")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


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


# --- places and names


def test_default_folders(tmp_path, monkeypatch):
    home = tmp_path / "home" / "tensorflow_datasets"
    home.mkdir(parents=True)
    np.savez(home / "mnist.npz", **keras_arrays(train=30))
    assert len(load_source("mnist").x_train) == 30
    assert len(load_source("mnist", "~/tensorflow_datasets").x_train) == 30
    np.savez(tmp_path / "mnist.npz", **keras_arrays(train=40))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(load_source("mnist").x_train) == 40


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


@pytest.mark.exhaustive
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
