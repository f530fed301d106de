""".npz files: what is read, and what is refused because it is damaged or means harm."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_files import assert_same, keras_arrays

import gainjax
from gainjax.data import class_incremental, load_source, npz, read, safe

pytestmark = pytest.mark.usefixtures("no_data_elsewhere")

KEYS = ("x_train", "y_train", "x_test", "y_test")


# --- data sets by name


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


# --- anything in a file


def test_npz_of_anything(tmp_path):
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(6, 20)), rng.integers(0, 9, (6, 7)), rng.normal(size=(6, 3, 2))):
        arrays = {"x_train": x, "y_train": rng.normal(size=6), "x_test": x[:2], "y_test": x[:2, 0]}
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
        assert_same(read(tmp_path / "mine.npz"), arrays)


def test_npz_gets_the_axes_of_images_and_loses_those_of_labels(tmp_path):
    arrays = keras_arrays()
    np.savez(tmp_path / "a.npz", **(arrays | {"y_train": arrays["y_train"][:, None]}))
    dataset = read(str(tmp_path / "a.npz"))
    assert dataset.x_train.shape == (20, 28, 28, 1)
    assert dataset.y_train.shape == (20,)
    stream = class_incremental(*dataset[:4], tasks=[[7, 1, 3], [9, 0], [2]])
    assert len(stream.task_end) == 3


def test_fortran_order_and_other_byte_order(tmp_path):
    x = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    arrays = {"x_train": x, "y_train": np.arange(4, dtype=">i8"), "x_test": x, "y_test": x[:, 0]}
    np.savez(tmp_path / "a.npz", **arrays)
    assert_same(read(tmp_path / "a.npz"), arrays)


def npy(descr="'|u1'", shape="(3,)", data=b"123", version=b"\x01\x00"):
    """The bytes of an .npy file with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


BAD_MEMBERS = {
    "claims 100 GB": (npy(shape="(100000000000,)"), "does not match its size"),
    "negative": (npy(shape="(-3,)"), "does not match its size"),
    "overflowing": (npy(shape="(18446744073709551619,)"), "does not match its size"),
    "too long": (npy(data=b"1234"), "does not match its size"),
    "too short": (npy(data=b"12"), "does not match its size"),
    "objects": (npy("'|O'", data=b"x" * 24), "holds pickled Python objects"),
    "hidden objects": (npy("[('a', '|O')]", data=b"x" * 24), "holds pickled Python objects"),
    "no numpy": (b"hello, world", "magic"),
    "version": (npy(version=b"\x09\x00"), r"unknown format \(9, 0\)"),
    "code": (npy("__import__('os').system('false')"), "cannot be read as a data set: malformed"),
    "deep": (npy("(" * 5000 + ")" * 5000), "cannot be read as a data set"),
    "65 axes": (npy(shape=str((1,) * 64 + (3,))), "cannot be read as a data set"),
    "empty": (b"", "cannot be read as a data set"),
    "structure": (npy("[('a', '|u1')]"), "cannot be read|must be"),
    "texts": (npy("'<U1'", data=b"a\0\0\0" * 3), None),
}


@pytest.mark.parametrize("case", BAD_MEMBERS)
def test_npz_with_an_evil_member(tmp_path, case):
    raw, message = BAD_MEMBERS[case]
    path = tmp_path / "evil.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in KEYS:
            archive.writestr(f"{key}.npy", raw)
    if message is None or case == "structure":  # can be read, but not trained on
        with pytest.raises(TypeError, match="must be real numbers"):
            class_incremental(*read(path)[:4], tasks=[[0]])
        return
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_npz_that_unpacks_to_more_than_memory(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    zeros = np.zeros((2000, 1000), np.uint8)
    np.savez_compressed(path, x_train=zeros, y_train=zeros, x_test=zeros, y_test=zeros)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(safe, "memory_bytes", lambda: 7_000_000)
    with pytest.raises(ValueError, match=r"bomb.npz .*claim to need 0.008 GB.* has 0.007 GB"):
        read(path)


def test_npz_whose_archive_lies_about_sizes(tmp_path):
    """The central directory says 100 GB, or less than there is."""
    path = tmp_path / "lie.npz"
    np.savez(path, **dict.fromkeys(KEYS, np.arange(100)))
    raw = path.read_bytes()
    size = struct.pack("<I", zipfile.ZipFile(path).infolist()[0].file_size)
    for lie in (struct.pack("<I", 2**32 - 2), struct.pack("<I", 500)):
        path.write_bytes(raw.replace(size, lie))
        with pytest.raises(ValueError, match=r"lie.npz (cannot be read|is not an .npz file)"):
            read(path)


def test_npz_with_an_array_twice(tmp_path):
    path = tmp_path / "twice.npz"
    np.savez(path, **dict.fromkeys(KEYS, np.arange(3)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_train", npy())
    with pytest.raises(ValueError, match=r"twice.npz .*it holds y_train twice"):
        read(path)


@pytest.mark.exhaustive
def test_junk_around_an_npz_is_read_past(tmp_path):
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 2, 2), np.arange(10) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(b"junk" + whole)
    for found, wanted in zip(
        gainjax.data.read(tmp_path / "b.npz")[:4], gainjax.data.read(tmp_path / "a.npz")[:4],
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(found, wanted)
