"""Data: image sets from many places (sources), arranged as sequences of tasks (streams)."""

from gainjax.data.sources import SOURCES, ImageDataset, check_dataset, load_source
from gainjax.data.streams import Stream, domain_cifar100, normalise, permuted, rotated, split

__all__ = [
    "SOURCES",
    "ImageDataset",
    "Stream",
    "check_dataset",
    "domain_cifar100",
    "load_source",
    "normalise",
    "permuted",
    "rotated",
    "split",
]
