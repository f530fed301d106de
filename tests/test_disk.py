"""Disks that do not take what is to be stored."""

import ctypes
import errno
import os
import sys

import pytest
from interruptions import checkpoint_every_chunk
from stored_runs import assert_same, assert_tidy, go

import gainjax
from gainjax import curves as results
from gainjax.curves import disk
from gainjax.runs import files as run_files
from gainjax.runs import part_store

pytestmark = pytest.mark.slow

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


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


@pytest.mark.exhaustive
def test_an_output_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="the output directory is a file"):
        gainjax.run("split-digits", ["sgd"], 1, out=tmp_path / "file", **SHORT)


@pytest.mark.exhaustive
def test_whatever_a_checkpoint_fails_with_is_told(tmp_path):
    with (
        pytest.raises(OSError, match="ValueError: no room at the inn") as told,
        run_files.os_errors(tmp_path),
    ):
        raise ValueError("no room at the inn")
    assert told.value.errno == errno.EIO
    with pytest.raises(OSError, match="Permission denied") as told, run_files.os_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    assert told.value.errno == errno.EACCES
