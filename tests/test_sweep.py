"""Sweeps: settings x seeds in one program, each curve that of the run alone."""

import json
import signal

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from scipy.stats import loguniform

import gainjax
from gainjax.cli import main
from gainjax.cli.values import parse_settings, parse_values
from gainjax.curves import FILE
from gainjax.methods import as_methods, get_method
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.guard import Interrupted
from gainjax.runs.part_store import PartStore
from gainjax.runs.parts import split
from gainjax.runs.plan import make_plan
from gainjax.runs.settings import resolve_hyperparameters, run_settings, sweep_settings
from gainjax.training import make_layout
from gainjax.training.advance import advance_runs
from gainjax.training.memory import bytes_per_run, runs_at_once, traced_run
from gainjax.training.program import _init_states

pytestmark = pytest.mark.exhaustive

DIGITS = get_benchmark("split-digits")
SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "seen_every": 3}
GRID = {"learning_rate": [0.03, 0.01, 0.003], "sensitivity": [0.2, 0.4]}


def test_sixty_settings_compile_once_per_method_and_equal_runs_alone():
    grid = {
        "learning_rate": np.geomspace(0.001, 0.03, 10),
        "sensitivity": [0.1, 0.2, 0.4],
        "decay": [0.8, 0.9],
    }
    before = advance_runs._cache_size(), _init_states._cache_size()
    curves = gainjax.sweep("split-digits", grid, ["ngm-sgd", "sgd"], seeds=5, threads=1, **SHORT)
    after = advance_runs._cache_size(), _init_states._cache_size()
    # NGM-SGD has 60 settings in 5 batches; SGD has 10 in one.
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 2]
    assert dict(curves.sizes)["setting"] == 70
    rng = np.random.default_rng(0)
    for i in [0, 59, 69, *rng.choice(70, 3, replace=False)]:
        row = curves.isel(setting=i)
        method = row.method.item()
        names = ["learning_rate", "sensitivity", "decay"] if method == "ngm-sgd" else GRID.keys()
        values = {n: row[n].item() for n in names if not np.isnan(row[n].item())}
        seed = int(rng.integers(5))
        alone = gainjax.run("split-digits", [method], [seed], hyperparameters=values, **SHORT)
        for name in curves.data_vars:
            if name != "diverged_update":
                np.testing.assert_array_equal(row[name].sel(seed=seed), alone[name][0, 0], name)


def test_rows_are_labelled_by_what_varies(tmp_path):
    curves = gainjax.sweep("split-digits", GRID, ["ngm-sgd", "sgd"], 2, out=tmp_path, **SHORT)
    assert curves.accuracy.dims == ("setting", "seed", "eval_update", "eval_task")
    assert curves.setting.values[1] == "ngm-sgd learning_rate=0.03 sensitivity=0.4"
    assert curves.setting.values[-1] == "sgd learning_rate=0.003"
    assert curves.method.values.tolist() == ["ngm-sgd"] * 6 + ["sgd"] * 3
    np.testing.assert_array_equal(curves.sensitivity[5:], [0.4, np.nan, np.nan, np.nan])
    chosen = curves.isel(setting=(curves.method == "sgd").values)
    assert chosen.learning_rate.values.tolist() == GRID["learning_rate"]
    xr.testing.assert_identical(gainjax.load(tmp_path), curves)
    spec = json.loads(curves.attrs["spec"])
    assert spec["settings"][0]["swept"] == ["learning_rate", "sensitivity"]
    assert spec["settings"][0]["hyperparameters"]["decay"] == 0.9


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_batches_change_no_number(layout):
    options = {"methods": ["ngm-sgd"], "seeds": 2, "layout": layout, **SHORT}
    whole = gainjax.sweep("split-digits", GRID, **options)
    method, short = get_method("ngm-sgd"), {k: SHORT[k] for k in list(SHORT)[:2]}
    program, stream = DIGITS.replace(**short).program(method), DIGITS.load(None, 20)
    _, update = traced_run(program, stream, method.hyperparameters)
    one = bytes_per_run(update, make_layout(layout), program.protocol.longest_task)
    in_batches = gainjax.sweep("split-digits", GRID, memory=5.5 * one, **options)
    for name in ("train_loss", "accuracy", "gain"):
        if layout == "map":
            np.testing.assert_array_equal(in_batches[name], whole[name])
        else:
            np.testing.assert_allclose(in_batches[name], whole[name], rtol=1e-4, atol=1e-6)


