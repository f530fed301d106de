"""The data set that all readers return, divided into training and test examples."""

from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """A data set on the host; ``dataset[:4]`` are the arrays that scenarios take.

    Args:
        x_train: Training inputs, shape (N, ...); images are uint8, shape (N, H, W, C).
        y_train: Their targets, such as classes, integers of shape (N,).
        x_test: As the training inputs.
        y_test: As the training targets.
        name: Name for messages.
        class_names: Names of the classes 0, 1, ..., if there are any.
        mean: Customary mean of raw inputs for this data set, float32, shape (C,); or None.
        std: Customary standard deviation, as the mean.
        y_train_coarse: Superclasses of the training examples, int32, shape (N,); or None.
        y_test_coarse: As the training superclasses.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str = "dataset"
    class_names: tuple[str, ...] | None = None
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    y_train_coarse: np.ndarray | None = None
    y_test_coarse: np.ndarray | None = None


def check_dataset(dataset: Dataset) -> None:
    """Raise unless the inputs and targets of a data set match.

    Valid labels depend on the scenario, which checks them.

    Args:
        dataset: The data set.

    Raises:
        ValueError: If lengths, shapes or types do not match, or there are no examples.

    Example:
        >>> check_dataset(Dataset(np.zeros((2, 3)), np.zeros(2), np.zeros((1, 4)), np.zeros(1)))
        Traceback (most recent call last):
        ValueError: x_train and x_test must hold examples of one shape and type: ...
    """
    for part in ("train", "test"):
        inputs = getattr(dataset, f"x_{part}")
        if inputs.ndim < 1 or not inputs.size:
            raise ValueError(f"x_{part} must hold examples: got an array of shape {inputs.shape}")
        for name in (f"y_{part}", f"y_{part}_coarse"):
            targets = getattr(dataset, name)
            if targets is not None and targets.shape[:1] != inputs.shape[:1]:
                raise ValueError(
                    f"{name} must have a target for each of {len(inputs)} examples: got an array "
                    f"of shape {targets.shape}"
                )
    train, test = dataset.x_train, dataset.x_test
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(
            f"x_train and x_test must hold examples of one shape and type: got {train.dtype} of "
            f"shape {train.shape} and {test.dtype} of shape {test.shape}"
        )
    if (dataset.y_train_coarse is None) != (dataset.y_test_coarse is None):
        raise ValueError("y_train_coarse and y_test_coarse must both be given, or neither")
