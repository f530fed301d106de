"""Readers: every form of files, and files of strangers, damaged or meant to do harm."""

import builtins
import gzip
import io
import json
import os
import struct
import sys
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_sources import keras_arrays, write_classes, write_prepared

from gainjax.data import class_incremental, load_source, npz, read, safe
from gainjax.data.idx import read_idx_file

KEYS = ("x_train", "y_train", "x_test", "y_test")
FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def gray(n, size=(5, 4), seed=0):
    """Random gray images, shape (n, H, W, 1)."""
    return np.random.default_rng(seed).integers(0, 256, (n, *size[::-1], 1), np.uint8)


def assert_same(dataset, expected):
    for key, array in expected.items():
        np.testing.assert_array_equal(getattr(dataset, key), array)


# --- .npz


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


# --- folders of images


def class_folders(folder, names, suffix="png"):
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(gray(2)[i, ..., 0]).save(folder / name / f"{i}.{suffix}")


def test_classes_are_numbered_by_name_or_number_and_none_is_passed_over(tmp_path):
    class_folders(tmp_path / "numbers", map(str, range(11)))
    assert read(tmp_path / "numbers").class_names == tuple(map(str, range(11)))
    class_folders(tmp_path / "names", ["_noise", "10", "9", "__MACOSX", ".hidden"])
    assert read(tmp_path / "names").class_names == ("10", "9", "_noise")


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_images_of_other_kinds_are_not_passed_over(tmp_path, suffix):
    class_folders(tmp_path, "ab")
    Image.fromarray(gray(1)[0, ..., 0]).save(tmp_path / "b" / f"2.{suffix}")
    with pytest.raises(ValueError, match=rf"2.{suffix} must be of a kind that is read.*convert"):
        read(tmp_path)


@pytest.mark.parametrize("place", ["9.png", "a/more/9.png", "a/more/still/9.JPG", "a/9"])
def test_images_that_are_not_directly_in_the_folder_of_a_class(tmp_path, place):
    class_folders(tmp_path / "one", "ab")
    class_folders(tmp_path / "two" / "train", "ab")
    class_folders(tmp_path / "two" / "test", "ab")
    for folder in (tmp_path / "one", tmp_path / "two" / "train"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes((folder / "a" / "0.png").read_bytes())
        with pytest.raises(ValueError, match=rf"{place} must be .*silently be left out"):
            read(tmp_path / folder.relative_to(tmp_path).parts[0])


def test_files_that_are_no_images_and_hidden_ones_do_not_matter(tmp_path):
    class_folders(tmp_path, "ab")
    for name in ("LICENSE", "a/notes.txt", "a/._0.png", ".cache/9.png", "a/__MACOSX/9.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read(tmp_path).x_train.shape == (2, 4, 5, 1)


def test_gray_images_have_one_channel_and_classes_have_names(tmp_path):
    images = gray(6)
    for part, name, i in (
        ("train", "cat", 0), ("train", "cat", 1), ("train", "dog", 2), ("train", "dog", 3),
        ("test", "cat", 4), ("test", "dog", 5),
    ):  # fmt: skip
        folder = tmp_path / part / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i, ..., 0]).save(folder / f"{i}.png")
    dataset = read(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert_same(dataset, {"x_train": images[:4], "y_train": [0, 0, 1, 1], "x_test": images[4:]})
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "test" / "dog" / "7.png")
    dataset = read(tmp_path)  # one color image makes all of them color
    np.testing.assert_array_equal(dataset.x_train, np.repeat(images[:4], 3, -1))
    assert (dataset.x_test[-1] == [1, 2, 3]).all()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


