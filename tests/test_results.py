"""Curves in memory and on disk: labels, round trip, damage, and files that are not ours."""

import io
import json
import os
import resource
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray as xr
from synthetic import synthetic_curves

from gainjax.curves import dataset as results

CONFIG = {"benchmark": "mine", "seeds": [3, 7], "protocol": {"updates_per_task": 4}}


def record(**changes):
    """Curves of 2 seeds, 8 updates and 3 evaluated tasks, evaluated after every second update."""
    rng = np.random.default_rng(0)
    values = {
        name: rng.random((2, 8), np.float32) for name in ("train_loss", "uncertainty", "gain")
    }
    values |= {name: rng.random((2, 8, 3), np.float32) for name in ("accuracy", "eval_loss")}
    values["seen_accuracy"] = rng.random((2, 8), np.float32)
    values["accuracy"][:, ::2] = values["eval_loss"][:, ::2] = np.nan
    values["seen_accuracy"][:, [0, 1, 2, 4, 5, 6]] = np.nan
    return SimpleNamespace(**(values | changes))


def test_labels_are_those_of_the_arrays():
    first, second = record(), record(gain=np.full((2, 8), 2.5, np.float32))
    curves = results.to_dataset({"a": first, "b": second}, CONFIG, 2)
    assert curves.eval_update.values.tolist() == [2, 4, 6, 8]
    assert curves.seen_update.values.tolist() == [4, 8]
    assert curves.task.values.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    picked = curves.accuracy.sel({"method": "a", "seed": 7, "eval_update": 6, "eval_task": 3})
    assert picked == first.accuracy[1, 5, 2]
    assert (
        curves.seen_accuracy.sel({"method": "b", "seed": 3, "seen_update": 8})
        == second.seen_accuracy[0, 7]
    )
    assert curves.train_loss.sel({"method": "a", "seed": 3, "update": 1}) == first.train_loss[0, 0]
    assert (curves.gain.sel({"method": "b"}) == 2.5).all()
    assert results.task_ends(curves).tolist() == [4, 8]
    assert json.loads(curves.attrs["config"]) == CONFIG
    assert json.loads(curves.attrs["versions"])["numpy"] == np.__version__
    assert curves.attrs["wall_time_seconds"] == 2
    assert curves.attrs["device"] == "cpu"


def test_divergence_is_the_first_loss_that_is_not_finite():
    train_loss = np.ones((4, 8), np.float32)
    eval_loss = np.ones((4, 8, 1), np.float32)
    train_loss[1, 2:] = np.nan
    train_loss[2, [4, 6]] = np.inf
    eval_loss[3, 7] = np.nan  # the very last update
    accuracy, seen = np.ones_like(eval_loss), np.ones_like(train_loss)
    bad = record(
        train_loss=train_loss, uncertainty=seen, gain=seen, eval_loss=eval_loss,
        accuracy=accuracy, seen_accuracy=seen,
    )  # fmt: skip
    curves = results.to_dataset({"a": bad}, CONFIG | {"seeds": list(range(4))}, 0)
    assert curves.diverged_update.values.tolist() == [[0, 3, 5, 8]]
    assert curves.diverged_update.dtype == np.int32


@pytest.mark.parametrize(
    ("records", "config", "message"),
    [
        ({}, {}, "at least one method: got none"),
        ({"a": record(gain=np.ones((3, 8)))}, {}, "gain must have the shape.*2 seeds"),
        ({"a": record(gain=np.ones((2, 8, 1)))}, {}, "gain must have the shape"),
        ({"a": record(gain=np.ones((2, 7)))}, {}, "the same updates and tasks everywhere"),
        ({"a": record(), "b": record(gain=np.ones((2, 9)))}, {}, "the same for every method"),
        ({"a": record(accuracy=np.full((2, 8, 3), 98.0))}, {}, r"fractions in \[0, 1\]: got 98"),
        ({"a": record(accuracy=np.full((2, 8, 3), np.nan))}, {}, "evaluated at least once"),
        ({"a": record(), "b": record(accuracy=np.ones((2, 8, 3)))}, {}, "after update 1 some"),
        ({"a": record()}, {"protocol": {"updates_per_task": 3}}, "whole tasks of 3.*got 8"),
        ({"a": record()}, {"protocol": {"updates_per_task": 0}}, "at least 1: got 0"),
        ({"a": record()}, {"protocol": {}}, "protocol.updates_per_task"),
        ({"a": record()}, {"protocol": 5}, "protocol.updates_per_task"),
        ({"a": record()}, {"benchmark": 5}, "must be a name: got 5"),
        ({"a": record()}, {"seeds": [1, 1]}, r"different integers: got \[1, 1\]"),
        ({"a": record()}, {"seeds": [0.5, 1]}, "different integers"),
        ({"a": record()}, {"note": object()}, "JSON can say: got <object"),
    ],
)
def test_wrong_curves_are_refused(records, config, message):
    with pytest.raises(ValueError, match=message):
        results.to_dataset(records, CONFIG | config, 0)


