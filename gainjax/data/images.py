"""Parallel decoding of equally sized image files by Pillow."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from gainjax.data.progress import show_progress
from gainjax.data.safe import check_claim

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
_FORMATS = ("BMP", "JPEG", "PNG")  # some of Pillow's other formats start programs
_GRAY = ("1", "L", "LA")
_COLOR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "RGBX")
_MOST_PIXELS = 2**24  # of one image
_ORIENTATION = 0x0112  # the tag of EXIF that tells how a camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}  # width and height


def decode_images(
    names: Sequence[str], open_image: Callable[[int], BinaryIO], channels: int | None = None
) -> np.ndarray:
    """Return images as one array, upright as their EXIF orientation says.

    Args:
        names: Name of each image in messages.
        open_image: Opens image i.
        channels: 1 or 3; None for 1 if all images are gray, else 3.

    Returns:
        Images, uint8, shape (N, H, W, C), where H and W are those of the upright images. An
        unreadable orientation counts as none.

    Raises:
        ValueError: If an image is damaged, too large, has more than 8 bits per channel, or differs
            in size from the first.

    Example:
        >>> import io
        >>> def tiny(i):
        ...     file = io.BytesIO()
        ...     Image.new("L", (3, 2), i).save(file, "PNG")
        ...     return file
        >>> decode_images(["0.png", "1.png"], tiny)[..., 0].max((1, 2))
        array([0, 1], dtype=uint8)
    """

    def header(i: int) -> tuple[tuple[int, int], str]:
        return _guarded(names[i], open_image, i, lambda image: (_upright_size(image), image.mode))

    def pixels(i: int) -> np.ndarray:
        take = lambda image: np.asarray(_upright(image, (width, height)).convert(mode))  # noqa: E731
        return _guarded(names[i], open_image, i, take).reshape(shape)

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while decoding
        headers = list(pool.map(header, range(len(names))))
        width, height = headers[0][0]
        for name, (size, kind) in zip(names, headers, strict=True):
            if size != (width, height):
                raise ValueError(
                    f"{name} must be {width}×{height} pixels, as {names[0]} is: got "
                    f"{size[0]}×{size[1]}. Resize the images first"
                )
            if kind not in _GRAY + _COLOR:
                raise ValueError(f"{name} must have 8 bits per channel: its mode is {kind!r}")
        if channels is None:
            channels = 1 if all(kind in _GRAY for _, kind in headers) else 3
        mode, shape = "L" if channels == 1 else "RGB", (height, width, channels)
        check_claim(len(names) * height * width * channels)
        images = np.empty((len(names), *shape), np.uint8)
        decoded = pool.map(pixels, range(len(names)))
        for i, image in enumerate(show_progress(decoded, len(names), "Reading images")):
            images[i] = image
    return images


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image after it is turned, without decoding it."""
    # Not the method of the class: that of PNG files decodes them, to look behind the pixels, too.
    turn = _turn(lambda: Image.Image.getexif(image))
    return image.size[::-1] if turn in _SWAPPING else image.size


def _upright(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image turned as its EXIF orientation says; raise if it then has another size."""
    image.load()
    turn = _turn(image.getexif)
    turned = image if turn is None else image.transpose(turn)
    if turned.size != size:
        raise ValueError("its EXIF orientation comes after its pixels: save the image upright")
    return turned


def _turn(read: Callable[[], Any]) -> Image.Transpose | None:
    """Return how to turn an image so that it is upright, None if it is."""
    try:
        return _TURNS.get(read().get(_ORIENTATION))
    except Exception:  # damaged EXIF data, of which there are many kinds
        return None


def _guarded(
    name: str, open_image: Callable[[int], BinaryIO], i: int, take: Callable[[Image.Image], Any]
) -> Any:
    """Return `take` applied to an image; any error names the image."""
    try:
        with open_image(i) as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"{image.width}×{image.height} pixels are too many")
            return take(image)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f"{name} cannot be read as an image: {error}") from error