STORED = {  # how a camera that is held differently stores an image
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: np.rot90,
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_images_are_turned_as_their_orientation_says(tmp_path, suffix):
    upright = np.kron(
        np.array([[0, 50, 100], [150, 200, 250]], np.uint8), np.ones((8, 8), np.uint8)
    )
    for name, orientations in {"a": (1, 2, 3, 4), "b": (6, 5, 7, 8)}.items():
        (tmp_path / name).mkdir()
        for orientation in orientations:
            image = Image.fromarray(STORED[orientation](upright))
            more = {"quality": 100} if suffix == "jpg" else {}
            image.save(tmp_path / name / f"{orientation}.{suffix}", exif=exif(orientation), **more)
    dataset = read(tmp_path)
    images = np.concatenate([dataset.x_train, dataset.x_test])[..., 0]
    assert images.shape == (8, 16, 24)
    np.testing.assert_allclose(images.astype(int) - upright, 0, atol=0 if suffix == "png" else 2)
    # A quarter turn counts for the size, too.
    Image.fromarray(STORED[6](upright)).save(tmp_path / "b" / f"9.{suffix}")
    with pytest.raises(ValueError, match=r"must be 24×16 pixels, .* got 16×24"):
        read(tmp_path)


def test_an_orientation_that_is_damaged_or_behind_the_pixels(tmp_path):
    class_folders(tmp_path, "ab")
    path, upright = tmp_path / "b" / "1.png", gray(2)[1, ..., 0]
    for damage in (b"Exif\0\0junk", b""):
        Image.fromarray(upright).save(path, exif=damage)
        np.testing.assert_array_equal(read(tmp_path).x_test[-1, ..., 0], upright)
    for orientation in (3, 6):
        Image.fromarray(STORED[3](upright)).save(path)
        body, content = exif(orientation).tobytes().removeprefix(b"Exif\0\0"), path.read_bytes()
        chunk = b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
        path.write_bytes(content[:-12] + struct.pack(">I", len(body)) + chunk + content[-12:])
        if orientation == 3:
            np.testing.assert_array_equal(read(tmp_path).x_test[-1, ..., 0], upright)
    with pytest.raises(ValueError, match=r"1.png .* orientation comes after its pixels"):
        read(tmp_path)


def two_sizes(path):
    Image.new("L", (9, 4)).save(path)


def postscript(path):
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n(r) file\n")


def deep(path):
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(path)


def bomb(path):
    """A PNG of a few kB that claims 60,000 × 60,000 pixels."""
    Image.new("L", (5, 4)).save(path)
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", 60_000, 60_000)

    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    path.write_bytes(raw)


def large(path):
    Image.new("1", (5000, 4000)).save(path)


def cut(path):
    Image.fromarray(gray(1)[0, ..., 0]).save(path)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.filterwarnings("default")  # Pillow's of a bomb
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_sizes, r"z.png must be 5×4 pixels, as .*0000.png is: got 9×4. Resize"),
        (postscript, "z.png cannot be read as an image: cannot identify"),
        (deep, "z.png must have 8 bits per channel: its mode is 'I;16'"),
        (bomb, "z.png cannot be read as an image: .*pixels"),
        (large, "z.png cannot be read as an image: 5000×4000 pixels are too many"),
        (cut, "z.png cannot be read as an image"),
        (lambda path: path.touch(), "z.png cannot be read as an image"),
    ],
)
def test_evil_images(tmp_path, make, message):
    write_classes(tmp_path / "train", {"a": 2, "b": 2}, (5, 4))
    write_classes(tmp_path / "test", {"a": 2, "b": 2}, (5, 4))
    make(tmp_path / "train" / "b" / "z.png")
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_more_images_than_memory(tmp_path, monkeypatch):
    write_classes(tmp_path, {"a": 10, "b": 10}, (50, 40))
    monkeypatch.setattr(safe, "memory_bytes", lambda: 100_000)
    with pytest.raises(ValueError, match=r"claim to need 0.00012 GB"):
        read(tmp_path)


# --- IDX


def idx_bytes(array, code=8):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


IDX_ARRAYS = {
    "x_train": gray(6)[..., 0],
    "y_train": np.arange(6, dtype=np.uint8) % 2,
    "x_test": gray(2, seed=1)[..., 0],
    "y_test": np.arange(2, dtype=np.uint8),
}
IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def write_idx(folder, suffix="", prefix=""):
    folder.mkdir(exist_ok=True)
    for key, array in IDX_ARRAYS.items():
        raw = idx_bytes(array)
        name = f"{prefix}{IDX_NAMES[key]}{suffix}"
        (folder / name).write_bytes(gzip.compress(raw) if suffix else raw)
    return folder


@pytest.mark.parametrize(("suffix", "prefix"), [("", ""), (".gz", ""), (".gz", "emnist-mnist-")])
def test_idx(tmp_path, suffix, prefix):
    dataset = read(write_idx(tmp_path / "raw", suffix, prefix))
    assert_same(dataset, {k: a[..., None] if k[0] == "x" else a for k, a in IDX_ARRAYS.items()})
    if suffix and not prefix:
        write_idx(tmp_path / "raw")  # both forms side by side, as torchvision leaves them
        assert_same(read(tmp_path / "raw"), {"y_train": IDX_ARRAYS["y_train"]})


