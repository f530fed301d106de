"""Runs that are killed or stopped."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from interruptions import checkpoint_every_chunk
from stored_runs import (
    CHUNK,
    METHODS,
    SETTINGS,
    TOTAL,
    assert_same,
    assert_tidy,
    go,
    resume,
    stop_after,
)

from gainjax import curves as results
from gainjax.runs import files as run_files
from gainjax.runs import part_store
from gainjax.runs import store as run_store
from gainjax.runs.guard import Interrupted, stoppable

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


# A process that has imported everything forks the processes that are killed: that saves seconds.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from gainjax.runs.guard import Interrupted
from gainjax import run
from gainjax.runs import part_store
from gainjax.runs.part_store import PartStore
assert "orbax.checkpoint" not in sys.modules
import orbax.checkpoint
from sklearn.datasets import load_digits
load_digits()  # no more: a process that has used JAX must not fork

folder = Path(sys.argv[1])
log = folder / "log"
settings, methods, chunk = eval(sys.argv[2])
part_store.FIRST = part_store.SPACING = 0.0
keep, restore = PartStore.keep, PartStore.restore


def slow_keep(self, chunk):
    keep(self, chunk)
    os.write(pipe, b"x")
    time.sleep(pause)


def noting_restore(self, abstract):
    found = restore(self, abstract)
    with log.open("a") as file:
        print(self.name, found[0] if found else 0, file=file)
    return found


PartStore.keep, PartStore.restore = slow_keep, noting_restore


def position():
    progress = out / "progress"
    for method in methods:
        if not (progress / f"{method}.npz").exists():  # what is finished is not resumed
            steps = [int(p.stem) for p in (progress / method).glob("*.crc32")]
            return f"{method} {max(steps, default=0)}"


def torture(signum, kills):
    killed = 0
    while True:
        global pipe, pause
        read, pipe = os.pipe()
        pause = 0.03 if killed < kills else 0
        expected = position()
        log.unlink(missing_ok=True)
        if (child := os.fork()) == 0:
            try:
                run("split-digits", methods, out=out, chunk=chunk, threads=1, **settings)
            except Interrupted as stopped:
                print(stopped, flush=True)
                os._exit(128 + stopped.signum)
            os._exit(0)
        os.close(pipe)
        if killed < kills:
            if killed % 5 < 4:
                os.read(read, 1)  # the first chunk is done
            time.sleep(rng.uniform(0, 0.25))
            os.kill(child, signum)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(read)
        if expected and log.exists():
            assert log.read_text().splitlines()[0] == expected, (log.read_text(), expected)
        if killed == kills:
            assert status == 0, status
            return
        killed += 1
        print("killed", killed, status, position(), flush=True)
        assert status in (-signum, 128 + signum), status


rng = random.Random(0)
out = folder / "uninterrupted"
torture(signal.SIGKILL, 0)
out = folder / "killed"
torture(signal.SIGKILL, 20)
out = folder / "terminated"
torture(signal.SIGTERM, 4)
"""


@pytest.mark.exhaustive
def test_killed_at_random_moments(tmp_path):
    """20 times by SIGKILL, 4 times by SIGTERM: each time it resumes from the newest checkpoint."""
    settings = SETTINGS | {"updates_per_task": 30}
    process = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), str((settings, METHODS, CHUNK))],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )
    told = process.stdout
    assert process.returncode == 0, told + process.stderr
    assert sum(line.startswith("killed") for line in told.splitlines()) == 24
    assert told.count("stopped by SIGTERM after update") >= 3
    expected = results.load(tmp_path / "uninterrupted")
    for name in ("killed", "terminated"):
        assert_tidy(tmp_path / name)
        assert_same(results.load(tmp_path / name), expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("method", "done"), [("ngm-sgd", 3), ("ngm-sgd", TOTAL), ("adam", 22), ("adam", TOTAL)]
)
def test_a_signal_stops_after_the_chunk(
    tmp_path, monkeypatch, uninterrupted, restored, signum, method, done
):
    monkeypatch.setattr(part_store, "FIRST", 1e9)  # only the signal makes a checkpoint
    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        stop_after(patch, method, done, lambda: signal.raise_signal(signum))
        with pytest.raises(Interrupted, match=f"update {done} of {TOTAL} of {method}") as caught:
            go(tmp_path)
    assert caught.value.signum == signum
    assert f"gainjax resume {tmp_path}" in str(caught.value)
    assert signal.getsignal(signum) is before
    restored.clear()
    assert_same(resume(tmp_path), uninterrupted)
    expected = {"ngm-sgd": {"ngm-sgd": done, "adam": 0}, "adam": {"adam": done}}[method]
    assert restored == {name: n for name, n in expected.items() if n != TOTAL}
    assert_tidy(tmp_path)


def test_parts_side_by_side_all_store_what_they_have(tmp_path, monkeypatch):
    monkeypatch.setattr(part_store, "FIRST", 1e9)  # only the signal makes a checkpoint
    begun = {}

    def stop(label, done, _):
        new, begun[label] = label not in begun, done
        if new and len(begun) == len(METHODS):  # a second signal would act at once
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="Everything is stored"):
        go(tmp_path, threads=2, on_chunk=stop)
    for method, done in begun.items():
        steps = run_files.sealed_steps(tmp_path / run_store.FOLDER / method)
        assert steps[-1:] >= [done] or (tmp_path / run_store.FOLDER / f"{method}.npz").exists()
    assert_same(resume(tmp_path), go())
    assert_tidy(tmp_path)


def test_a_second_signal_acts_at_once(monkeypatch, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    stop_after(monkeypatch, "ngm-sgd", 6, twice)
    with pytest.raises(KeyboardInterrupt) as caught:
        go(tmp_path)
    assert not isinstance(caught.value, Interrupted)


def test_a_signal_that_is_not_heeded_comes_back():
    def ignore():
        with stoppable() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.signum == signal.SIGINT

    with pytest.raises(KeyboardInterrupt):
        ignore()


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.signum is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread(tmp_path, uninterrupted):
    found = []
    thread = threading.Thread(target=lambda: found.append(go(tmp_path)))
    thread.start()
    thread.join()
    assert_same(found[0], uninterrupted)
