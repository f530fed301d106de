"""Folders of images: how classes, training and testing are found."""

import numpy as np
import pytest
from made_files import assert_same, class_folders, gray, write_classes
from PIL import Image

from gainjax.data import read, safe
from gainjax.data.folders import read_class_folders


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


def test_more_images_than_memory(tmp_path, monkeypatch):
    write_classes(tmp_path, {"a": 10, "b": 10}, (50, 40))
    monkeypatch.setattr(safe, "memory_bytes", lambda: 100_000)
    with pytest.raises(ValueError, match=r"claim to need 0.00012 GB"):
        read(tmp_path)


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