def test_idx_files_missing_or_of_several_sets(tmp_path):
    write_idx(tmp_path, prefix="a-")
    write_idx(tmp_path, prefix="b-")
    with pytest.raises(ValueError, match=r"has a-train-images.*b-train-images.* needs one"):
        read(tmp_path)
    for path in tmp_path.glob("b-*"):
        path.unlink()
    (tmp_path / "a-t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="has no file for y_test, such as t10k-labels-idx1-ubyte"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")],
)
def test_idx_types(tmp_path, code, dtype):
    array = np.arange(-4, 8).reshape(3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx_bytes(array, code))
    found = read_idx_file(tmp_path / "a")
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


GOOD_IDX = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
BAD_IDX = {
    "empty": (b"", "begins with"),
    "zip": (b"PK\3\4" + GOOD_IDX, "begins with 50 4b 03 04"),
    "type": (b"\0\0\7" + GOOD_IDX[3:], "begins with"),
    "no axes": (b"\0\0\x08\0" + GOOD_IDX[4:], "begins with"),
    "cut header": (GOOD_IDX[:9], "truncated: 3 bytes are missing"),
    "cut": (GOOD_IDX[:-2], "truncated: 2 bytes are missing"),
    "long": (GOOD_IDX + b"1", r"longer than its shape \(2, 3\) says"),
    "no numbers": (
        bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 0]),
        r"no numbers: its shape is \(2, 0\)",
    ),
    "100 GB": (struct.pack(">HBBII", 0, 8, 2, 10**6, 10**5) + b"1", "truncated|claim to need"),
    "exabytes": (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "claim to need"),
    "255 axes": (b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"1", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_IDX)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_idx(tmp_path, case, suffix):
    raw, message = BAD_IDX[case]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix else raw)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx_file(path)
    assert f"{path} cannot be read as an IDX file" in str(caught.value)


def test_gzip_bombs_are_read_no_further_than_the_header_says(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD_IDX + bytes(10**8)))
    with pytest.raises(ValueError, match="longer than its shape"):
        read_idx_file(path)
    path.write_bytes(gzip.compress(GOOD_IDX)[:-9])
    with pytest.raises(ValueError, match="cannot be read as an IDX file"):
        read_idx_file(path)


def test_pictures_next_to_files_of_another_format(tmp_path):
    """Neither is taken for the data set: the pictures may be samples, or the data."""
    write_idx(tmp_path / "idx")
    for part in ("train", "test"):
        write_parquet(tmp_path / "hub" / "data" / f"{part}-0.parquet", gray(2), [0, 1])
    for name, kind in (("idx", "IDX files"), ("hub", "parquet files")):
        class_folders(tmp_path / name, ["preview"])
        with pytest.raises(ValueError, match=f"{name} must hold one data set.*images and {kind}"):
            read(tmp_path / name)


# --- parquet


def png(image, **more):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG", **more)
    return file.getvalue()


