"""Runs by name, in Python and on the command line."""

import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax.cli import main
from gainjax.cli.values import parse_seeds, parse_settings
from gainjax.methods import as_methods
from gainjax.runs.benchmarks import BENCHMARKS, get_benchmark
from gainjax.runs.cutting import Cut
from gainjax.runs.settings import resolve_hyperparameters
from gainjax.runs.store import RunStore

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 6, "batch_size": 16, "seen_every": 3, "dense_updates": 0}
FUNCTIONS = (
    lambda key, x: (jax.random.normal(key, (x[0].size, 10)) * 0.1, {}),
    lambda params, state, x, *, train, key: (x.reshape(len(x), -1) @ params, state),
)
SHORT_WORDS = ["--updates-per-task", "6", "--batch-size", "16", "--seen-every", "3"]


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


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if "digits" in name])
def test_every_embedded_benchmark_learns(name):
    curves = gainjax.run(name, ["ngm-sgd"], seeds=1, updates_per_task=60, seen_every=60)
    first_task = curves.accuracy.sel(eval_update=60).item()
    assert first_task > 0.85


def test_an_evaluation_subset_is_fixed(tmp_path):
    first, second = (
        gainjax.run("split-digits", ["sgd"], seeds=1, eval_examples=20, **SHORT) for _ in range(2)
    )
    assert first.accuracy.equals(second.accuracy)
    np.testing.assert_allclose(first.accuracy * 20, (first.accuracy * 20).round(), atol=1e-5)


def test_a_diverged_seed_is_named():
    with pytest.warns(gainjax.DivergenceWarning, match="sgd with seed 4 diverged at update"):
        curves = gainjax.run(
            "split-digits", ["sgd"], [4], hyperparameters={"learning_rate": 1e8}, **SHORT
        )
    assert curves.diverged_update.item() > 0
    assert curves.accuracy[0, 0, -1, 0] == 0


