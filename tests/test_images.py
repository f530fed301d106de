"""Images in files: their orientation, and those that are damaged or mean harm."""

import struct
import zlib

import numpy as np
import pytest
from made_files import STORED, class_folders, exif, gray, write_classes
from PIL import Image

from gainjax.data import read


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
