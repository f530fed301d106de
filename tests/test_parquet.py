"""Parquet files as the Hugging Face hub exports them."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_files import STORED, assert_same, exif, gray, png, write_parquet

from gainjax.data import read, safe


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
