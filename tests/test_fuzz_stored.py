"""Random faults in all that a run stores: noticed, and made good or refused."""

import contextlib
import shutil

import jax
import numpy as np
import pytest
import xarray as xr
from fuzzing import EXAMPLES, FUZZ
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import crash
from interruptions import numbers as without_attributes

import gainjax
from gainjax.curves import spec_of
from gainjax.runs import files
from gainjax.runs.snapshots import fault_of
from gainjax.runs.spec import RunSpec
from gainjax.runs.store import stored_header

SNAPSHOTS = [2, 6]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Directories of a run that was killed, one method finished and one not, and of a whole run.

    Both keep states: the first after some updates, the other those at the end.
    """
    out = tmp_path_factory.mktemp("killed")
    short = {"updates_per_task": 4, "eval_examples": 20, "chunk": 2, "out": out}
    crash(6, "split-digits", ["sgd", "adam"], 2, label="adam", snapshots=SNAPSHOTS, **short)
    finished = tmp_path_factory.mktemp("finished")
    options = {"updates_per_task": 4, "return_states": True, "out": finished}
    curves, _ = gainjax.run("split-digits", ["sgd"], 2, **options)
    return out, finished, RunSpec.from_json(spec_of(curves))


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_a_flipped_bit_of_anything_stored_is_noticed(killed, data):
    """Every file of the killed run and of the finished one, every byte of it."""
    out, finished, spec = killed
    groups = [
        [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
        for folder in (out / "progress", finished)
    ]
    states = [[path for path in group if "states" in str(path)] for group in groups]
    path = data.draw(st.sampled_from(data.draw(st.sampled_from([*groups, *states]))))
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        if path.suffix == ".nc":
            with pytest.raises(ValueError, match=r"curves\.nc"):
                gainjax.load(path)
        elif path.name == "run.json":
            with contextlib.suppress(ValueError):
                found = stored_header(out).to_json()
                path.write_bytes(content)
                assert found == stored_header(out).to_json()  # in what nobody reads, such as spaces
        elif path.suffix == ".npz":
            assert files.read_curves(path) is None
        elif path.is_relative_to(finished):  # final states or their checksum
            assert str(finished / "states" / "20") in fault_of(finished, spec, [20])
        else:  # a checkpoint or snapshot, or its checksum
            owners = ("adam", "adam.states", "sgd.states")
            step = next(p for p in (path, *path.parents) if p.parent.name in owners)
            step = step.with_suffix("") if step.suffix == ".crc32" else step
            assert files.checksum(step) != files.seal(step).read_text(errors="replace")
    finally:
        path.write_bytes(content)


@pytest.mark.exhaustive
@settings(FUZZ, max_examples=max(EXAMPLES // 32, 6))
@pytest.mark.filterwarnings("ignore::gainjax.runs.part_store.CheckpointWarning")
@given(data=st.data())
def test_what_is_damaged_or_missing_is_trained_again_or_refused(killed, tmp_path_factory, data):
    """Several faults at once, then resume: the same numbers or an error."""
    out, *_ = killed
    whole, states = _whole()
    broken = tmp_path_factory.mktemp("broken") / "run"
    shutil.copytree(out, broken)
    paths = sorted(path for path in broken.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True)):
        fault = data.draw(st.sampled_from(["remove", "cut", "flip", "junk", "empty"]))
        content = path.read_bytes()
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if fault == "remove":
            path.unlink()
        elif fault == "flip" and content:
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        else:
            path.write_bytes({"cut": content[:place], "junk": b"junk" * 9}.get(fault, b""))
    reason = ""
    try:
        resumed, found = gainjax.resume(broken, threads=1, snapshots=SNAPSHOTS)
    except (ValueError, OSError) as refused:
        reason = str(refused)
    else:
        xr.testing.assert_identical(without_attributes(resumed), whole)
        jax.tree.map(np.testing.assert_array_equal, found, states)
    finally:
        shutil.rmtree(broken.parent)
    assert not reason or str(broken) in reason


_KEPT = []


def _whole():
    if not _KEPT:
        short = {"updates_per_task": 4, "eval_examples": 20, "snapshots": SNAPSHOTS}
        curves, states = gainjax.run("split-digits", ["sgd", "adam"], 2, **short)
        _KEPT.append((without_attributes(curves), states))
    return _KEPT[0]
