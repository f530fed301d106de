"""Stored runs that are damaged: what is passed over, made anew or refused."""

import contextlib
import json
import os

import numpy as np
import pytest
from interruptions import checkpoint_every_chunk, crash, numbers
from stored_runs import assert_same, damage, go, largest_file, resume

import gainjax
from gainjax.runs import files as run_files
from gainjax.runs import store as run_store
from gainjax.runs.part_store import CheckpointWarning
from gainjax.runs.store import open_store, stored_header

pytestmark = pytest.mark.slow

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    checkpoint_every_chunk(monkeypatch)


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


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["run.json", "adam/*.npz", "adam/*.crc32"])
def test_a_pipe_among_what_is_stored_does_not_hang(tmp_path, name):
    options = SHORT | {"chunk": 2}
    crash(9, "split-digits", ["adam", "sgd"], 1, out=tmp_path, **options)
    wanted = gainjax.run("split-digits", ["adam", "sgd"], 1, **SHORT)
    for path in sorted((tmp_path / "progress").glob(name)):
        path.unlink()
        os.mkfifo(path)
    if name == "run.json":
        for action in (gainjax.resume, lambda d: gainjax.load(d, partial=True)):
            with pytest.raises(ValueError, match="named pipe"):
                action(tmp_path)
        return
    with pytest.warns(gainjax.runs.part_store.CheckpointWarning):
        found = gainjax.resume(tmp_path)
    assert numbers(found).identical(numbers(wanted))
