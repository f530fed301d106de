"""The results of a run: labelled curves with provenance, in memory and on disk.

One run is one :class:`xarray.Dataset`. Everything that is told about a run afterwards (metrics,
tables, figures) is computed from it, and the file holds nothing but it.
"""

import io
import json
import math
import numbers
import os
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import xarray as xr

FORMAT = 1
FILE = "curves.nc"

_TRAINING = ("train_loss", "uncertainty", "gain")
_EVALUATION = ("accuracy", "eval_loss")
_DIMS = {
    **dict.fromkeys(_TRAINING, ("method", "seed", "update")),
    **dict.fromkeys(_EVALUATION, ("method", "seed", "eval_update", "eval_task")),
    "seen_accuracy": ("method", "seed", "seen_update"),
    "diverged_update": ("method", "seed"),
    "task": ("update",),
}
_ATTRS = ("format", "benchmark", "config", "versions", "device", "wall_time_seconds")


def to_dataset(
    records: Mapping[str, Any], config: Mapping[str, Any], wall_time_seconds: float
) -> xr.Dataset:
    """Label the curves of a run.

    Args:
        records: For each method's name, or each setting's label, an object with the attributes
            ``train_loss``, ``uncertainty`` and ``gain``, shape (seeds, updates), of each update's
            forward pass;
            ``accuracy`` (fractions in [0, 1]) and ``eval_loss``, shape (seeds, updates, tasks),
            after each update, NaN where nothing was evaluated; ``seen_accuracy``, shape
            (seeds, updates), likewise. A :class:`gainjax.training.program.Record` is one.
        config: What was run, as JSON can say it. It has ``benchmark`` (a name), ``seeds`` (a list
            of integers) and ``protocol``, a mapping with ``updates_per_task``.
        wall_time_seconds: Duration of the run.

    Returns:
        A dataset with the variables ``train_loss``, ``uncertainty`` (nats) and ``gain`` over
        (method, seed, update); ``accuracy`` and ``eval_loss`` over (method, seed, eval_update,
        eval_task); ``seen_accuracy`` over (method, seed, seen_update); ``diverged_update`` over
        (method, seed), the first update whose loss is not finite, 0 if none. The coordinates are
        names, seeds and 1-based numbers of updates and tasks; ``task`` is the task that is trained
        at each update. The attributes hold configuration and provenance.

        In a sweep, whose configuration lists ``settings`` and the names that are ``swept``, the
        first dimension is ``setting`` instead: labels such as ``"sgd learning_rate=0.1"``, with the
        coordinates ``method`` and one per swept hyper-parameter, NaN for methods without it.

    Raises:
        ValueError: If shapes disagree, accuracies are no fractions, or the configuration lacks
            something or cannot be JSON.

    Example:
        >>> from types import SimpleNamespace
        >>> series, tests = np.ones((2, 6)), np.full((2, 6, 1), 0.5)
        >>> record = SimpleNamespace(
        ...     train_loss=series,
        ...     uncertainty=series,
        ...     gain=series,
        ...     accuracy=tests,
        ...     eval_loss=tests,
        ...     seen_accuracy=series,
        ... )
        >>> config = {"benchmark": "mine", "seeds": [0, 1], "protocol": {"updates_per_task": 3}}
        >>> curves = to_dataset({"sgd": record}, config, wall_time_seconds=0.5)
        >>> task_ends(curves)
        array([3, 6])
    """
    seeds, updates_per_task = _check_config(config)
    if not records:
        raise ValueError("records must hold the curves of at least one method: got none")
    curves = {name: _stack(records, name, len(seeds)) for name in (*_TRAINING, *_EVALUATION)}
    curves["seen_accuracy"] = _stack(records, "seen_accuracy", len(seeds))
    total, tasks = curves["accuracy"].shape[2:]
    if any(array.shape[2:] not in ((total,), (total, tasks)) for array in curves.values()):
        shapes = {name: array.shape[1:] for name, array in curves.items()}
        raise ValueError(f"records must have the same updates and tasks everywhere: got {shapes}")
    if total % updates_per_task:
        raise ValueError(
            f"records must hold whole tasks of {updates_per_task} updates: got {total} updates"
        )
    eval_update = _evaluated(curves["accuracy"], "accuracy")
    if not eval_update.size:
        raise ValueError("accuracy must be evaluated at least once: got NaN everywhere")
    seen_update = _evaluated(curves["seen_accuracy"], "seen_accuracy")
    for name in _EVALUATION:
        curves[name] = curves[name][:, :, eval_update - 1]
    curves["seen_accuracy"] = curves["seen_accuracy"][:, :, seen_update - 1]
    diverged = _diverged_update(curves["train_loss"], curves["eval_loss"])

    update = np.arange(1, total + 1)
    dataset = xr.Dataset(
        {name: (_DIMS[name], array) for name, array in curves.items()}
        | {"diverged_update": (_DIMS["diverged_update"], diverged)},
        coords={
            "method": list(records),
            "seed": seeds,
            "update": update,
            "task": ("update", (update - 1) // updates_per_task + 1),
            "eval_update": eval_update,
            "eval_task": np.arange(1, tasks + 1),
            "seen_update": seen_update,
        },
        attrs={
            "format": FORMAT,
            "benchmark": config["benchmark"],
            "config": _to_json(config),
            **provenance(),
            "wall_time_seconds": float(wall_time_seconds),
        },
    )
    return dataset if "settings" not in config else _by_setting(dataset, config)


def _by_setting(dataset: xr.Dataset, config: Mapping[str, Any]) -> xr.Dataset:
    """Return curves of a sweep with its settings as rows, labelled by what varies."""
    rows = config["settings"]
    coords = {"method": [row["method"] for row in rows]} | {
        name: [row["hyperparameters"][name] if name in row["swept"] else np.nan for row in rows]
        for name in config["swept"]
    }
    return dataset.rename(method="setting").assign_coords(
        {name: ("setting", values) for name, values in coords.items()}
    )


def provenance() -> dict[str, str]:
    """Return what the numbers of a run depend on besides its configuration.

    Returns:
        ``versions``, a JSON object of package versions, and ``device``, the kind of the default
        device.

    Example:
        >>> list(json.loads(provenance()["versions"]))
        ['gainjax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy']
    """
    packages = ("gainjax", "jax", "jaxlib", "flax", "optax", "numpy")
    versions = json.dumps({name: version(name) for name in packages})
    return {"versions": versions, "device": jax.devices()[0].device_kind}


def task_ends(dataset: xr.Dataset) -> np.ndarray:
    """Return the update after which each task ends.

    Args:
        dataset: Curves with the coordinate ``task``.

    Returns:
        Numbers of updates, shape (tasks,), ascending; the last is the length of the run.
    """
    task = dataset.task.values
    return dataset["update"].values[np.append(task[1:] != task[:-1], True)]


def rows_dimension(dataset: xr.Dataset) -> str:
    """Return what the rows of a dataset are: "method" of a run, "setting" of a sweep.

    Args:
        dataset: Curves of a run or of a sweep.

    Returns:
        The name of the dimension.
    """
    return "setting" if "setting" in dataset.dims else "method"


def swept_names(dataset: xr.Dataset) -> list[str]:
    """Return the names of the hyper-parameters that a sweep varies, none for a run.

    Args:
        dataset: Curves of a run or of a sweep. In a sweep each name is a coordinate over
            ``setting``, NaN where a setting's method has no such hyper-parameter.

    Returns:
        The names, in the order of the configuration.
    """
    return list(json.loads(dataset.attrs["config"]).get("swept", []))


def save(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write curves to disk: completely or not at all.

    Args:
        dataset: Curves as :func:`to_dataset` makes them.
        path: A directory, made if needed, that gets ``curves.nc``; or a path that ends in ``.nc``.

    Returns:
        The path of the file, netCDF 4.

    Raises:
        ValueError: If the dataset is not of the described form.
        OSError: If the file cannot be written. What was there before is intact.
    """
    _check_form(dataset, "dataset")
    # The checksum tells a damaged file from a good one; NaN needs no stand-in.
    encoding = {"zlib": True, "complevel": 4, "fletcher32": True, "_FillValue": None}
    # Into memory first: HDF5 does not survive a full disk.
    content = dataset.drop_encoding().to_netcdf(
        engine="h5netcdf",
        encoding={name: encoding for name, array in dataset.data_vars.items() if array.size},
    )
    path = _file(path)
    write_file(path, bytes(content))
    return path


def load(path: str | Path) -> xr.Dataset:
    """Read curves from disk into memory.

    Args:
        path: The directory of a run, or its ``curves.nc``.

    Returns:
        The dataset as it was saved. The file is closed.

    Raises:
        FileNotFoundError: If there are no curves.
        ValueError: If the file is damaged, of another kind or of another format number.
    """
    path = _file(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"no curves at {path}: give the directory of a finished run, or its {FILE}"
        ) from None
    try:
        h5py.File(io.BytesIO(content)).close()  # h5netcdf leaves a half-open file if this fails
        dataset = xr.load_dataset(io.BytesIO(content), engine="h5netcdf", phony_dims="access")
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # as HDF5 feels
        raise ValueError(f"{path} is damaged or no netCDF 4 file: {error}") from error
    _check_form(dataset, str(path))
    dataset = dataset.drop_encoding()
    # netCDF numbers come as NumPy scalars.
    dataset.attrs = {k: getattr(v, "item", lambda v=v: v)() for k, v in dataset.attrs.items()}
    return dataset


def find(directory: str | Path, config: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the run that a directory already holds.

    Args:
        directory: Directory of a run, which need not exist.
        config: What is about to be run, as for :func:`to_dataset`.

    Returns:
        Its curves if it is a run of this configuration, None if there is no run.

    Raises:
        ValueError: If there is another run, so that nobody overwrites it unawares.
    """
    if not _file(directory).exists():
        return None
    found = load(directory)
    stored, wanted = json.loads(found.attrs["config"]), json.loads(_to_json(config))
    if stored != wanted:
        raise ValueError(
            f"{_file(directory)} holds another run: it differs in {difference(stored, wanted)}\n"
            "Choose another directory, or remove that file"
        )
    return found


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Tell in which entries two configurations differ: their names, then old and new values.

    Args:
        old: One configuration, maybe nested.
        new: The other one.

    Example:
        >>> print(difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 4}))
        a.b, d:
          a.b: 1 -> 3
          d: nothing -> 4
    """

    def flat(value: Any, name: str) -> dict[str, str]:
        if not isinstance(value, Mapping):
            return {name: json.dumps(value)}
        items = [flat(v, f"{name}.{k}" if name else k).items() for k, v in value.items()]
        return dict(item for part in items for item in part)

    before, after = flat(old, ""), flat(new, "")
    names = [name for name in before | after if before.get(name) != after.get(name)]
    lines = [f"\n  {k}: {before.get(k, 'nothing')} -> {after.get(k, 'nothing')}" for k in names]
    return f"{', '.join(names)}:{''.join(lines)}"


def write_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; directories are made as needed.

    Args:
        path: Where to write. A file that is there is replaced in one step.
        content: All of it.

    Raises:
        OSError: If that fails, with the path. What was there before is intact.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = f"cannot write: {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error


def _file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    return path if path.suffix == ".nc" and not path.is_dir() else path / FILE


def _check_config(config: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Return the seeds and the updates per task."""
    try:
        benchmark, seeds = config["benchmark"], np.asarray(config["seeds"])
        updates_per_task = config["protocol"]["updates_per_task"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"config must have benchmark, seeds and protocol.updates_per_task: {error!r}"
        ) from error
    if not isinstance(benchmark, str):
        raise ValueError(f"benchmark in config must be a name: got {benchmark!r}")
    if seeds.ndim != 1 or seeds.dtype.kind not in "iu" or len(np.unique(seeds)) < len(seeds):
        raise ValueError(f"seeds in config must be different integers: got {config['seeds']!r}")
    if not isinstance(updates_per_task, numbers.Integral) or updates_per_task < 1:
        raise ValueError(f"updates_per_task in config must be at least 1: got {updates_per_task!r}")
    return seeds.astype(np.int64), int(updates_per_task)


