"""Curves on disk: round trip, damage, and files that are not ours."""

import io
import json
import os
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from fuzzing import examples
from hand_made_curves import SETTINGS, WHEN, make, records
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import synthetic_curves, synthetic_sweep

from gainjax import curves as results
from gainjax.curves import Setting

DATA = Path(__file__).with_name("data")


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
    assert loaded.sel(setting="adam", seed=2).diverged_update == 300
    path.unlink()  # nothing of it is read later
    assert float(loaded.gain.sum()) > 0
    xr.testing.assert_identical(results.load(results.save(loaded, tmp_path)), curves)


def test_round_trip_of_float64_without_seen_accuracy_and_with_unicode(tmp_path):
    arrays = records(train_loss=np.full((2, 2, 8), np.pi), seen_accuracy=None)
    rows = [Setting("méthode", "méthode", "é", {"rate": np.float32(0.5)}), SETTINGS[1]]
    attrs = WHEN["attrs"] | {"spec": {"note": "γ = 0.9", "list": np.arange(2)}}
    curves = make(rows, arrays, seen_updates=(), attrs=attrs)
    results.save(curves, tmp_path)
    loaded = results.load(tmp_path)
    xr.testing.assert_identical(loaded, curves)
    assert loaded.train_loss.dtype == np.float64
    assert json.loads(loaded.attrs["spec"])["note"] == "γ = 0.9"


def test_a_selection_is_saved_with_its_own_description(tmp_path):
    curves = synthetic_curves(seeds=3, tasks=2, updates_per_task=20)
    part = curves.sel(setting=["msgd", "sgd"], seed=[2, 0])
    loaded = results.load(results.save(part, tmp_path))
    xr.testing.assert_identical(loaded.drop_attrs(), part.drop_attrs())
    spec = json.loads(loaded.attrs["spec"])
    assert [row["label"] for row in spec["settings"]] == ["msgd", "sgd"]
    assert spec["seeds"] == [2, 0]
    renamed = curves.assign_coords(setting=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="different settings that its spec describes"):
        results.save(renamed, tmp_path)


def test_other_netcdf_readers_can_read_it(tmp_path):
    curves = synthetic_curves(seeds=2, tasks=2, updates_per_task=20)
    with h5py.File(results.save(curves, tmp_path)) as file:
        np.testing.assert_array_equal(file["gain"][:], curves.gain)
        assert file["gain"].compression == "gzip"
    with xr.open_dataset(results.save(curves, tmp_path), engine="h5netcdf") as dataset:
        xr.testing.assert_equal(dataset, curves)


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
        with pytest.raises(
            ValueError, match=f"{name} (is damaged or not a netCDF 4|does not hold)"
        ):
            results.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no curves"):
        results.load(tmp_path / "text.nc" / "curves.nc")
    curves = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    anonymous = curves.copy()
    del anonymous.attrs["spec"]
    for other in (curves.drop_vars("accuracy"), curves.rename(seed="run"), anonymous):
        other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
        with pytest.raises(ValueError, match=r"other\.nc (does not hold|is damaged)"):
            results.load(tmp_path / "other.nc")
        with pytest.raises(ValueError, match="passed as curves does not hold gainjax curves"):
            results.save(other, tmp_path / "not.nc")
    assert not (tmp_path / "not.nc").exists()


