"""Runs whose state is stored after every chunk, how they are harmed, and what they must equal."""

import pytest
import xarray as xr
from interruptions import Crash

import gainjax
from gainjax import curves as results
from gainjax.runs import files as run_files
from gainjax.runs.part_store import PartStore

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