def _stack(records: Mapping[str, Any], name: str, seeds: int) -> np.ndarray:
    """Return one curve of all methods, shape (methods, seeds, updates, ...)."""
    arrays = [np.asarray(getattr(record, name)) for record in records.values()]
    ndim = 3 if name in _EVALUATION else 2
    shapes = {method: array.shape for method, array in zip(records, arrays, strict=True)}
    if any(len(s) != ndim or s[0] != seeds or not math.prod(s) for s in shapes.values()) or (
        len(set(shapes.values())) > 1
    ):
        axes = ("seeds", "updates", "tasks")[:ndim]
        raise ValueError(
            f"{name} must have the shape ({', '.join(axes)}) with {seeds} seeds, the same for "
            f"every method: got {shapes}"
        )
    return np.stack(arrays)


def _evaluated(accuracy: np.ndarray, name: str) -> np.ndarray:
    """Return the 1-based updates with accuracies; these are (methods, seeds, updates, ...)."""
    present = ~np.isnan(accuracy)
    by_update = np.moveaxis(present, 2, 0).reshape(present.shape[2], -1)
    if (by_update.any(axis=1) != by_update.all(axis=1)).any():
        raise ValueError(
            f"{name} must be evaluated after the same updates for every method, seed and task: "
            f"after update {np.argmax(by_update.any(axis=1) != by_update.all(axis=1)) + 1} "
            "some are NaN and some are not"
        )
    if (wrong := accuracy[present & ~((accuracy >= 0) & (accuracy <= 1))]).size:
        raise ValueError(f"{name} must be fractions in [0, 1]: got {wrong[0]}")
    return np.flatnonzero(by_update.any(axis=1)) + 1


