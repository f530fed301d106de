"""Runs by name, in Python."""

import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.cutting import Cut
from gainjax.runs.store import RunStore

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 6, "batch_size": 16, "seen_every": 3, "dense_updates": 0}


def test_the_same_run_in_four_lines_of_python(tmp_path):
    curves = gainjax.run("split-digits", ["ngm-sgd", "sgd"], seeds=[3, 7], out=tmp_path, **SHORT)
    assert gainjax.load(tmp_path).equals(curves)
    assert list(gainjax.table(curves).index) == ["ngm-sgd", "sgd"]
    assert gainjax.plot_curves(curves).axes

    assert curves.accuracy.dims == ("setting", "seed", "eval_update", "eval_task")
    assert list(curves.seed) == [3, 7]
    assert list(curves["update"]) == list(range(1, 31))
    assert list(curves.seen_update) == list(range(3, 31, 3))
    assert list(curves.task.values[[0, 5, 6, 29]]) == [1, 1, 2, 5]
    assert np.all(curves.gain.sel(setting="sgd") == 1)
    assert np.all(curves.gain.sel(setting="ngm-sgd")[:, 0] == 1)
    spec = json.loads(curves.attrs["spec"])
    assert spec["settings"][1]["hyperparameters"] == {"learning_rate": 0.1}
    assert spec["protocol"]["updates_per_task"] == 6


def test_a_diverged_seed_is_named():
    with pytest.warns(gainjax.DivergenceWarning, match="sgd with seed 4 diverged at update"):
        curves = gainjax.run(
            "split-digits", ["sgd"], [4], hyperparameters={"learning_rate": 1e8}, **SHORT
        )
    assert curves.diverged_update.item() > 0
    assert curves.accuracy[0, 0, -1, 0] == 0


def test_numbers_of_numpy_and_jax_are_numbers(tmp_path):
    options = {"benchmark": "split-digits", "methods": ["sgd"]}
    plain = gainjax.run(**options, **SHORT, seeds=2, hyperparameters={"learning_rate": 0.125})
    for rate, index in ((np.float32(0.125), np.int64), (jnp.float32(0.125), int)):
        numbers = {name: index(value) for name, value in SHORT.items()} | {"seeds": index(2)}
        rates = {"learning_rate": rate}
        curves = gainjax.run(**options, **numbers, hyperparameters=rates, out=tmp_path)
        assert curves.equals(plain)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("form", ["optimizer", "model"])
def test_runs_where_float64_is_the_default(form):
    curves = gainjax.run("split-digits", ["ngm-msgd", "adam"], 1, form=form, **SHORT)
    assert np.isfinite(curves.train_loss).all()
    assert not curves.diverged_update.any()


def test_what_a_kill_left_behind_a_finished_run_goes(tmp_path, monkeypatch):
    options = {"benchmark": "split-digits", "methods": ["sgd"], "seeds": 1, "out": tmp_path}
    curves = gainjax.run(**options, **SHORT)
    with monkeypatch.context() as patch:  # killed before that
        patch.setattr(RunStore, "remove", lambda self: None)
        (tmp_path / "curves.nc").unlink()
        gainjax.run(**options, **SHORT)
    assert (tmp_path / "progress").exists()
    assert gainjax.run(**options, **SHORT).equals(curves)
    assert not (tmp_path / "progress").exists()


def test_a_run_that_another_process_finished_meanwhile_is_kept(tmp_path, monkeypatch):
    options = {"benchmark": "split-digits", "seeds": 1, "out": tmp_path, **SHORT}

    def meanwhile(*args, **more):
        monkeypatch.undo()
        gainjax.run(methods=["sgd"], **options)
        return Cut({"adam": 1}, 1)

    monkeypatch.setattr("gainjax.runs.execution.choose_cut", meanwhile)
    with pytest.raises(ValueError, match="holds another run"):
        gainjax.run(methods=["adam"], **options)
    curves = gainjax.load(tmp_path)
    assert curves.setting.values.tolist() == ["sgd"]
    assert gainjax.run(methods=["sgd"], **options).equals(curves)


def test_a_finished_borrower_needs_its_source_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"benchmark": "split-digits", "seeds": 1, **SHORT}
    gainjax.run(methods=["ngm-sgd"], out="source", **options)
    borrow = {"methods": ["replayed-gain"], "out": "borrower", **options}
    curves = gainjax.run(gain_from="source", **borrow)
    assert gainjax.run(gain_from=tmp_path / "source", **borrow).equals(curves)
    (tmp_path / "source").rename("moved")
    assert gainjax.resume("borrower").equals(curves)
    for option, value in (("chnuk", 3), ("chunk", 0), ("threads", -1), ("snapshots", [])):
        with pytest.raises(ValueError, match=option):  # although nothing is left to do
            gainjax.resume("borrower", **{option: value})


def test_resume_tells_what_to_do_about_a_benchmark_of_ones_own(tmp_path, monkeypatch):
    stream = get_benchmark("split-digits").load()
    mine = gainjax.Benchmark("mine", stream=stream, **SHORT)
    for number, (bench, methods, message) in enumerate(
        (
            (mine, ["sgd"], "the benchmark 'mine', an object that cannot be found by name"),
            (
                get_benchmark("split-digits").replace(**SHORT),
                {"own": lambda learning_rate=0.1: optax.sgd(learning_rate)},
                "the method 'own', an object that cannot be found by name",
            ),
        )
    ):
        out = tmp_path / str(number)

        def fail(*came_in):
            raise RuntimeError("as if it were killed")

        with monkeypatch.context() as patch:
            patch.setattr("gainjax.runs.part_store.FIRST", 0.0)
            patch.setattr(RunStore, "remove", lambda self: None)
            with pytest.raises(RuntimeError, match="as if"):
                gainjax.run(bench, methods, 1, out=out, chunk=2, on_chunk=fail)
        with pytest.raises(ValueError, match=message):
            gainjax.resume(out)
        # Its caller resumes it by the same call.
        expected = gainjax.run(bench, methods, 1)
        assert gainjax.run(bench, methods, 1, out=out).train_loss.equals(expected.train_loss)


def test_missing_data_is_told_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="TFDS_DATA_DIR"):
        gainjax.run("split-mnist", ["sgd"], data_dir=tmp_path)


def test_other_runs_in_a_directory_are_not_overwritten(tmp_path):
    options = {"benchmark": "split-digits", "methods": ["sgd"], "seeds": 1, "out": tmp_path}
    curves = gainjax.run(**options, **SHORT)
    before = (tmp_path / "curves.nc").read_bytes()
    assert gainjax.run(**options, **SHORT).equals(curves)
    with pytest.raises(ValueError, match="seeds"):
        gainjax.run(**(options | {"seeds": 2}), **SHORT)
    assert (tmp_path / "curves.nc").read_bytes() == before
