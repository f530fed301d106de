"""Several processes that share the runs of one program, on JAX's distributed runtime.

Runs are independent, so every process trains its share on its own devices and stores it itself;
only the curves are gathered at the end. With one process, nothing here has any effect.
"""

import hashlib
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Tree = TypeVar("Tree")


def check_devices() -> None:
    """Raise unless JAX finds a device.

    Raises:
        ValueError: If there is none, for example if JAX_PLATFORMS names an unavailable platform.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"JAX finds no device: {error}. JAX_PLATFORMS selects the platforms; cpu always works"
        ) from error


def share(runs: int, process: int | None = None, processes: int | None = None) -> np.ndarray:
    """Return the indices of the runs of a process; all processes have equally many.

    Args:
        runs: Number of all runs, >= 1. If it does not divide evenly, the last run is repeated.
        process: Which process, or None for this one.
        processes: Number of processes, or None for the actual number.

    Example:
        >>> share(3)
        array([0, 1, 2])
    """
    process = jax.process_index() if process is None else process
    each = -(-runs // (processes or jax.process_count()))
    return np.minimum(np.arange(each) + process * each, runs - 1)


def gather(tree: Tree, runs: int) -> Tree:
    """Return the arrays of all runs, from the :func:`share` of every process.

    Args:
        tree: NumPy arrays, shape (runs of this process, ...).
        runs: Number of all runs.
    """
    if jax.process_count() == 1:
        return tree
    stacked = multihost_utils.process_allgather(tree)
    return jax.tree.map(lambda x: np.concatenate(list(np.asarray(x)))[:runs], stacked)


def wait_for_all(what: str) -> None:
    """Return once every process has reached this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def in_any(here: bool) -> bool:
    """Return whether a condition holds in at least one process; waits for all of them.

    Args:
        here: Whether it holds in this process.
    """
    if jax.process_count() == 1:
        return here
    return bool(np.any(multihost_utils.process_allgather(np.asarray(here))))


def agree(what: str, here: bool) -> bool:
    """Return whether a condition holds, which must be the same for every process.

    Args:
        what: What must be the same, for the message.
        here: Whether it holds in this process.

    Raises:
        ValueError: If it holds for some processes only.
    """
    if jax.process_count() == 1:
        return here
    votes = np.asarray(multihost_utils.process_allgather(np.asarray(here)))
    if votes.any() != votes.all():
        raise ValueError(
            f"{what} for processes {np.flatnonzero(votes).tolist()} of {len(votes)} only: give all "
            "processes the same command, with an output directory that they share"
        )
    return here


def same_everywhere(what: str, content: bytes) -> None:
    """Raise unless every process has the same content.

    Args:
        what: What must be the same, for the message.
        content: The content in this process.

    Raises:
        ValueError: If it differs.
    """
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
    everywhere = np.asarray(multihost_utils.process_allgather(digest))
    if odd := [i for i, other in enumerate(everywhere) if (other != everywhere[0]).any()]:
        raise ValueError(
            f"{what} of processes {odd} differs from that of process 0: give all processes the "
            "same command"
        )
