"""An Orbax checkpointer for NumPy arrays that lets each of several processes store its own.

Orbax assumes that NumPy arrays are copies held by all processes, and lets only the first one write
them. Here every process trains its own runs and stores them itself.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def make_checkpointer() -> ocp.Checkpointer:
    """Return a checkpointer for trees of NumPy arrays that does not wait for other processes.

    Not Orbax's asynchronous one, whose threads signal each other by keys that all processes share:
    a process that has finished would delete the key that another one waits for.
    """
    options = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        me = jax.process_index()
        options = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=False,
        type_handler_registry=ocp.type_handlers.create_type_handler_registry(
            (np.ndarray, _ArrayFiles())
        ),
        multiprocessing_options=options,
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def restored(checkpointer: ocp.Checkpointer, path: Path, like: Any) -> Any:
    """Return stored arrays.

    Args:
        checkpointer: See :func:`make_checkpointer`.
        path: The checkpoint.
        like: Arrays of the same structure, shapes and dtypes.

    Raises:
        ValueError: If a shape or dtype differs.
    """

    def as_stored(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        # NumPy's files know no bfloat16 and the like: they hold its bytes.
        if found.dtype.kind == "V" and found.dtype.itemsize == wanted.dtype.itemsize:
            found = found.view(wanted.dtype)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"got {found.dtype} of shape {found.shape}, not {wanted.dtype} of shape "
                f"{wanted.shape}"
            )
        return found

    return jax.tree.map(as_stored, checkpointer.restore(path, like), like)


class _ArrayFiles(ocp.type_handlers.TypeHandler):
    """Stores each array of a tree as ``PATH.npy``."""

    def typestr(self) -> str:
        return "npy"

    async def metadata(self, infos: Sequence[Any]) -> Sequence[Any]:
        arrays = await self.deserialize(infos)
        return [
            ocp.metadata.ArrayMetadata(
                name=info.name,
                directory=info.parent_dir,
                shape=array.shape,
                sharding=None,
                dtype=array.dtype,
            )
            for info, array in zip(infos, arrays, strict=True)
        ]

    async def serialize(
        self, values: Sequence[np.ndarray], infos: Sequence[Any], args: Any = None
    ) -> Sequence[Any]:
        for value, info in zip(values, infos, strict=True):
            await info.await_path_creation()
            content = io.BytesIO()  # when writing to a file, NumPy would hide that a disk is full
            np.save(content, value, allow_pickle=False)
            _file(info).write_bytes(content.getvalue())
        return []  # nothing to wait for

    async def deserialize(self, infos: Sequence[Any], args: Any = None) -> Sequence[np.ndarray]:
        for info in infos:
            await info.await_path_creation()
        return [np.load(_file(info), allow_pickle=False) for info in infos]


def _file(info: Any) -> Path:
    return Path(info.parent_dir) / f"{info.name}.npy"
