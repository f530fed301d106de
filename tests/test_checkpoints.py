"""Runs that are stopped, killed, damaged or not alone: what comes out is what would have been."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr
from interruptions import Crash, checkpoint_every_chunk

import gainjax
from gainjax import curves as results
from gainjax.curves import disk
from gainjax.methods import METHODS as REGISTERED
from gainjax.runs import files as run_files
from gainjax.runs import guard, identity, part_store
from gainjax.runs import store as run_store
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.guard import Interrupted, stoppable
from gainjax.runs.part_store import CheckpointWarning, PartStore
from gainjax.runs.store import open_store, stored_header

pytestmark = pytest.mark.slow

METHODS = ["ngm-sgd", "adam"]
SETTINGS = {"seeds": 2, "updates_per_task": 8, "batch_size": 16, "eval_examples": 20}
CHUNK = 3
TOTAL = 40  # updates of a method


def go(out=None, methods=METHODS, chunk=CHUNK, **changes):
    """Run one method after the other, so that a crash always finds the same parts finished."""
    options = {"threads": 1} | SETTINGS | changes
    return gainjax.run("split-digits", methods, out=out, chunk=chunk, **options)


def resume(directory):
    return gainjax.resume(directory, threads=1)


@pytest.fixture(scope="module")
def uninterrupted():
    return go()


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


def stop_after(monkeypatch, method, done, action):
    """Do something once a method has done so many updates."""
    keep = PartStore.keep

    def stop(self, chunk):
        if (self.name, chunk.done) == (method, done):
            action()
        keep(self, chunk)

    monkeypatch.setattr(PartStore, "keep", stop)


def crash(out, method, done):
    def fail():
        raise Crash

    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, method, done, fail)
        with pytest.raises(Crash):
            go(out)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A run whose second method crashed in its fourth task; copy it before use."""
    out = tmp_path_factory.mktemp("crashed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        checkpoint_every_chunk(monkeypatch)
        crash(out, "adam", 30)
    return out


@pytest.fixture
def broken(crashed, tmp_path):
    """Output directory with the first method finished and the second stored up to update 27."""
    return shutil.copytree(crashed, tmp_path / "out")


@pytest.fixture
def restored(monkeypatch):
    """From where each method went on."""
    positions = {}
    restore = PartStore.restore

    def note(self, abstract):
        found = restore(self, abstract)
        positions[self.name] = found[0] if found else 0
        return found

    monkeypatch.setattr(PartStore, "restore", note)
    return positions


def assert_same(curves, expected):
    """Every variable and coordinate to the last bit; the attributes but for the duration."""
    xr.testing.assert_identical(curves.drop_attrs(), expected.drop_attrs())
    for name, array in expected.variables.items():
        assert curves[name].values.tobytes() == array.values.tobytes(), name
    assert curves.attrs.keys() == expected.attrs.keys()
    assert curves.attrs["spec"] == expected.attrs["spec"]


def assert_tidy(out):
    assert {path.name for path in out.iterdir()} == {".lock", results.FILE}


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flip":
        position = len(content) // 2
        if path.suffix == ".npz":  # in a number: zip has bytes that nobody reads
            position = content.index(run_files.read_curves(path)[0].train_loss.tobytes())
        content[position] ^= 4
        path.write_bytes(content)
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


# --- Killed and stopped ---------------------------------------------------------------------------

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


# --- Going on -------------------------------------------------------------------------------------


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


# --- Damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_passed_over(broken, uninterrupted, restored, how):
    newest = broken / run_store.FOLDER / "adam" / "27"
    damage(largest_file(newest), how)
    with pytest.warns(CheckpointWarning, match=f"{newest} is damaged"):
        assert_same(go(broken), uninterrupted)
    assert restored == {"adam": 24}


def test_every_file_of_a_checkpoint_counts(broken):
    newest = broken / run_store.FOLDER / "adam" / "27"
    whole = run_files.checksum(newest)
    files = [p for p in newest.rglob("*") if p.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        for how in ("flip", "truncate", "remove"):
            damage(path, how)
            assert run_files.checksum(newest) != whole
            path.write_bytes(content)
    assert run_files.checksum(newest) == whole


def test_a_damaged_checksum_damages_its_checkpoint(broken, uninterrupted, restored):
    damage(broken / run_store.FOLDER / "adam" / "27.crc32", "flip")
    with pytest.warns(CheckpointWarning, match="27 is damaged"):
        assert_same(go(broken), uninterrupted)
    assert restored == {"adam": 24}


def test_without_an_intact_checkpoint_a_method_starts_again(broken, uninterrupted, restored):
    for step in ("24", "27"):
        damage(largest_file(broken / run_store.FOLDER / "adam" / step), "flip")
    with (
        pytest.warns(CheckpointWarning, match="27 is damaged"),
        pytest.warns(CheckpointWarning, match="24 is damaged"),
        pytest.warns(CheckpointWarning, match="adam starts over"),
    ):
        assert_same(go(broken), uninterrupted)
    assert restored == {"adam": 0}


@pytest.mark.parametrize("how", ["flip", "truncate"])
@pytest.mark.parametrize(("start", "position"), [(24, 24), (0, 0)])
def test_damaged_curves_are_made_anew(broken, uninterrupted, restored, how, start, position):
    folder = broken / run_store.FOLDER / "adam"
    (path,) = folder.glob(f"{start:08d}-*.npz")
    damage(path, how)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.warns(CheckpointWarning, match=f"{path} is damaged"))
        if position == 0:
            stack.enter_context(pytest.warns(CheckpointWarning, match="adam starts over"))
        assert_same(go(broken), uninterrupted)
    assert restored == {"adam": position}


def test_missing_curves_are_made_anew(broken, uninterrupted, restored):
    next((broken / run_store.FOLDER / "adam").glob("00000024-*.npz")).unlink()
    assert_same(go(broken), uninterrupted)
    assert restored == {"adam": 24}


@pytest.mark.parametrize("how", ["flip", "truncate"])
def test_damaged_curves_of_a_finished_method(broken, uninterrupted, restored, how):
    damage(broken / run_store.FOLDER / "ngm-sgd.npz", how)
    with pytest.warns(CheckpointWarning, match="ngm-sgd.npz is damaged: ngm-sgd is trained again"):
        assert_same(go(broken), uninterrupted)
    assert restored == {"ngm-sgd": 0, "adam": 27}


def test_every_flipped_bit_of_curves_shows_or_does_no_harm(broken):
    path = next((broken / run_store.FOLDER / "adam").glob("00000024-*.npz"))
    whole, content = run_files.read_curves(path), path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 150, replace=False):
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        found = run_files.read_curves(path)
        if found is not None:
            np.testing.assert_equal(found, whole)