def test_an_interrupted_sweep_goes_on_in_the_middle_of_a_batch(tmp_path, monkeypatch):
    options = {"methods": ["ngm-sgd", "sgd"], "seeds": 2, "chunk": 2, **SHORT}
    whole = gainjax.sweep("split-digits", GRID, **options)
    keep, seen = PartStore.keep, []

    def stop(self, chunk):
        seen.append(self.name)
        if self.name == "ngm-sgd.0001" and chunk.done == 8:
            signal.raise_signal(signal.SIGTERM)
        keep(self, chunk)

    tight = {"memory": 1.5e6, "out": tmp_path, "threads": 1}
    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "keep", stop)
        with pytest.raises(Interrupted, match=r"update 8 of 15 of ngm-sgd\.0001"):
            gainjax.sweep("split-digits", GRID, **options, **tight)
        with pytest.raises(ValueError, match="another unfinished run"):
            gainjax.sweep("split-digits", GRID | {"sensitivity": [0.3]}, **options, **tight)
    assert len(set(seen)) == 3  # the methods take turns
    # Whatever memory there is now, the batches stay those that it was begun with.
    again = gainjax.resume(tmp_path, chunk=3)
    xr.testing.assert_identical(again.drop_attrs(), whole.drop_attrs())
    assert {p.name for p in tmp_path.iterdir()} == {".lock", FILE}


def test_memory_decides_the_size_of_batches():
    program = DIGITS.program(get_method("sgd"))
    _, update = traced_run(program, DIGITS.load(), ["learning_rate"])
    one_by_one, batched = make_layout("map"), make_layout("vmap")
    small, large = (bytes_per_run(update, x, 100) for x in (one_by_one, batched))
    weights = 4 * (64 * 200 + 200 * 200 + 200 * 10)
    assert 2 * weights < small < 2 * weights + 10_000
    activations = 4 * 60 * 410  # at least those of the test set
    assert large > small + activations
    fit = {m: runs_at_once(update, batched, 12, memory=m * large) for m in (0.1, 5.2, 1e9)}
    assert list(fit.values()) == [1, 4, 12]  # 5 fit, but three batches of 4 serve 12
    assert runs_at_once(update, one_by_one, 300) == 60
    with pytest.raises(ValueError, match="memory must be a positive"):
        gainjax.run("split-digits", ["sgd"], memory=0)


def test_parts_hold_every_run_once_and_have_one_size():
    bench = DIGITS.replace(**{k: SHORT[k] for k in list(SHORT)[:2]})
    methods = as_methods(["sgd", "adam"])
    rows = run_settings(methods, resolve_hyperparameters(bench, methods, {}))
    plan = make_plan(bench, methods, rows, range(11), bench.load())
    parts = split(plan.runs, {"sgd": 11, "adam": 4})
    # Programs take turns, so that side by side several are compiled.
    assert [part.name for part in parts] == ["sgd", "adam.0000", "adam.0001", "adam.0002"]
    joined = np.concatenate([part.runs for part in parts[1:]])
    assert joined.tolist() == [*range(11), 10]
    assert parts[0].runs.tolist() == list(range(11))


def drawn(names, grid, draws, seed=0):
    methods = as_methods(names)
    fixed = resolve_hyperparameters(DIGITS, methods, {})
    return sweep_settings(methods, fixed, grid, draws=draws, draw_seed=seed)


def test_draws_are_shared_by_methods_and_fixed_by_their_seed():
    grid = {"learning_rate": loguniform(1e-3, 1e-1), "sensitivity": [0.2, 0.4]}
    draw = [drawn(["ngm-sgd", "sgd"], grid, 4, seed) for seed in (0, 0, 1)]
    rates = [[s.hyperparameters["learning_rate"] for s in settings] for settings in draw]
    assert len(draw[0]) == 8
    assert rates[0] == rates[1] != rates[2]
    assert rates[0][:4] == rates[0][4:]
    assert all(1e-3 <= rate <= 1e-1 for rate in rates[0])
    assert {s.hyperparameters["sensitivity"] for s in draw[0][:4]} <= {0.2, 0.4}


