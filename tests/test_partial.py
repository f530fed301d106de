"""Runs in progress: what is shown of them is the beginning of what they will be."""

import json

import numpy as np
import pytest
import xarray as xr
from interruptions import crash, numbers

import gainjax
from gainjax.cli import main
from gainjax.runs.partial import load

METHODS = ["ngm-sgd", "adam"]
SHORT = {"seeds": 2, "updates_per_task": 8, "batch_size": 16, "eval_examples": 20, "chunk": 3}
SHORT |= {"threads": 1, "eval_every": 2, "dense_updates": 0}
TOTAL = 40


@pytest.fixture(scope="module")
def uninterrupted():
    return gainjax.run("split-digits", METHODS, **SHORT)


def stop(out, label, update, methods=METHODS, **changes):
    """Run until a method has come to an update; what it did before that is stored."""
    crash(update, "split-digits", methods, label=label, out=out, **SHORT | changes)


@pytest.mark.exhaustive
def test_finished_settings_are_shown_whole(tmp_path, uninterrupted):
    stop(tmp_path, "adam", 16)
    found = load(tmp_path, partial=True)
    wanted = uninterrupted.sel(setting=["ngm-sgd"])
    xr.testing.assert_identical(numbers(found), numbers(wanted))
    assert json.loads(found.attrs["unfinished"]) == {"adam": [16, TOTAL]}
    with pytest.raises(FileNotFoundError, match="no curves"):
        load(tmp_path)
    # They are whole, so they may be kept; the run itself goes on as if nobody had looked.
    gainjax.curves.save(found, tmp_path / "some.nc")
    resumed = gainjax.resume(tmp_path, threads=1)
    assert numbers(resumed).identical(numbers(uninterrupted))


@pytest.mark.slow
def test_of_settings_in_progress_their_common_beginning_is_shown(tmp_path, uninterrupted, capsys):
    stop(tmp_path, "ngm-sgd", 11)
    found = load(tmp_path, partial=True)
    assert found.setting.values.tolist() == ["ngm-sgd"]
    # 11 updates are stored; the last of them that was evaluated is the 10th.
    assert found["update"].values[-1] == found["eval_update"].values[-1] == 10
    assert found["task_end"].values.tolist() == [8, 10]
    for name in ("accuracy", "train_loss", "gain", "uncertainty", "seen_accuracy"):
        whole = uninterrupted[name].sel(setting=["ngm-sgd"])
        np.testing.assert_array_equal(found[name], whole[:, :, : found[name].shape[2]])
    main(["table", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "showing the first 10 updates" in printed
    assert "ngm-sgd: 11 of 40" in printed
    assert "adam: 0 of 40" in printed


def test_curves_that_are_cut_off_do_not_pass_for_the_run(tmp_path):
    stop(tmp_path / "run", "ngm-sgd", 11, ["ngm-sgd"])
    found = load(tmp_path / "run", partial=True)
    gainjax.curves.save(found, tmp_path / "copy")
    with pytest.raises(ValueError, match="differs in cut_off_after"):
        gainjax.run("split-digits", ["ngm-sgd"], out=tmp_path / "copy", **SHORT)


@pytest.mark.exhaustive
def test_batches_of_seeds_are_put_together(tmp_path):
    whole = gainjax.run("split-digits", ["sgd"], **SHORT | {"seeds": 5})
    # Three seeds at once would leave a thread idle: two parts, the second with a run to fill up.
    stop(tmp_path, "sgd", 36, ["sgd"], seeds=5, threads=2)
    found = load(tmp_path, partial=True)
    number = found.sizes["update"]
    assert found.seed.values.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found.train_loss, whole.train_loss[..., :number])


def test_before_the_first_checkpoint_there_is_nothing_to_show(tmp_path):
    stop(tmp_path, "ngm-sgd", 0)
    with pytest.raises(FileNotFoundError, match="no curves"):
        load(tmp_path, partial=True)


@pytest.mark.exhaustive
def test_a_finished_run_is_loaded_as_ever(tmp_path):
    curves = gainjax.run("split-digits", ["sgd"], out=tmp_path, **SHORT)
    assert load(tmp_path, partial=True).identical(curves)
    assert load(tmp_path / "curves.nc", partial=True).identical(curves)