def test_hyperparameters_are_resolved_from_general_to_special():
    mnist = get_benchmark("rotated-mnist")
    settings = resolve_hyperparameters(
        mnist,
        as_methods(["ngm-sgd", "msgd", "adam"]),
        {"learning_rate": 0.5, "adam": {"learning_rate": 0.1, "b1": 0.8}},
    )
    assert settings["ngm-sgd"]["sensitivity"] == 0.5
    assert [values["learning_rate"] for values in settings.values()] == [0.5, 0.5, 0.1]
    assert settings["adam"]["b1"] == 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"benchmark": "split-mnits"}, "did you mean 'split-mnist'"),
        ({"methods": ["ngm"]}, "unknown method 'ngm'"),
        ({"methods": ["adma"]}, "did you mean 'adam'"),
        ({"methods": "sgd"}, "methods must be a list"),
        ({"methods": []}, "methods must be a list"),
        ({"methods": ["sgd", "sgd"]}, "methods must be a list of different names"),
        ({"seeds": 0}, "seeds must be an integer of at least 1"),
        ({"seeds": []}, "seeds must be a list"),
        ({"seeds": [1, 1]}, "seeds must be a list of different"),
        ({"hyperparameters": {"lr": 0.1}}, "no method has a hyperparameter 'lr'"),
        ({"hyperparameters": {"sgd": {"momentum": 0.1}}}, "sgd has no hyperparameter 'momentum'"),
        ({"hyperparameters": {"adam": {"b1": 0.1}}}, "not among the methods"),
        ({"hyperparameters": {"learning_rate": -1}}, "learning_rate of sgd must be"),
        ({"hyperparameters": {"learning_rate": float("nan")}}, "learning_rate of sgd must be"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"eval_examples": 0}, "eval_examples"),
        ({"chunk": 0}, "chunk must be an integer of at least 1"),
        ({"chunk": 1.5}, "chunk must be an integer"),
        ({"eval_every": 1.5}, "eval_every must be an integer"),
        ({"seeds": [0.2, 1.7]}, "each of the seeds must be an integer"),
        ({"seeds": 2.0}, "seeds must be an integer"),
        (
            {"hyperparameters": {"learning_rate": "0.1"}},
            "learning_rate must be a number or a schedule: got '0.1'",
        ),
        (
            {"hyperparameters": {"learning_rate": [0.1]}},
            "learning_rate must be a number or a schedule",
        ),
        ({"regime": "replay", "batch_size": 1}, "batch_size must be at least 2 for a replay"),
        (
            {"regime": "replay", "buffer": "balanced", "buffer_size": 9},
            "buffer_size must be at least 10, one example of each class",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gainjax.run(**({"benchmark": "split-digits", "methods": ["sgd"]} | SHORT | arguments))


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


@pytest.mark.parametrize(
    "change",
    [
        {"model": gainjax.MLP((9, 10), (0.1, 0.1))},
        {"model": gainjax.models.from_functions(*FUNCTIONS)},
    ],
)
def test_another_benchmark_of_the_same_name_is_another_run(tmp_path, change):
    ours = get_benchmark("split-digits")
    options = {"methods": ["sgd"], "seeds": 1, "out": tmp_path, **SHORT}
    gainjax.run(ours, **options)
    with pytest.raises(ValueError, match="holds another run: it differs in model"):
        gainjax.run(ours.replace(**change), **options)


def test_other_code_under_the_same_name_is_another_run(tmp_path):
    """What identifies a run is its program, whatever its functions and classes are called."""

    def digits(augment=None, preprocess=None, loss=None):
        stream = get_benchmark("split-digits").load()
        return gainjax.Benchmark(
            "mine", stream=stream, augment=augment, preprocess=preprocess, loss=loss, **SHORT
        )

    def rate(learning_rate=0.1):
        return optax.sgd(learning_rate)

    def other_rate(learning_rate=0.1):
        return optax.sgd(2 * learning_rate)

    options = {"seeds": 1, "out": tmp_path}
    curves = gainjax.run(digits(), {"mine": rate}, **options)
    assert gainjax.run(digits(), {"mine": rate}, **options).identical(curves)
    for bench, method in (
        (digits(augment=lambda key, images: images + 1), rate),
        (digits(preprocess=lambda images: images + 1), rate),
        (digits(), other_rate),
    ):
        with pytest.raises(ValueError, match=r"holds another run|but of another program"):
            gainjax.run(bench, {"mine": method}, **options)
    assert gainjax.load(tmp_path).identical(curves)


def test_other_python_code_behind_a_callback_is_another_run(tmp_path):
    """The text of a compiled program does not contain what the program calls back."""

    def digits(change):
        def augment(key, images):
            shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
            return jax.pure_callback(change, shape, images, vmap_method="sequential")

        stream = get_benchmark("split-digits").load()
        return gainjax.Benchmark("mine", stream=stream, augment=augment, **SHORT)

    def kept(x):
        return np.asarray(x)

    def constant(x):
        return np.asarray(x) * 0 + 5

    options = {"methods": ["sgd"], "seeds": 1, "threads": 1}
    curves = gainjax.run(digits(kept), out=tmp_path, **options)
    assert gainjax.run(digits(lambda x: np.asarray(x)), out=tmp_path, **options).identical(curves)
    with pytest.raises(ValueError, match="but of another program"):
        gainjax.run(digits(constant), out=tmp_path, **options)
    assert gainjax.load(tmp_path).identical(curves)
    calls = []

    def counting(x):
        calls.append(0)
        return np.asarray(x)

    bench = digits(counting)
    gainjax.run(bench, out=tmp_path / "counting", **options)
    with pytest.raises(ValueError, match="repeat the call in a new process"):
        gainjax.run(bench, out=tmp_path / "counting", **options)
    other = gainjax.run(digits(constant), **options)  # nor is it taken from the compiled program
    assert not np.array_equal(other.train_loss, curves.train_loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": nn.Dense(4)}, "model of benchmark 'mine' must have at least 10 outputs"),
        ({"model": nn.Conv(4, (3, 3))}, "model of benchmark 'mine' must have at least 10 outputs"),
        ({"updates_per_task": [3, 4]}, "updates_per_task"),
        ({"modulate": "head", "model": nn.Dense(10)}, "modulate='head' needs a model with a field"),
        ({"uncertainty": 3}, "unknown option 'uncertainty'"),
    ],
)
def test_benchmarks_that_do_not_fit_are_refused(change, message):
    ours = get_benchmark("split-digits")

    def run_mine():
        gainjax.run(ours.replace(**SHORT | {"name": "mine"} | change), ["ngm-sgd"], 1)

    with pytest.raises(ValueError, match=message):
        run_mine()


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


# --- Command line ---------------------------------------------------------------------------------


