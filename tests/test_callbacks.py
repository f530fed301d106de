"""Callbacks write the curves that the run returns; read back with the packages' own readers."""

import sys

import numpy as np
import pytest

import gainjax
from gainjax.callbacks import TensorBoard, WandB

SHORT = {"seeds": 2, "updates_per_task": 4, "batch_size": 16, "eval_examples": 20, "chunk": 3}
SHORT |= {"eval_every": 2, "eval_tasks": "all"}


def test_tensorboard_has_one_run_per_setting_and_seed(tmp_path):
    tensorboardX = pytest.importorskip("tensorboardX")
    grid = {"learning_rate": [0.1, 0.01]}
    with TensorBoard(tmp_path) as board:
        curves = gainjax.sweep("split-digits", grid, ["sgd"], on_chunk=board, **SHORT)
    folders = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    assert folders == [
        f"{label}/seed-{seed}" for label in sorted(curves.setting.values) for seed in (0, 1)
    ]
    label = "sgd learning_rate=0.01"
    found = read_events(tensorboardX, tmp_path / label / "seed-1")
    wanted = curves.sel(setting=label, seed=1)
    assert found["train_loss"] == pairs(wanted["update"], wanted.train_loss)
    assert found["accuracy/task_5"] == pairs(wanted.eval_update, wanted.accuracy[:, 4])
    assert found["eval_loss/task_1"] == pairs(wanted.eval_update, wanted.eval_loss[:, 0])


def read_events(tensorboardX, folder):
    """Read event files by the format's own definition: length, checksum, record, checksum."""
    found = {}
    for path in folder.glob("events*"):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = tensorboardX.proto.event_pb2.Event.FromString(content[12 : 12 + size])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            content = content[size + 16 :]
    return found


def pairs(updates, values):
    return list(zip(updates.values.tolist(), values.values.tolist(), strict=True))


def test_labels_of_any_kind_make_folders_of_their_own(tmp_path):
    pytest.importorskip("tensorboardX")
    methods = {"a/b": "sgd", "..": "sgd"}
    with TensorBoard(tmp_path / "logs") as board:
        gainjax.run("split-digits", methods, on_chunk=board, **SHORT | {"seeds": 1})
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    assert found == ["logs/%2E%2E", "logs/a%2Fb"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_has_one_offline_run_per_setting_and_seed(tmp_path):
    wandb = pytest.importorskip("wandb")
    quiet = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
    with WandB("mine", dir=tmp_path, settings=quiet) as watch:
        curves = gainjax.run("split-digits", ["sgd"], on_chunk=watch, **SHORT)
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    assert all(path.stat().st_size > 500 for path in files)
    assert np.isfinite(curves.train_loss).all()


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    for package, make in (("tensorboardX", TensorBoard), ("wandb", WandB)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"needs {package}: pip install .gainjax\[tracking"):
            make(str(tmp_path))