@pytest.mark.parametrize("how", ["truncate", "other format"])
def test_an_unreadable_header_is_refused(broken, how):
    path = broken / run_store.FOLDER / "run.json"
    if how == "truncate":
        damage(path, how)
        expected = "run.json is damaged .* to start over"
    else:
        header = json.loads(path.read_text()) | {"format": 99}
        path.write_text(json.dumps(header))
        expected = "has format 99, and this version of gainjax knows format 3"
    for again in (go, resume):
        with pytest.raises(ValueError, match=expected):
            again(broken)


def test_states_of_another_shape_are_refused(broken):
    header = stored_header(broken)
    assert header.spec.seeds == (0, 1)
    with (
        open_store(broken, header) as store,
        store.part("adam") as part,
        pytest.raises(ValueError, match="27 is intact, but its states do not fit"),
    ):
        part.restore({"weights": np.zeros(3)})


# --- Another run, another process -----------------------------------------------------------------


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


# --- A disk that does not take it -----------------------------------------------------------------


@pytest.mark.parametrize("where", ["file/out", "/proc/out"])
def test_a_place_that_cannot_be_written(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write") as caught:
        go(tmp_path / where)
    assert where in caught.value.filename


@pytest.fixture
def small_disk(tmp_path):
    """A disk with 8 MiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not sys.platform.startswith("linux") or libc.mount(
        b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=8m"
    ):
        pytest.skip("mounting a small disk is not permitted here")
    yield tmp_path
    libc.umount2(os.fsencode(tmp_path), 2)


# Orbax closes its event loop before all of its writers have failed.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("free", [0, 30, 200, 600])
def test_a_full_disk(small_disk, uninterrupted, free):
    """Wherever it happens: an error with the path, and after making room the run goes on."""
    earlier = go(small_disk / "earlier", ["adam"])
    filler = small_disk / "filler"
    stat = os.statvfs(small_disk)
    room = stat.f_bavail * stat.f_frsize
    filler.write_bytes(bytes(max(0, room - free * 1024)))
    out = small_disk / "out"
    with pytest.raises(OSError, match="No space left") as caught:
        go(out)
    assert caught.value.errno == errno.ENOSPC
    assert str(out) in str(caught.value)
    assert_same(results.load(small_disk / "earlier"), earlier)
    filler.unlink()
    assert_same(go(out), uninterrupted)


@pytest.mark.parametrize("file", ["npz", "crc32", "nc", "orbax"])
def test_writing_fails_in_the_middle(tmp_path, monkeypatch, uninterrupted, file):
    def fail(path, *args):
        if str(path).endswith(file) or file == "orbax":
            raise OSError(errno.ENOSPC, "cannot write: No space left on device", str(path))
        return write(path, *args)

    with monkeypatch.context() as patch:
        if file == "orbax":
            import orbax.checkpoint

            patch.setattr(orbax.checkpoint.Checkpointer, "save", lambda s, p, x: fail(p))
        else:
            write = disk.write_file
            for module in (disk, part_store, run_files):
                patch.setattr(module, "write_file", fail)
        with pytest.raises(OSError, match="No space left") as caught:
            go(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert_same(go(tmp_path), uninterrupted)
    assert_tidy(tmp_path)


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
