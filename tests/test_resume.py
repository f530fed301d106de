"""Runs that go on from what is stored."""

import json
import shutil
import signal

import pytest
from interruptions import checkpoint_every_chunk
from stored_runs import CHUNK, assert_same, assert_tidy, crash, go, resume, stop_after

from gainjax import curves as results
from gainjax.runs import files as run_files
from gainjax.runs import part_store
from gainjax.runs import store as run_store
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.guard import Interrupted

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


def test_what_is_stored_meanwhile(broken):
    folder = broken / run_store.FOLDER
    assert {p.name for p in folder.iterdir()} == {"run.json", "ngm-sgd.npz", "adam"}
    steps = {p.name for p in (folder / "adam").iterdir() if p.suffix != ".npz"}
    assert steps == {"24", "24.crc32", "27", "27.crc32"}  # the last two
    header = json.loads((folder / "run.json").read_text())
    assert header["format"] == run_store.FORMAT
    assert header["spec"]["seeds"] == [0, 1]
    assert "jax" in header["environment"]["versions"]


@pytest.mark.parametrize("chunk", [CHUNK, 100])
def test_the_same_command_goes_on_within_a_task(broken, uninterrupted, restored, chunk):
    assert_same(go(broken, chunk=chunk), uninterrupted)
    assert restored == {"adam": 27}
    assert_tidy(broken)
    assert_same(go(broken), uninterrupted)  # what is finished is returned
    assert restored == {"adam": 27}


def test_resume_needs_nothing_but_the_directory(broken, uninterrupted, restored, monkeypatch):
    monkeypatch.chdir(broken.parent)
    assert_same(resume("out"), uninterrupted)
    assert restored == {"adam": 27}
    assert_same(resume("out"), uninterrupted)


def test_resume_finds_the_data_where_they_were(tmp_path, monkeypatch):
    benchmark, asked = get_benchmark("split-digits"), []
    load = type(benchmark).load

    def note(self, data_dir=None, eval_examples=None):
        asked.append(data_dir)
        return load(self, None, eval_examples)

    monkeypatch.setattr(type(benchmark), "load", note)
    with monkeypatch.context() as patch:
        stop_after(patch, "adam", 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted):
            go(tmp_path, data_dir=tmp_path / "data")
    resume(tmp_path)
    assert asked == [tmp_path / "data", str(tmp_path / "data")]


def test_resume_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*nowhere"):
        resume(tmp_path / "nowhere")


def test_the_duration_adds_up(broken):
    stored = [run_files.read_curves(p)[1] for p in broken.rglob("*.npz")]
    assert go(broken).attrs["wall_time_seconds"] > sum(stored) > 0


def test_leftovers_of_a_kill_do_not_matter(broken, uninterrupted, restored):
    folder = broken / run_store.FOLDER / "adam"
    shutil.copytree(folder / "27", folder / "30")  # without its checksum
    shutil.copytree(folder / "27", folder / "30.orbax-checkpoint-tmp")
    shutil.copy(folder / "00000024-00000027.npz", folder / "00000027-00000030.npz")
    (broken / f".{results.FILE}.0123.tmp").write_bytes(b"half")
    (folder / ".00000027-00000030.npz.0123.tmp").write_bytes(b"half")
    assert_same(go(broken), uninterrupted)
    assert restored == {"adam": 27}
    assert_tidy(broken)


def test_checkpoints_are_rare_when_they_are_slow(tmp_path, monkeypatch):
    monkeypatch.setattr(part_store, "SPACING", 1e9)
    crash(tmp_path / "slow", "adam", 30)
    assert run_files.sealed_steps(tmp_path / "slow" / run_store.FOLDER / "adam") == [CHUNK]
    monkeypatch.setattr(part_store, "FIRST", 1e9)
    crash(tmp_path / "short", "adam", 30)
    assert {p.name for p in (tmp_path / "short" / run_store.FOLDER).iterdir()} == {
        "run.json",
        "ngm-sgd.npz",
    }
