"""The layout of runs on hardware: batched or sequential on a device, and split over devices."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gainjax.training.keys import is_key

# One batched program, which fills an accelerator, or one run after the other, which on a CPU is no
# slower, takes less memory and matches a single run bit for bit.
Kind = Literal["map", "vmap"]
Tree = TypeVar("Tree")
_AXIS = "runs"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How runs are distributed over devices, and how they share a device.

    Args:
        kind: Whether the runs of a device form one batched program ("vmap") or are trained
            sequentially ("map").
        devices: Devices of this process. Runs are split evenly among them; a run is on one device.

    Raises:
        ValueError: If the kind is unknown, or there is no device.
    """

    kind: Kind
    devices: tuple[jax.Device, ...]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"layout must be 'map' or 'vmap': got {self.kind!r}")
        if not self.devices:
            raise ValueError("devices must hold at least one device: got none")

    def padded(self, runs: int) -> int:
        """Return the number of runs rounded up so that the devices share it evenly."""
        return -(-runs // len(self.devices)) * len(self.devices)

    def put(self, tree: Tree, runs: int) -> Tree:
        """Move arrays with a leading axis of runs to the devices, padded with the last run."""
        index = np.minimum(np.arange(self.padded(runs)), runs - 1)

        def move(x: Any) -> Any:
            rows = x[index] if is_key(x) else np.asarray(x)[index]
            return jax.device_put(rows, self._sharding(_AXIS))

        return jax.tree.map(move, tree)

    def replicate(self, tree: Tree) -> Tree:
        """Move arrays that all runs share to every device."""
        return jax.device_put(tree, self._sharding())

    def over_runs(self, one_run: Callable[..., Any], shared: Any, *batched: Any) -> Any:
        """Return ``one_run(shared, *arguments of a run)`` for all runs, inside a compiled program.

        Args:
            one_run: A pure function.
            shared: A tree of arrays without an axis of runs; conditions on it stay branches.
            *batched: Trees of arrays with a leading axis of runs.
        """

        def on_device(shared: Any, *batched: Any) -> Any:
            run = functools.partial(one_run, shared)
            if self.kind == "vmap":
                return jax.vmap(run)(*batched)
            return jax.lax.map(lambda arguments: run(*arguments), batched)

        if len(self.devices) == 1:
            return on_device(shared, *batched)
        return jax.shard_map(
            on_device,
            mesh=self._mesh(),
            in_specs=(PartitionSpec(), *(PartitionSpec(_AXIS) for _ in batched)),
            out_specs=PartitionSpec(_AXIS),
            check_vma=False,  # nothing is exchanged between devices
        )(shared, *batched)

    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (_AXIS,))

    def _sharding(self, *axes: str) -> Any:
        if len(self.devices) == 1:
            return self.devices[0]
        return NamedSharding(self._mesh(), PartitionSpec(*axes))


def make_layout(kind: Kind | None = None, devices: Sequence[jax.Device] | None = None) -> Layout:
    """Return a layout, by default the one that measured fastest on this kind of device.

    Args:
        kind: As in :class:`Layout`; None for "map" on CPUs and "vmap" elsewhere.
        devices: As in :class:`Layout`; None for all devices of this process.

    Example:
        >>> make_layout("vmap").padded(3)
        3
    """
    devices = tuple(jax.local_devices() if devices is None else devices)
    if kind is None:
        kind = "map" if devices and devices[0].platform == "cpu" else "vmap"
    return Layout(kind, devices)
