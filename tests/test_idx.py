"""IDX files, compressed or not."""

import gzip
import struct

import numpy as np
import pytest
from made_files import IDX_ARRAYS, assert_same, idx_bytes, write_idx

from gainjax.data import read
from gainjax.data.idx import read_idx_file


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
