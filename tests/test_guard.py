"""Directories of runs are guarded against other runs, other processes and strangers."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading

import flax.linen as nn
import pytest
from interruptions import checkpoint_every_chunk, numbers
from stored_runs import assert_same, go

import gainjax
from gainjax.methods import METHODS as REGISTERED
from gainjax.runs import guard, identity
from gainjax.runs import store as run_store
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.part_store import CheckpointWarning

pytestmark = pytest.mark.slow

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_another_configuration_is_refused_with_the_difference(broken):
    before = files(broken)
    with pytest.raises(ValueError, match="another unfinished run") as caught:
        go(broken, seeds=[0, 5], hyperparameters={"adam": {"learning_rate": 0.5}})
    told = str(caught.value)
    assert "\n  seeds: [0, 1] -> [0, 5]\n" in told
    rate = get_benchmark("split-digits").defaults(REGISTERED["adam"])["learning_rate"]
    assert f"\n  settings[adam].hyperparameters.learning_rate: {rate} -> 0.5\n" in told
    assert "batch_size" not in told
    assert files(broken) == before


def test_a_finished_other_configuration_is_refused_with_the_difference(tmp_path):
    go(tmp_path, ["adam"])
    with pytest.raises(ValueError, match=r"protocol.batch_size: 16 -> 8"):
        go(tmp_path, ["adam"], batch_size=8)


def test_other_data_are_refused(broken, monkeypatch):
    benchmark = get_benchmark("split-digits")
    load = type(benchmark).load

    def other(self, data_dir=None, eval_examples=None):
        stream = load(self, data_dir, eval_examples)
        images = stream.train_inputs.copy()
        images[7, 3, 3] ^= 1
        return stream._replace(train_inputs=images)

    monkeypatch.setattr(type(benchmark), "load", other)
    with pytest.raises(ValueError, match=r'data: "[0-9a-f]{8}" -> "[0-9a-f]{8}"'):
        go(broken)


def test_other_versions_are_told(broken, uninterrupted):
    path = broken / run_store.FOLDER / "run.json"
    header = json.loads(path.read_text())
    header["environment"]["device"] = "abacus"
    path.write_text(json.dumps(identity.seal(header)))
    with pytest.warns(CheckpointWarning, match='device: "abacus" -> '):
        assert_same(go(broken), uninterrupted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec["settings"][0].update(label=["a"]), "unhashable type: 'list'"),
        (lambda spec: spec["settings"][0].update(label=3), "must be text: got 3"),
        (lambda spec: spec["settings"][0].update(method="none"), "no reference for 'none'"),
        (lambda spec: spec["references"].update(adam=7), "it refers to 7"),
        (lambda spec: spec.update(found_by=[]), r"it refers to \[\]"),
    ],
)
def test_a_crafted_description_is_refused_in_words(broken, change, message):
    path = broken / run_store.FOLDER / "run.json"
    header = json.loads(path.read_text())
    change(header["spec"])
    path.write_text(json.dumps(identity.seal(header)))
    with pytest.raises(ValueError, match=rf"run.json is damaged \(.*{message}"):
        gainjax.resume(broken)


def test_a_second_process_is_refused(broken, uninterrupted):
    before = files(broken)
    code = (
        "import sys, pathlib, runpy; lock = runpy.run_path(sys.argv[1])['lock']\n"
        "with lock(pathlib.Path(sys.argv[2])): print('locked', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, guard.__file__, broken],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError, match=f"process {process.pid} is running") as caught:
            go(broken)
        assert str(broken) in str(caught.value)
        assert files(broken) == before
        process.kill()
    assert_same(go(broken), uninterrupted)  # a killed process holds no lock


def test_a_look_at_the_lock_stops_nobody(tmp_path):
    """It holds the lock for a moment; whoever holds it for long keeps others out."""
    with guard.lock(tmp_path):
        assert guard.is_locked(tmp_path)
    look = (tmp_path / ".lock").open("rb")
    fcntl.flock(look, fcntl.LOCK_SH)
    threading.Timer(0.06, look.close).start()
    with guard.lock(tmp_path):
        assert guard.is_locked(tmp_path)
    with (tmp_path / ".lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(BlockingIOError), guard.lock(tmp_path):
            pass


def test_a_pipe_in_place_of_a_lock_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    assert not guard.is_locked(tmp_path)
    with pytest.raises(OSError, match="the lock is not a file: remove it"), guard.lock(tmp_path):
        pass


@pytest.mark.exhaustive
def test_another_activation_is_another_run(tmp_path):
    def model(function):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(10)(function(nn.Dense(8)(x.reshape(len(x), -1))))

        return gainjax.models.from_linen(Net())

    gainjax.run("split-digits", ["sgd"], 1, model=model(nn.relu), out=tmp_path, **SHORT)
    with pytest.raises(ValueError, match="another program"):
        gainjax.run("split-digits", ["sgd"], 1, model=model(nn.tanh), out=tmp_path, **SHORT)


@pytest.mark.exhaustive
@pytest.mark.parametrize("harm", ["renamed", "cleaned", "unlocked"])
def test_a_directory_that_is_tampered_with_during_a_run(tmp_path, monkeypatch, harm):
    checkpoint_every_chunk(monkeypatch)
    out = tmp_path / "out"
    options = SHORT | {"chunk": 2}
    methods, wanted = ["sgd", "adam"], gainjax.run("split-digits", ["sgd", "adam"], 1, **SHORT)
    seen = []

    def at(label, done, _):
        if label == "adam" and not seen:
            seen.append(done)
            if harm == "renamed":
                out.rename(tmp_path / "elsewhere")
            elif harm == "cleaned":
                shutil.rmtree(out / "progress")
            else:
                (out / ".lock").unlink()
                second = gainjax.run("split-digits", methods, 1, out=out, **options)
                assert numbers(second).identical(numbers(wanted))

    if harm == "cleaned":  # of what is lost, nothing is needed any more but for resuming
        with contextlib.suppress(OSError):
            found = gainjax.run("split-digits", methods, 1, out=out, on_chunk=at, **options)
            assert numbers(found).identical(numbers(wanted))
    else:
        with pytest.raises(OSError, match=r"moved or cleaned|removed|not this run's"):
            gainjax.run("split-digits", methods, 1, out=out, on_chunk=at, **options)
        assert (out / "curves.nc").exists() == (harm == "unlocked")
    again = gainjax.run("split-digits", methods, 1, out=out, **options)
    assert numbers(again).identical(numbers(wanted))


@pytest.mark.exhaustive
def test_a_lock_that_is_a_link_or_a_pipe_is_left_alone(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for kind in ("link", "pipe"):
        out = tmp_path / kind
        out.mkdir()
        (out / ".lock").symlink_to(victim) if kind == "link" else os.mkfifo(out / ".lock")
        with pytest.raises(OSError, match=r"the lock is a symbolic link|the lock is not a file"):
            gainjax.run("split-digits", ["sgd"], 1, out=out, **SHORT)
    assert victim.read_text() == "mine"