def test_the_demo_writes_table_and_figure(tmp_path, capsys):
    out = tmp_path / "demo"
    methods = ["--methods", "ngm-sgd", "sgd"]
    main(["run", "split-digits", *methods, "--seeds", "2", "--out", str(out), *SHORT_WORDS])
    printed = capsys.readouterr().out
    for word in ("NGM-SGD", "SGD", "avg-SG", "anytime", "curves.nc", "curves.png"):
        assert word in printed
    assert {"curves.nc", "curves.png", "table.csv", "table.md"} <= {f.name for f in out.iterdir()}
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_list_shows_every_benchmark_and_method(capsys):
    main(["list"])
    printed = capsys.readouterr().out
    for name in [*BENCHMARKS, *gainjax.METHODS]:
        assert name in printed


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["demo", "--help"]])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 0
    assert "gainjax" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "split-digit"], "did you mean 'split-digits'"),
        (["run", "split-digits", "--methods", "sdg"], "did you mean 'sgd'"),
        (["run", "split-digits", "--set", "learning_rate"], "--set takes NAME=VALUE"),
        (["run", "split-digits", "--set", "learning_rate=fast"], "--set takes NAME=VALUE"),
        (["run", "split-digits", "--seeds", "0"], "seeds must be an integer of at least 1"),
        (["run", "split-mnist", "--data-dir", "/nowhere/at/all"], "TFDS_DATA_DIR"),
        (["run", "split-digits", "--set", "b1=.1", "b1=.2"], "--set gives b1 twice"),
        (
            ["run", "split-digits", "--set", "sgd=.1", "sgd.learning_rate=.1"],
            "uses sgd as a",
        ),
        (
            ["run", "split-digits", "--set", "sgd.learning_rate=.1", "sgd=.1"],
            "uses sgd as a",
        ),
        (
            [
                "run",
                "split-digits",
                "--coordinator",
                "here",
                "--processes",
                "1",
                "--process-id",
                "0",
            ],
            "--coordinator must be HOST:PORT",
        ),
    ],
)
def test_errors_are_one_line_and_exit_code_2(words, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--out", str(tmp_path)])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_settings_of_the_command_line():
    pairs = ("learning_rate=.1", "adam.b1=0.5", "adam.b2=0.6")
    assert parse_settings(pairs) == {"learning_rate": 0.1, "adam": {"b1": 0.5, "b2": 0.6}}
    for pair in (".learning_rate=1", "learning_rate=1_0"):
        with pytest.raises(ValueError, match=f"got '{pair}'"):
            parse_settings((pair,))


def test_seeds_of_the_command_line():
    assert [parse_seeds(text) for text in ("5", "5:8", "3,7")] == [5, [5, 6, 7], [3, 7]]
    for text in ("", "a", "5:", "8:5", "-1:3", "1:2:3", "1,", "0.5", "5_10", "1_0:20"):
        with pytest.raises(ValueError, match="--seeds takes a number of seeds"):
            parse_seeds(text)


def test_the_optimizer_alone_imports_no_more_than_it_needs():
    script = (
        "import sys, gainjax; gainjax.ngm_sgd(0.1); "
        "print([m for m in ('flax', 'xarray', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert result.stdout.strip() == "[]"


def test_registries_explain_themselves():
    for registry in (BENCHMARKS, gainjax.METHODS):
        for name, entry in registry.items():
            assert entry.name == name
            assert entry.summary
            assert entry.source
    for benchmark in BENCHMARKS.values():
        for key, value in benchmark.hyperparameters.items():
            if isinstance(value, dict):
                gainjax.METHODS[key].check(value)


# --- Image benchmarks, on small generated images --------------------------------------------------


def _generated(folder, name, classes, size, per_class, coarse=None):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", per_class), ("test", 2)):
        labels = np.repeat(np.arange(classes), count)
        tint = rng.integers(0, 200, (classes, 1, 1, 3))[labels]
        noise = rng.integers(0, 56, (len(labels), size, size, 3))
        arrays[f"x_{part}"] = (tint + noise).astype(np.uint8)
        arrays[f"y_{part}"] = labels
        if coarse is not None:
            arrays[f"y_{part}_coarse"] = coarse[labels]
    np.savez(folder / f"{name}.npz", **arrays)


def test_a_small_split_cifar10_runs(tmp_path):
    _generated(tmp_path, "cifar10", 10, 32, 8)
    curves = gainjax.run(
        "split-cifar10-small",
        ["ngm-sgd"],
        seeds=2,
        data_dir=tmp_path,
        updates_per_task=3,
        batch_size=4,
        eval_batch_size=4,
    )
    assert not curves.diverged_update.any()
    assert np.all(curves.gain.values[:, :, 1:] > 1)
    assert curves.sizes["eval_update"] == 15


def test_mini_imagenet_takes_ten_classes_a_task(tmp_path):
    _generated(tmp_path, "mini-imagenet", 100, 84, 10)
    stream = get_benchmark("split-mini-imagenet").load(tmp_path)
    assert stream.train_inputs.shape[1:] == (84, 84, 3)
    assert len(stream.task_end) == 5
    assert stream.train_targets.max() == 49


@pytest.mark.parametrize(
    "name",
    ["split-cifar10", "domain-cifar100", "domain-cifar100-superclasses", "split-mini-imagenet"],
)
def test_missing_images_are_told_with_what_to_do(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="npz"):
        gainjax.run(name, ["sgd"], data_dir=tmp_path)