def write_parquet(path, images, labels, column="image", label="label", names=None, **more):
    """Write a part of an image set as the hub does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(images)]
    table = pa.table({column: cells, label: pa.array(labels, pa.int64()), **more})
    if names:
        features = {column: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path)


def test_parquet_of_the_hub(tmp_path):
    images, labels = gray(6), np.array([0, 1, 0, 1, 1, 0])
    for i in range(2):
        path = tmp_path / "data" / f"train-0000{i}-of-00002.parquet"
        write_parquet(path, images[2 * i : 2 * i + 2], labels[2 * i : 2 * i + 2], names=["a", "b"])
    write_parquet(
        tmp_path / "data" / "test-00000-of-00001.parquet", images[4:], labels[4:], names=["a", "b"]
    )
    for path in (tmp_path, tmp_path / "data"):
        dataset = read(path)
        assert dataset.class_names == ("a", "b")
        assert_same(dataset, {"x_train": images[:4], "y_train": labels[:4], "x_test": images[4:]})
        np.testing.assert_array_equal(dataset.y_test, labels[4:])


def test_images_in_parquet_are_turned_as_their_orientation_says(tmp_path):
    turned = [{"bytes": png(STORED[6](x), exif=exif(6)), "path": "x"} for x in gray(2)]
    for part in ("train", "test"):
        table = pa.table({"image": turned, "label": pa.array([0, 1], pa.int64())})
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    assert_same(read(tmp_path), {"x_train": gray(2), "x_test": gray(2)})


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("test-set/train-0", "test-set/test-0"),
        ("train-test/train-0", "train-test/test-0"),
        ("mnist-train/0", "mnist-test/0"),
    ],
)
def test_no_parquet_file_is_for_training_and_for_testing(tmp_path, train, test):
    images, labels = gray(5), [0, 1, 1, 0, 1]
    write_parquet(tmp_path / f"{train}.parquet", images[:3], labels[:3])
    write_parquet(tmp_path / f"{test}.parquet", images[3:], labels[3:])
    expected = {"x_train": images[:3], "x_test": images[3:], "y_test": labels[3:]}
    assert_same(read(tmp_path), expected)
    write_parquet(tmp_path / "train-of-test.parquet", images[:3], labels[:3])
    with pytest.raises(ValueError, match=r"train-of-test.parquet must be named train or test"):
        read(tmp_path)


def test_parquet_whose_parts_mean_different_labels(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", gray(2), [0, 1], names=["cat", "dog"])
    write_parquet(tmp_path / "test-0.parquet", gray(2), [0, 1], names=["dog", "cat"])
    with pytest.raises(ValueError, match=r"test-0.parquet .*classes of other names"):
        read(tmp_path)
    write_parquet(tmp_path / "test-0.parquet", gray(2), [0, 1], label="fine_label")
    with pytest.raises(ValueError, match=r"test-0.parquet .*labels, fine_label, .*other columns"):
        read(tmp_path)


def test_parquet_files_of_two_sets_in_one_folder(tmp_path):
    for i, name in enumerate(["train-0", "train-1", "test-0"]):
        write_parquet(tmp_path / f"{name}.parquet", gray(2, seed=i), [0, 1])
    assert_same(read(tmp_path), {"x_train": np.concatenate([gray(2), gray(2, seed=1)])})
    for name in ("train2-0", "mnist-train-0", "cifar10-train-0"):
        other = tmp_path / f"{name}.parquet"
        write_parquet(other, gray(2), [0, 1])
        with pytest.raises(
            ValueError, match=rf"several data sets, such as .*{name}.*folder of its"
        ):
            read(tmp_path)
        other.unlink()


def test_parquet_with_superclasses_in_folders(tmp_path):
    for part in ("train", "test"):
        write_parquet(
            tmp_path / part / "0000.parquet", gray(3), [7, 8, 9], "img", "fine_label",
            coarse_label=pa.array([0, 0, 1], pa.int64()),
        )  # fmt: skip
    dataset = read(tmp_path)
    assert_same(dataset, {"y_train": [7, 8, 9], "y_test_coarse": [0, 0, 1], "x_test": gray(3)})
    assert dataset.class_names is None


def replace_train(path, table):
    pq.write_table(table, path / "train-0.parquet")


LABELS = pa.array([0, 1], pa.int64())
CELLS = [{"bytes": png(image), "path": "x"} for image in gray(2)]
BAD_PARQUET = {
    "elsewhere": (
        pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}, CELLS[0]], "label": LABELS}),
        "train-0.parquet .*image 0 is not in the file itself",
    ),
    "no bytes": (
        pa.table({"image": [{"path": "/etc/passwd"}] * 2, "label": LABELS}),
        "needs one column of images with their bytes",
    ),
    "no image": (pa.table({"text": ["a", "b"], "label": LABELS}), "it has text, label"),
    "no label": (pa.table({"image": CELLS}), "one named label"),
    "text label": (pa.table({"image": CELLS, "label": ["a", "b"]}), "label must be integers"),
    "huge label": (
        pa.table({"image": CELLS, "label": pa.array([0, 2**63], pa.uint64())}),
        "train-0.parquet .*9223372036854775808 not in range",
    ),
    "null label": (
        pa.table({"image": CELLS, "label": pa.array([0, None], pa.int64())}),
        "an example for train has no label",
    ),
    "no image file": (
        pa.table({"image": [{"bytes": b"GIF89a", "path": ""}] * 2, "label": LABELS}),
        "image 0 of .*train-0.parquet cannot be read as an image",
    ),
    "two images": (
        pa.table({"image": CELLS, "mask": CELLS, "label": LABELS}),
        "needs one column of images",
    ),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet(tmp_path, case):
    table, message = BAD_PARQUET[case]
    write_parquet(tmp_path / "test-0.parquet", gray(2), [0, 1])
    pq.write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_damaged_missing_and_mixed_parquet(tmp_path, monkeypatch):
    write_parquet(tmp_path / "train-0.parquet", gray(2), [0, 1])
    with pytest.raises(ValueError, match="must hold parquet files named test-"):
        read(tmp_path)
    write_parquet(tmp_path / "test-0.parquet", gray(2), [0, 1])
    raw = (tmp_path / "train-0.parquet").read_bytes()
    for damaged in (raw[:-30], b"", raw[:4] + bytes(len(raw) - 8) + raw[-4:]):
        (tmp_path / "train-0.parquet").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train-0.parquet cannot be read as an image set"):
            read(tmp_path)
    (tmp_path / "train-0.parquet").write_bytes(raw)
    write_parquet(tmp_path / "other" / "train-0.parquet", gray(2), [0, 1])
    with pytest.raises(ValueError, match="parquet files of several data sets: give one of"):
        read(tmp_path)
    (tmp_path / "other" / "train-0.parquet").unlink()
    monkeypatch.setattr(safe, "memory_bytes", lambda: 100)
    with pytest.raises(ValueError, match="claim to need"):
        read(tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", gray(2), [0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install 'gainjax\[parquet\]'"):
        read(tmp_path)


# --- prepared TensorFlow Datasets


@pytest.fixture
def prepared(tmp_path):
    arrays = keras_arrays(train=30)
    version = tmp_path / "mnist" / "3.0.1"
    write_prepared(version, arrays, ("image", "label"))
    return version, arrays


def test_prepared_folders_by_version_or_name(prepared):
    version, arrays = prepared
    for path in (version, version.parent):
        dataset = read(path)
        assert_same(dataset, {key: arrays[key] for key in ("y_train", "y_test")})
        np.testing.assert_array_equal(dataset.x_train[..., 0], arrays["x_train"])
        assert dataset.class_names is None
    (version / "label.labels.txt").write_text("".join(f"digit {i}\n" for i in range(10)))
    assert read(version).class_names[3] == "digit 3"


EVIL_FEATURES = [
    ({"pythonClassName": "evil_module.Feature"}, "names the class 'evil_module.Feature'"),
    ({"python_class_name": "evil_module.Feature"}, "names the class"),
    ({"pythonClassName": "tensorflow_datasets_evil.core.features.X"}, "names the class"),
    ({"type": "evil_module.Feature", "content": {}}, "names the class"),
    ({"pythonClassName": "tensorflow_datasets.testing.x"}, "names the class"),
    (
        {"featuresDict": {"features": {"x": {"pythonClassName": "evil_module.F"}}}},
        "names the class",
    ),
    ({"featuresDict": {"features": {"../../x": {}}}}, "names files elsewhere"),
]


@pytest.mark.parametrize(("tree", "message"), EVIL_FEATURES)
def test_prepared_folders_import_nothing_of_strangers(prepared, monkeypatch, tree, message):
    version, _ = prepared
    good = json.loads((version / "features.json").read_text())
    imported = []
    real = builtins.__import__

    def spy(name, *rest, **options):
        imported.append(name)
        return real(name, *rest, **options)

    (version.parent / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(version.parent)
    monkeypatch.setattr(builtins, "__import__", spy)
    good["featuresDict"]["features"]["more"] = tree
    (version / "features.json").write_text(json.dumps(good))
    with pytest.raises(ValueError, match=message):
        read(version)
    assert "evil_module" not in sys.modules
    assert not any("evil" in name for name in imported)


@pytest.mark.parametrize(
    ("key", "value"),
    [("filepathTemplate", "../{DATASET}-{SPLIT}"), ("name", "/etc/x"), ("name", "a/../b")],
)
def test_prepared_folders_read_nothing_elsewhere(prepared, key, value):
    version, _ = prepared
    info = json.loads((version / "dataset_info.json").read_text())
    info["splits"][0][key] = value
    (version / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="names files elsewhere"):
        read(version)


def test_prepared_images_that_claim_more_than_memory(prepared, monkeypatch):
    monkeypatch.setattr(safe, "memory_bytes", lambda: 1000)
    with pytest.raises(ValueError, match="claim to need"):
        read(prepared[0])


@pytest.mark.parametrize("raw", ["", "[]", "{", "null", "[" * 100_000, '{"a": 1e999}'])
def test_prepared_folders_with_a_damaged_description(prepared, raw):
    version, _ = prepared
    for name in ("features.json", "dataset_info.json"):
        (version / name).write_text(raw)
        with pytest.raises(ValueError, match=r"3.0.1 cannot be read"):
            read(version)


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
