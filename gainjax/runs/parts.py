"""Parts of a run: which runs are trained together, and under which name they are stored."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gainjax.training.processes import share


class Part(NamedTuple):
    """Runs of a group that are trained together."""

    name: str
    group: str  # name of the group
    runs: np.ndarray  # which runs of the group: settings first, then seeds


def split(
    runs: Mapping[str, int],
    sizes: Mapping[str, int],
    process: int | None = None,
    processes: int | None = None,
) -> list[Part]:
    """Return the parts of a process.

    All parts of a group have the same size, so that one compilation serves them; they are padded
    with the last run. Groups alternate, so that different programs are compiled in parallel.

    Args:
        runs: Number of runs of each group.
        sizes: Number of runs that are trained together.
        process: Which process, or None for this one.
        processes: Number of processes, or None for the actual number.

    Example:
        >>> [
        ...     (part.name, part.runs.tolist())
        ...     for part in split({"sgd": 3, "adam": 1}, {"sgd": 2, "adam": 2})
        ... ]
        [('sgd.0000', [0, 1]), ('adam', [0]), ('sgd.0001', [2, 2])]
    """
    rounds: list[tuple[int, int, Part]] = []
    for order, (group, number) in enumerate(runs.items()):
        mine, size = share(number, process, processes), sizes[group]
        count = -(-len(mine) // size)
        index = np.pad(mine, (0, count * size - len(mine)), mode="edge").reshape(count, size)
        for i in range(count):
            name = group if count == 1 else f"{group}.{i:04d}"
            these = index[i, : len(mine)] if count == 1 else index[i]
            rounds.append((i, order, Part(name, group, these)))
    return [part for *_, part in sorted(rounds, key=lambda item: item[:2])]
