"""Callbacks write the curves that the run returns; read back with the packages' own readers."""

import importlib.util
import subprocess
import sys

import pytest

import gainjax
from gainjax.callbacks import TensorBoard, WandB

SHORT = {"seeds": 2, "updates_per_task": 4, "batch_size": 16, "eval_examples": 20, "chunk": 3}
SHORT |= {"eval_every": 2, "eval_tasks": "all"}


@pytest.mark.exhaustive
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


@pytest.mark.slow
def test_labels_of_any_kind_make_folders_of_their_own(tmp_path):
    pytest.importorskip("tensorboardX")
    methods = {"a/b": "sgd", "..": "sgd"}
    with TensorBoard(tmp_path / "logs") as board:
        gainjax.run("split-digits", methods, on_chunk=board, **SHORT | {"seeds": 1})
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    assert found == ["logs/%2E%2E", "logs/a%2Fb"]


LOGGING = """
import sys, wandb, gainjax
from gainjax.callbacks import WandB
quiet = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
with WandB("mine", dir=sys.argv[1], settings=quiet) as watch:
    gainjax.run("split-digits", ["sgd"], on_chunk=watch, **eval(sys.argv[2]))
"""


@pytest.mark.exhaustive
def test_wandb_has_one_offline_run_per_setting_and_seed(tmp_path):
    """In a process of its own, since it starts threads and a service that stay."""
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    words = [sys.executable, "-c", LOGGING, str(tmp_path), repr(SHORT)]
    process = subprocess.run(words, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    found = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(found) == 2
    assert all(path.stat().st_size > 500 for path in found)


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    for package, make in (("tensorboardX", TensorBoard), ("wandb", WandB)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"needs {package}: pip install .gainjax\[tracking"):
            make(str(tmp_path))