def _diverged_update(train_loss: np.ndarray, eval_loss: np.ndarray) -> np.ndarray:
    """Return the first update (methods, seeds) with a loss that is not finite, or 0."""
    bad = ~np.isfinite(train_loss)
    # The training loss precedes its update, so the last update shows in the last evaluation only.
    bad[..., -1] |= ~np.isfinite(eval_loss[:, :, -1]).all(axis=-1)
    return np.where(bad.any(axis=-1), bad.argmax(axis=-1) + 1, 0).astype(np.int32)


def _check_form(dataset: xr.Dataset, where: str) -> None:
    """Raise ValueError unless a dataset has the form of :func:`to_dataset`."""
    found = dataset.attrs.get("format", FORMAT)
    if found != FORMAT:
        raise ValueError(
            f"{where} has format {found}, and this version of gainjax knows format {FORMAT}: use "
            f"the version that wrote it, {dataset.attrs.get('versions', 'which it does not tell')}"
        )
    if missing := [name for name in _ATTRS if name not in dataset.attrs]:
        raise ValueError(f"{where} holds no curves of gainjax: no attribute {missing[0]!r}")
    rows = rows_dimension(dataset)
    wanted = {k: tuple(rows if d == "method" else d for d in dims) for k, dims in _DIMS.items()}
    if rows == "setting":
        wanted |= dict.fromkeys(("method", *swept_names(dataset)), ("setting",))
    for name, dims in wanted.items():
        if name not in dataset.variables or dataset[name].dims != dims:
            raise ValueError(
                f"{where} holds no curves of gainjax: no {name} over {', '.join(dims)}"
            )


def _to_json(config: Mapping[str, Any]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray | jax.Array):
            return value.tolist()
        raise ValueError(f"config must be something that JSON can say: got {value!r}")

    return json.dumps(config, default=plain)