def test_another_format_number(tmp_path):
    curves = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    curves.assign_attrs(format=3).to_netcdf(tmp_path / "curves.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"has format 3.*knows format 2"):
        results.load(tmp_path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file of curves and where in it data, coordinates, attributes and trailer are."""
    folder = tmp_path_factory.mktemp("stored")
    path = results.save(synthetic_sweep(seeds=2, tasks=2, updates_per_task=20), folder)
    return path, path.read_bytes()


def check_refused(path, content):
    damaged = path.with_name("damaged.nc")
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.nc (is damaged|does not hold gainjax curves)"):
        results.load(damaged)


def test_a_flipped_bit_is_found_wherever_it_is(stored):
    path, content = stored
    with h5py.File(io.BytesIO(content)) as file:
        chunk = file["accuracy"].id.get_chunk_info(0)
    spots = {
        "superblock": 3,
        "curve": chunk.byte_offset + chunk.size // 2,
        "description": content.index(b"synthetic"),
        "mark": content.rindex(b"gainjax-sha256:") + 3,
        "checksum": len(content) - 20,
        "newline": len(content) - 1,
    }
    for spot in spots.values():
        for bit in range(8):
            damaged = bytearray(content)
            damaged[spot] ^= 1 << bit
            check_refused(path, bytes(damaged))


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_refused(stored, data):
    path, content = stored
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check_refused(path, bytes(damaged))


def test_a_file_that_is_cut_or_goes_on_is_refused(stored):
    path, content = stored
    for length in np.linspace(0, len(content) - 1, 30, dtype=int):
        check_refused(path, content[:length])
    for more in (b"\0", b"\n", content[-80:]):
        check_refused(path, content + more)


def test_files_that_take_their_values_from_elsewhere_are_refused(tmp_path, stored):
    (tmp_path / "secret").write_bytes(np.arange(4.0).tobytes())
    for name, make_it in {
        "link": lambda file: file.__setitem__("x", h5py.ExternalLink("secret.h5", "x")),
        "soft": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        "raw": lambda file: file.create_dataset(
            "x", (4,), "f8", external=[(str(tmp_path / "secret"), 0, 32)]
        ),
        "bomb": lambda file: file.create_dataset("x", (10**7, 10**4), "f8", chunks=(1, 100)),
    }.items():
        with h5py.File(tmp_path / f"{name}.nc", "w") as file:
            make_it(file)
        with pytest.raises(ValueError, match=f"{name}.nc is damaged or not a netCDF 4 file"):
            results.load(tmp_path / f"{name}.nc")
    os.mkfifo(tmp_path / "pipe.nc")
    with pytest.raises(ValueError, match="named pipe"):
        results.load(tmp_path / "pipe.nc")


# --- files of format 1 ---


def test_runs_of_format_1_have_the_present_shape(tmp_path):
    curves = results.load(DATA / "format1-run.nc")
    assert curves.setting.values.tolist() == curves.method.values.tolist() == ["ngm-sgd", "sgd"]
    assert curves.title.values.tolist() == ["NGM-SGD", "SGD"]
    assert results.swept_names(curves) == []
    assert results.task_ends(curves).tolist() == [4, 8, 12, 16, 20]
    assert curves.accuracy.dims == ("setting", "seed", "eval_update", "eval_task")
    spec = json.loads(curves.attrs["spec"])
    assert spec["protocol"]["batch_size"] == 8
    assert spec["settings"][1]["hyperparameters"] == {"learning_rate": 0.1}
    assert json.loads(curves.attrs["environment"])["versions"]["gainjax"] == "0.1.0"
    with h5py.File(DATA / "format1-run.nc") as file:
        for name in ("accuracy", "gain", "train_loss", "seen_accuracy", "diverged_update"):
            np.testing.assert_array_equal(curves[name], file[name][:])
    xr.testing.assert_identical(results.load(results.save(curves, tmp_path)), curves)


def test_sweeps_of_format_1_have_the_present_shape():
    curves = results.load(DATA / "format1-sweep.nc")
    assert curves.setting.values[-1] == "sgd learning_rate=0.01"
    assert curves.method.values.tolist() == ["ngm-sgd"] * 4 + ["sgd"] * 2
    assert results.swept_names(curves) == ["learning_rate", "sensitivity"]
    np.testing.assert_array_equal(curves.learning_rate, [0.1, 0.1, 0.01, 0.01, 0.1, 0.01])
    np.testing.assert_array_equal(curves.sensitivity, [0.2, 0.4, 0.2, 0.4, np.nan, np.nan])


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
    # A view of a buffer that is collected before it would raise a warning, in Python 3.13.
    kept = [value for entry in caught.traceback for value in entry.frame.f_locals.values()]
    assert not any(isinstance(value, memoryview) for value in kept)


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
