"""Reader of image sets in parquet files, as exported by the Hugging Face hub."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from gainjax.data.dataset import Dataset
from gainjax.data.images import decode_images
from gainjax.data.safe import check_claim
from gainjax.files import open_regular

_LABELS = ("label", "labels", "fine_label")
_COARSE = "coarse_label"


def find_parquet(folder: Path) -> dict[str, list[Path]] | None:
    """Find the parquet files of a data set, at most two folders deep.

    Args:
        folder: A folder with files such as ``train-00000-of-00002.parquet``, ``data/test-...`` or
            ``train/0000.parquet``.

    Returns:
        The files for ``train`` and ``test``, sorted by name; None if there are no parquet files.

    Raises:
        ValueError: If training or test files are missing, there are several data sets, or a name
            does not tell training from testing.

    Example:
        >>> print(find_parquet(Path("no-such-folder")))
        None
    """
    files = sorted(
        path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}*.parquet")
    )
    if not files:
        return None
    parts = {path: _part(path.relative_to(folder)) for path in files}
    found = {}
    for part in ("train", "test"):
        mine = [path for path in files if parts[path] == part]
        if len({path.parent for path in mine}) != 1:
            several = sorted({str(path.parent) for path in mine})
            raise ValueError(
                f"{folder} holds parquet files of several data sets: give one of "
                f"{', '.join(several)}, or the folder above its train and test"
                if several
                else f"{folder} must hold parquet files named {part}-...: it holds "
                f"{', '.join(str(path.relative_to(folder)) for path in files[:5])}"
            )
        sets = {_without_shard(path.stem.lower(), part): path for path in mine}
        if len(sets) > 1:
            names = " and ".join(path.name for path in list(sets.values())[:2])
            raise ValueError(
                f"{folder} holds parquet files of several data sets, such as {names}: move each "
                f"set to a folder of its own. Parts of one differ only in numbers after {part!r}"
            )
        found[part] = mine
    return found


def _without_shard(stem: str, part: str) -> str:
    """Return the name of a file without the numbers that count the files of one data set."""
    before, word, after = stem.rpartition(part)
    return before + word + re.sub(r"\d+", "#", after)


def _part(path: Path) -> str | None:
    """Return what a file is for, "train" or "test": the last of its names that says so."""
    for name in reversed(path.parts):
        said = set(re.findall(r"(?<![a-z])(?:train|test)(?![a-z])", name.lower()))
        if len(said) == 1:
            return said.pop()
        if said and name == path.name:
            raise ValueError(f"{path} must be named train or test: it is named both; rename it")
    return None


def read_parquet(files: dict[str, list[Path]]) -> Dataset:
    """Read an image set from parquet files with a column of encoded images and one of labels.

    Args:
        files: What :func:`find_parquet` returns.

    Returns:
        The data set, with class names if the files have them; images are turned as their EXIF
        orientation says.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If a file is damaged, has no such columns or others than the first, or claims to
            need more memory than there is.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "reading parquet files needs pyarrow: pip install 'gainjax[parquet]'"
        ) from None
    arrays: dict[str, Any] = {}
    class_names = None
    columns: list[str] = []
    for part, paths in files.items():
        names: list[str] = []
        images: list[bytes] = []
        labels: dict[str, list[int]] = {}
        for path in paths:
            with open_regular(path) as file:
                try:
                    table, own, named = _read_table(pyarrow.parquet.ParquetFile(file))
                    images += _encoded(table.column(0))
                    columns, class_names = columns or own, class_names or named
                    for key, column in zip(("", "_coarse"), own, strict=False):
                        numbers = table.column(column).cast("int64")  # an error if one is too large
                        labels.setdefault(key, []).extend(numbers.to_pylist())
                    if own != columns or (named or class_names) != class_names:
                        raise ValueError(
                            f"its labels, {', '.join(own)}, are not those of the files before it: "
                            "other columns, or classes of other names"
                        )
                except Exception as error:  # pyarrow raises several kinds for damaged files
                    raise ValueError(f"{path} cannot be read as an image set: {error}") from error
            names += [f"image {i} of {path}" for i in range(len(table))]
        arrays[f"x_{part}"] = (names, images)
        for key, values in labels.items():
            if None in values:
                raise ValueError(f"{paths[0].parent}: an example for {part} has no label")
            arrays[f"y_{part}{key}"] = np.array(values)
    names, images = ([*a, *b] for a, b in zip(arrays["x_train"], arrays["x_test"], strict=True))
    if not images:
        raise ValueError(f"{files['train'][0]} holds no images")
    pixels = decode_images(names, lambda i: io.BytesIO(images[i]))
    cut = len(arrays["x_train"][0])
    arrays |= {"x_train": pixels[:cut], "x_test": pixels[cut:]}
    return Dataset(**arrays, name=str(files["train"][0].parent), class_names=class_names)


def _read_table(file: Any) -> tuple[Any, list[str], tuple[str, ...] | None]:
    """Return the columns of images and labels, the names of the latter, and names of classes."""
    import pyarrow as pa

    schema = file.schema_arrow
    images = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    labels = [name for name in _LABELS if name in schema.names]
    if len(images) != 1 or not labels:
        raise ValueError(
            f"it needs one column of images with their bytes, and one named {' or '.join(_LABELS)}:"
            f" it has {', '.join(schema.names)}"
        )
    columns = [labels[0], *([_COARSE] if _COARSE in schema.names else [])]
    for name in columns:
        if not pa.types.is_integer(schema.field(name).type):
            raise ValueError(f"{name} must be integers: it is {schema.field(name).type}")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    check_claim(sum(group.total_byte_size for group in groups))
    return (
        file.read([images[0], *columns]).select([images[0], *columns]),
        columns,
        _names(schema, labels[0]),
    )


def _encoded(column: Any) -> list[bytes]:
    """Return the bytes of each image; paths to other files are not followed."""
    result = []
    for i, value in enumerate(column.to_pylist()):
        if value is None or not isinstance(value["bytes"], bytes):
            raise ValueError(f"image {i} is not in the file itself")
        result.append(value["bytes"])
    return result


def _names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Return the class names that the hub stores in the schema; None if absent."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        names = info["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if good else None
