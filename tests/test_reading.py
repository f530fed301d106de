"""What becomes of whatever is given to be read: links, pipes, folders and damaged files."""

import gzip
import os

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_files import (
    assert_same,
    class_folders,
    gray,
    idx_bytes,
    keras_arrays,
    write_classes,
    write_idx,
    write_parquet,
    write_prepared,
)

from gainjax.data import load_source, npz, read
from gainjax.data.idx import read_idx_file

FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


# --- what is no regular file


def make_pipe(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [make_pipe, make_device])
def test_pipes_and_devices_are_refused_at_once(tmp_path, make):
    make(tmp_path / "mnist.npz")
    for attempt in (
        lambda: read(tmp_path / "mnist.npz"),
        lambda: load_source("mnist", tmp_path),
        lambda: load_source("mnist", tmp_path / "mnist.npz"),
    ):
        with pytest.raises(ValueError, match=r"mnist.npz must be a file: it is a (named pipe|dev)"):
            attempt()
    images = write_classes(tmp_path / "images", {"a": 2, "b": 1}, (2, 2))
    make(images / "b" / "x.png")
    with pytest.raises(ValueError, match=r"x.png .*must be a file: it is a (named pipe|device)"):
        read(images)
    idx = write_idx(tmp_path / "idx")
    (idx / "t10k-labels-idx1-ubyte").unlink()
    make(idx / "t10k-labels-idx1-ubyte")
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte must be a file"):
        read(idx)
    for name in ("dataset_info.json", "features.json", "mnist-x.array_record", "l.labels.txt"):
        version = tmp_path / name / "mnist" / "1.0.0"
        write_prepared(version, keras_arrays(), ("image", "label"))
        (version / name).unlink(missing_ok=True)
        make(version / name)
        with pytest.raises(ValueError, match=rf"{name} must be a file"):
            read(version.parent)


def test_folders_in_place_of_files(tmp_path):
    make_folder(tmp_path / "train-images-idx3-ubyte")
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="train-images-idx3-ubyte must be a file: it is a folder"):
        read(tmp_path)
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(ValueError, match="must be a file: it is a folder"):
        npz.read_npz(tmp_path / "x.npz")


def test_nothing_there_and_nothing_known(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no data set: .* It holds nothing"):
        read(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"It holds 'notes.txt'$"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"notes.txt must be an .npz file, or a folder"):
        read(tmp_path / "notes.txt")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((ValueError, FileNotFoundError), match="loop"):
        read(tmp_path / "loop")


def test_pictures_next_to_files_of_another_format(tmp_path):
    """Neither is taken for the data set: the pictures may be samples, or the data."""
    write_idx(tmp_path / "idx")
    for part in ("train", "test"):
        write_parquet(tmp_path / "hub" / "data" / f"{part}-0.parquet", gray(2), [0, 1])
    for name, kind in (("idx", "IDX files"), ("hub", "parquet files")):
        class_folders(tmp_path / name, ["preview"])
        with pytest.raises(ValueError, match=f"{name} must hold one data set.*images and {kind}"):
            read(tmp_path / name)


# --- any damage at all


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """One small data set in each form of a single file that matters, with what it holds."""
    root = tmp_path_factory.mktemp("samples")
    arrays = {
        "x_train": gray(3),
        "y_train": np.arange(3),
        "x_test": gray(2),
        "y_test": np.arange(2),
    }
    np.savez(root / "plain.npz", **arrays)
    np.savez_compressed(root / "packed.npz", **arrays)
    (root / "idx").write_bytes(idx_bytes(gray(3)[..., 0]))
    (root / "idx.gz").write_bytes(gzip.compress(idx_bytes(gray(3)[..., 0])))
    return {path.name: path.read_bytes() for path in root.iterdir()}


@settings(max_examples=examples(300), **FUZZ)
@given(data=st.data())
def test_damaged_files_are_refused_or_change_pixels_at_most(samples, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(samples)))
    raw = bytearray(samples[name])
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(raw)
    try:
        if "npz" in name:
            assert_same(read(path), {"x_train": gray(3), "y_test": np.arange(2)})
        else:  # has no checksum, except when compressed
            found = read_idx_file(path)
            assert found.size * found.itemsize == gray(3).size
            assert name != "idx.gz" or np.array_equal(found, gray(3)[..., 0])
    except ValueError:
        return
