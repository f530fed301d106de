"""Small image sets in every form of files that is read."""

import gzip
import io
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def keras_arrays(shape=(28, 28), classes=10, train=20, test=10, seed=0):
    """Random images of every class in the Keras naming."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (train, *shape), np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": rng.integers(0, 256, (test, *shape), np.uint8),
        "y_test": np.arange(test) % classes,
    }


def write_prepared(version, arrays, features, file_format="array_record"):
    """Write a TensorFlow Datasets folder as tfds would, but without TensorFlow."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    version.mkdir(parents=True)
    name, splits = version.parent.name, []
    for part in ("train", "test"):
        images = arrays[f"x_{part}"].reshape(len(arrays[f"x_{part}"]), 28, 28)
        file = version / f"{name}-{part}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for image, label in zip(images, arrays[f"y_{part}"], strict=True):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            example.features.feature[features[1]].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
        splits.append(
            {
                "name": part,
                "shardLengths": [str(len(images))],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    info = {"name": name, "version": version.name, "splits": splits, "fileFormat": file_format}
    (version / "dataset_info.json").write_text(json.dumps(info))
    module = "tensorflow_datasets.core.features"
    image_feature = {
        "pythonClassName": f"{module}.image_feature.Image",
        "image": {"dtype": "uint8", "shape": {"dimensions": ["28", "28", "1"]}},
    }
    label_feature = {
        "pythonClassName": f"{module}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "10"},
    }
    tree = {
        "pythonClassName": f"{module}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": image_feature, features[1]: label_feature}},
    }
    (version / "features.json").write_text(json.dumps(tree))


def write_classes(folder, counts, size=(84, 84), first=0):
    """Write one folder per class; the red channel of an image is its number in the class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(first, first + count):
            image = Image.new("RGB", size, (i % 256, i // 256, len(name)))
            image.save(folder / name / f"{i:04d}.png")
    return folder


def gray(n, size=(5, 4), seed=0):
    """Random gray images, shape (n, H, W, 1)."""
    return np.random.default_rng(seed).integers(0, 256, (n, *size[::-1], 1), np.uint8)


def assert_same(dataset, expected):
    for key, array in expected.items():
        np.testing.assert_array_equal(getattr(dataset, key), array)


def class_folders(folder, names, suffix="png"):
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(gray(2)[i, ..., 0]).save(folder / name / f"{i}.{suffix}")


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
