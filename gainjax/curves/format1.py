"""Files of format 1, in which a run and a sweep had different shapes and evaluated every task."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from gainjax.curves.dims import DIMS, FORMAT
from gainjax.curves.shape import Setting, swept_coordinates, to_json

# That format had no titles: these are the names that its figures used for methods.
_TITLES = {"ngm-sgd": "NGM-SGD", "sgd": "SGD", "msgd": "MSGD", "adam": "Adam"}


def from_format_1(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Return curves of format 1 in the present format.

    Args:
        dataset: The content of the file.
        where: Its path, for messages.

    Returns:
        The same numbers; the description contains what the configuration stated.

    Raises:
        ValueError: If the file does not hold curves of that format.
    """
    try:
        config = json.loads(dataset.attrs["config"])
        if "setting" not in dataset.dims:
            dataset = dataset.rename(method="setting")
        settings = _settings(dataset, config)
        dataset = dataset.drop_vars(
            [name for name in dataset.coords if dataset[name].dims == ("setting",)]
        ).assign_coords(_coordinates(dataset, settings))
        if not dataset.sizes["seen_update"]:
            dataset = dataset.drop_vars("seen_accuracy")
        environment = {
            "versions": json.loads(dataset.attrs["versions"]),
            "device": dataset.attrs["device"],
        }
        attrs = {
            "format": FORMAT,
            "benchmark": dataset.attrs["benchmark"],
            "score": "accuracy",
            "spec": to_json("spec", _spec(config, settings)),
            "environment": to_json("environment", environment),
            "wall_time_seconds": dataset.attrs["wall_time_seconds"],
        }
        for name, dims in DIMS.items():
            if name in dataset:
                dataset[name] = dataset[name].transpose(*dims)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{where} does not hold gainjax curves: {error!r}") from error
    dataset.attrs = attrs
    return dataset


def _settings(dataset: xr.Dataset, config: Mapping[str, Any]) -> list[Setting]:
    labels = dataset["setting"].values.tolist()
    if "settings" not in config:
        values = config["methods"]
        return [Setting(name, name, _TITLES.get(name, name), values[name]) for name in labels]
    rows = dict(zip(labels, config["settings"], strict=True))
    return [
        Setting(
            label,
            row["method"],
            _TITLES.get(row["method"], row["method"]),
            row["hyperparameters"],
            tuple(row["swept"]),
        )
        for label, row in rows.items()
    ]


def _coordinates(dataset: xr.Dataset, settings: list[Setting]) -> dict[str, Any]:
    task = dataset["task"].values
    ends = dataset["update"].values[np.append(task[1:] != task[:-1], True)]
    return {
        "setting": [row.label for row in settings],
        "method": ("setting", [row.method for row in settings]),
        "title": ("setting", [row.title for row in settings]),
        **swept_coordinates(settings),
        "task_end": ends,
    }


def _spec(config: Mapping[str, Any], settings: list[Setting]) -> dict[str, Any]:
    """Return the configuration in the form of a description; nothing is added to it."""
    kept = {k: v for k, v in config.items() if k not in ("methods", "settings", "swept")}
    rows = [{**row._asdict(), "swept": list(row.swept)} for row in settings]
    return {**kept, "settings": rows}
