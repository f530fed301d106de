"""Data: arrays from many formats (readers), arranged as sequences of tasks (scenarios)."""

from gainjax.data.augment import crop_and_flip
from gainjax.data.classic import domain_cifar100, permuted, rotated, split
from gainjax.data.dataset import Dataset
from gainjax.data.reading import read
from gainjax.data.scenarios import class_incremental, domain_incremental, transformed
from gainjax.data.sources import SOURCES, load_source
from gainjax.data.stream import Stream, check_stream, normalize

__all__ = [
    "SOURCES",
    "Dataset",
    "Stream",
    "check_stream",
    "class_incremental",
    "crop_and_flip",
    "domain_cifar100",
    "domain_incremental",
    "load_source",
    "normalize",
    "permuted",
    "read",
    "rotated",
    "split",
    "transformed",
]
