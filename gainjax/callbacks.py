"""Callbacks for ``on_chunk``: TensorBoard and Weights & Biases, one run per setting and seed.

Both need an extra: ``pip install "gainjax[tracking]"``.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from gainjax.files import expanded
from gainjax.runs.arrived import Arrived


class _Callback:
    """Base of the callbacks: one writer per setting and seed, closed at the end."""

    def __init__(self) -> None:
        self._writers: dict[tuple[str, int], Any] = {}

    def __call__(self, label: str, done: int, arrived: Arrived) -> None:
        """Write the curves of a chunk.

        Args:
            label: Label of the method.
            done: Updates so far.
            arrived: The curves of the chunk.
        """
        del label, done
        for row, run in enumerate(zip(arrived.settings, arrived.seeds, strict=True)):
            if run not in self._writers:
                self._writers[run] = self._open(*run, int(arrived.updates[0]))
            self._write(self._writers[run], dict(_scalars(arrived, row)))

    def close(self) -> None:
        """Finish all runs."""
        for writer in self._writers.values():
            self._finish(writer)
        self._writers = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, setting: str, seed: int, first: int) -> Any:
        raise NotImplementedError

    def _write(self, writer: Any, scalars: dict[int, dict[str, float]]) -> None:
        raise NotImplementedError

    def _finish(self, writer: Any) -> None:
        raise NotImplementedError


class TensorBoard(_Callback):
    """Write curves as TensorBoard scalars, one run per setting and seed.

    Args:
        folder: Folder for the event files, ``folder/SETTING/seed-S``. A run that resumes after an
            interruption overwrites what it had written after its last checkpoint.

    Raises:
        ImportError: If tensorboardX is not installed.

    Example:
        >>> import tempfile, gainjax
        >>> with tempfile.TemporaryDirectory() as folder, TensorBoard(folder) as board:
        ...     curves = gainjax.run(
        ...         "split-digits", ["sgd"], seeds=1, updates_per_task=5, on_chunk=board
        ...     )
        ...     [path.name for path in Path(folder).glob("*/*")]
        ['seed-0']
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self._folder = expanded(folder)
        self._package = _needs("tensorboardX")

    def _open(self, setting: str, seed: int, first: int) -> Any:
        name = quote(setting, safe=" =,+")
        name = name.replace(".", "%2E") if not name.strip(".") else name  # not "..", the parent
        path = self._folder / name / f"seed-{seed}"
        return self._package.SummaryWriter(str(path), purge_step=first)

    def _write(self, writer: Any, scalars: dict[int, dict[str, float]]) -> None:
        for update, values in scalars.items():
            for name, value in values.items():
                writer.add_scalar(name, value, update)
        writer.flush()

    def _finish(self, writer: Any) -> None:
        writer.close()


class WandB(_Callback):
    """Log curves to Weights & Biases, one run per setting and seed, grouped by setting.

    Args:
        project: Name of the project.
        **options: Further arguments of ``wandb.init``. The mode defaults to "offline";
            ``wandb sync`` uploads offline runs. ``dir`` is where they are kept.

    Raises:
        ImportError: If wandb is not installed.

    Example:
        >>> watch = WandB("stability-gap", dir="logs")  # doctest: +SKIP
        >>> curves = gainjax.run("split-digits", ["sgd"], on_chunk=watch)  # doctest: +SKIP
    """

    def __init__(self, project: str = "gainjax", **options: Any) -> None:
        super().__init__()
        self._options = {"mode": "offline", "project": project, **options}
        self._package = _needs("wandb")

    def _open(self, setting: str, seed: int, first: int) -> Any:
        return self._package.init(
            name=f"{setting}, seed {seed}",
            group=setting,
            config={"setting": setting, "seed": seed},
            reinit="create_new",
            **self._options,
        )

    def _write(self, writer: Any, scalars: dict[int, dict[str, float]]) -> None:
        for update, values in scalars.items():
            writer.log(values, step=update)

    def _finish(self, writer: Any) -> None:
        writer.finish()


def _needs(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f'this callback needs {package}: pip install "gainjax[tracking]"'
        ) from error


def _scalars(arrived: Arrived, row: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each update of a run and its values by name."""
    curves = {"train_loss": arrived.train_loss, "gain": arrived.gain}
    if arrived.uncertainty is not None:
        curves["uncertainty"] = arrived.uncertainty
    evaluated = {update: i for i, update in enumerate(arrived.eval_updates.tolist())}
    seen = {update: i for i, update in enumerate(arrived.seen_updates.tolist())}
    for i, update in enumerate(arrived.updates.tolist()):
        values = {name: float(curve[row, i]) for name, curve in curves.items()}
        if update in evaluated:
            for name, curve in (("accuracy", arrived.accuracy), ("eval_loss", arrived.eval_loss)):
                for task, value in enumerate(curve[row, evaluated[update]], 1):
                    values[f"{name}/task_{task}"] = float(value)
        if update in seen and np.isfinite(value := arrived.seen_accuracy[row, seen[update]]):
            values["seen_accuracy"] = float(value)
        yield update, values