@pytest.mark.parametrize("name", ["", "curves.nc", "other.nc", "new/folder"])
def test_round_trip_is_exact(tmp_path, name):
    curves = synthetic_curves(eval_tasks=2, tasks=2, eval_every=3, diverged=[("adam", 2, 300)])
    path = results.save(curves, tmp_path / name)
    loaded = results.load(tmp_path / name)
    assert path.suffix == ".nc"
    assert path.is_file()
    xr.testing.assert_identical(loaded, curves)
    assert {k: v.dtype for k, v in loaded.variables.items()} == {
        k: v.dtype for k, v in curves.variables.items()
    }
    assert {k: type(v) for k, v in loaded.attrs.items()} == {
        k: type(v) for k, v in curves.attrs.items()
    }
    assert loaded.sel({"method": "adam", "seed": 2}).diverged_update == 300
    path.unlink()  # nothing of it is read later
    assert float(loaded.gain.sum()) > 0
    xr.testing.assert_identical(results.load(results.save(loaded, tmp_path)), curves)


def test_round_trip_of_float64_without_seen_accuracy_and_with_unicode(tmp_path):
    wide = record(seen_accuracy=np.full((2, 8), np.nan), train_loss=np.full((2, 8), np.pi))
    config = CONFIG | {"note": "γ = 0.9", "rate": np.float32(0.5), "list": np.arange(2)}
    curves = results.to_dataset({"méthode": wide}, config, 0)
    results.save(curves, tmp_path)
    loaded = results.load(tmp_path)
    xr.testing.assert_identical(loaded, curves)
    assert loaded.train_loss.dtype == np.float64
    assert json.loads(loaded.attrs["config"])["note"] == "γ = 0.9"


def test_other_netcdf_readers_can_read_it(tmp_path):
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=20)
    with h5py.File(results.save(curves, tmp_path)) as file:
        np.testing.assert_array_equal(file["gain"][:], curves.gain)
        assert file["gain"].compression == "gzip"


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no curves at .*nowhere.*directory of a finished run"
    ):
        results.load(tmp_path / "nowhere")
    (tmp_path / "text.nc").write_text("accuracy,loss\n")
    (tmp_path / "empty.nc").write_bytes(b"")
    with h5py.File(tmp_path / "plain.nc", "w") as file:
        file["x"] = np.zeros(3)
    for name in ("text.nc", "empty.nc", "plain.nc"):
        with pytest.raises(ValueError, match=f"{name} (is damaged or no netCDF 4|holds no curves)"):
            results.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no curves"):
        results.load(tmp_path / "text.nc" / "curves.nc")
    curves = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    anonymous = curves.copy()
    del anonymous.attrs["device"]
    for other in (curves.drop_vars("gain"), curves.rename(seed="run"), anonymous):
        other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
        with pytest.raises(ValueError, match=r"other\.nc holds no curves of gainjax"):
            results.load(tmp_path / "other.nc")
        with pytest.raises(ValueError, match="dataset holds no curves of gainjax"):
            results.save(other, tmp_path / "not.nc")
    assert not (tmp_path / "not.nc").exists()


def test_another_format_number(tmp_path):
    curves = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    curves.assign_attrs(format=2).to_netcdf(tmp_path / "curves.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"has format 2.*knows format 1.*gainjax.*0.1"):
        results.load(tmp_path)


def test_damage_is_found(tmp_path):
    path = results.save(synthetic_curves(seeds=2, tasks=2, updates_per_task=50), tmp_path)
    content = path.read_bytes()
    for length in np.linspace(1, len(content) - 1, 20, dtype=int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is damaged"):
            results.load(path)
    with h5py.File(io.BytesIO(content)) as file:
        chunk = file["accuracy"].id.get_chunk_info(0)
    damaged = bytearray(content)
    damaged[chunk.byte_offset + chunk.size // 2] ^= 0x01
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged"):
        results.load(path)


def test_a_full_disk_leaves_the_previous_file(tmp_path):
    before = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    path = results.save(before, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write: .*curves\.nc"):
            results.save(synthetic_curves(seeds=2, tasks=2), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    xr.testing.assert_identical(results.load(path), before)
    assert os.listdir(tmp_path) == ["curves.nc"]


def test_a_failure_before_the_last_step_leaves_the_previous_file(tmp_path, monkeypatch):
    before = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    path = results.save(before, tmp_path)

    def broken(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match=r"No space left on device: '.*curves\.nc'") as caught:
        results.save(synthetic_curves(seeds=2, tasks=2), tmp_path)
    assert caught.value.errno == 28
    xr.testing.assert_identical(results.load(path), before)
    assert os.listdir(tmp_path) == ["curves.nc"]


def test_directories_that_cannot_be_written(tmp_path):
    curves = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write: .*file/run/curves\.nc"):
        results.save(curves, tmp_path / "file" / "run")
    if os.geteuid() == 0:
        pytest.skip("root may write into read-only directories")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match=r"cannot write: .*locked/curves\.nc"):
        results.save(curves, tmp_path / "locked")


def test_files_get_the_usual_permissions(tmp_path):
    path = results.save(synthetic_curves(seeds=1, tasks=2, updates_per_task=20), tmp_path)
    (tmp_path / "usual").write_text("")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_find_returns_the_same_run_and_refuses_another(tmp_path):
    assert results.find(tmp_path / "nowhere", CONFIG) is None
    curves = results.to_dataset({"a": record()}, CONFIG, 0)
    results.save(curves, tmp_path)
    same = CONFIG | {"seeds": (np.int64(3), 7)}
    xr.testing.assert_identical(results.find(tmp_path, same), curves)
    with pytest.raises(ValueError, match="another run: it differs in seeds, note"):
        results.find(tmp_path, CONFIG | {"seeds": [3, 8], "note": "x"})