def test_draws_from_lists_are_different():
    grid = {"learning_rate": [0.1, 0.2, 0.3], "sensitivity": [0.2, 0.4]}
    settings = drawn(["ngm-sgd"], grid, 6)
    points = {
        (s.hyperparameters["learning_rate"], s.hyperparameters["sensitivity"]) for s in settings
    }
    assert len(points) == 6
    assert drawn(["ngm-sgd"], grid, 3) == settings[:3]
    with pytest.raises(
        ValueError, match="draws must be at most 6, the number of combinations for ngm-sgd: got 7"
    ):
        drawn(["ngm-sgd"], grid, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": {}}, "grid must name at least one"),
        ({"grid": {"lr": [0.1]}}, "no method has a hyperparameter 'lr'"),
        ({"grid": {"sgd": {"momentum": [0.1]}}}, "sgd has no hyperparameter 'momentum'"),
        ({"grid": {"adam": {"b1": [0.1]}}}, "not among the methods"),
        ({"grid": {"learning_rate": []}}, "learning_rate must have at least one value"),
        ({"grid": {"learning_rate": [0.1, -1]}}, "learning_rate of sgd must be"),
        ({"grid": {"learning_rate": [0.1, 0.1]}}, "'sgd learning_rate=0.1' twice"),
        ({"grid": {"learning_rate": loguniform(0.1, 1)}}, "learning_rate is a distribution"),
        ({"draws": 0}, "draws must be an integer of at least 1"),
        ({"methods": ["adma"]}, "did you mean 'adam'"),
        ({"layout": "pmap"}, "layout must be 'map' or 'vmap'"),
        ({"devices": []}, "devices must hold at least one"),
        ({"memory": -1}, "memory must be a positive"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    options = {"grid": {"learning_rate": [0.1]}, "methods": ["sgd"]} | SHORT | arguments
    with pytest.raises(ValueError, match=message):
        gainjax.sweep("split-digits", **options)


def test_the_command_writes_ranking_and_frontier(tmp_path, capsys):
    words = ["--updates-per-task", "3", "--batch-size", "16", "--eval-examples", "20"]
    grid = ["--grid", "learning_rate=0.03,0.01", "ngm-sgd.sensitivity=.2,.4"]
    methods = ["--methods", "ngm-sgd", "sgd", "--seeds", "2"]
    main(["sweep", "split-digits", *grid, *methods, *words, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    for word in ("learning rate", "sensitivity", "avg-SG", "curves.nc", "ranking.csv", "frontier"):
        assert word in printed
    assert {"ranking.csv", "frontier.png", "heatmap-ngm-sgd.png"} <= {
        p.name for p in tmp_path.iterdir()
    }


def test_values_of_the_command_line():
    grid = parse_settings(("learning_rate=.1,1e-2", "adam.b1=0.5"), "--grid", parse_values)
    assert grid == {"learning_rate": [0.1, 0.01], "adam": {"b1": [0.5]}}
    log, linear = parse_values("log:1e-4:1"), parse_values("uniform:-1:1")
    np.testing.assert_allclose(log.ppf([0, 0.5, 1]), [1e-4, 1e-2, 1])
    np.testing.assert_allclose(linear.ppf([0, 0.5, 1]), [-1, 0, 1], atol=1e-12)


@pytest.mark.parametrize("text", ["fast", "", "log:0:1", "log:1:0.1", "normal:0:1", "log:1"])
def test_wrong_values_of_the_command_line(text, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "split-digits", "--grid", f"learning_rate={text}", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "--grid takes NAME=VALUE" in capsys.readouterr().err


def test_values_are_arrays_of_any_kind_and_draws_are_numbers():
    options = {"seeds": 1, "updates_per_task": 2, "eval_examples": 5, "threads": 1}
    curves = gainjax.sweep(
        "split-digits", {"learning_rate": jnp.array([0.5, 0.25])}, ["sgd"], **options
    )
    assert curves["learning_rate"].values.tolist() == [0.5, 0.25]

    class One:
        def rvs(self, size, random_state):
            return 0.1

    with pytest.raises(ValueError, match=r"rvs\(size=, random_state=\) must return 3 numbers"):
        gainjax.sweep("split-digits", {"learning_rate": One()}, ["sgd"], draws=3, **options)


def test_twenty_thousand_draws_have_as_many_labels():
    methods = as_methods(["sgd"])
    fixed = {"sgd": dict(methods["sgd"].hyperparameters)}
    close = scipy.stats.uniform(0.1, 1e-6)  # alike in six digits
    rows = sweep_settings(methods, fixed, {"learning_rate": close}, draws=20_000)
    assert len({row.label for row in rows}) == 20_000
