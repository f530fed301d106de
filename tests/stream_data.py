"""Data for tests of streams: random sets and tables, and the real sets of ../shared."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gainjax.data import Dataset

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def random_dataset(shape=(6, 6, 3), classes=10, train=40, test=25, seed=0):
    rng = np.random.default_rng(seed)
    return Dataset(
        name="random",
        x_train=rng.integers(0, 256, (train, *shape), np.uint8),
        y_train=rng.permutation(np.arange(train) % classes),
        x_test=rng.integers(0, 256, (test, *shape), np.uint8),
        y_test=rng.permutation(np.arange(test) % classes),
        mean=255 * np.linspace(0.3, 0.6, shape[-1]),
        std=255 * np.linspace(0.1, 0.4, shape[-1]),
    )


def scaled(dataset, images):
    """The normalization as the specification words it, in float64."""
    return (images - np.float64(dataset.mean)) / dataset.std


def packed_arrays(name):
    spec = importlib.util.spec_from_file_location("packed", SHARED / "packed.py")
    packed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packed)
    return packed.load(SHARED / name)


def save_npz(path, arrays, label="labels", **more):
    keys = {"x_train": "train_images", "y_train": f"train_{label}"} | more
    keys |= {"x_test": "test_images", "y_test": f"test_{label}"}
    np.savez(path, **{key: arrays[value] for key, value in keys.items()})


def table(n=30, features=4, classes=3, seed=0):
    """A table of features whose rows are all different, with every class in turn."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)), np.arange(n) % classes
