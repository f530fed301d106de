"""The command line."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from command_line import RUN, command
from rich.console import Console
from synthetic import CHARACTER, synthetic_curves

import gainjax
from gainjax.cli import main
from gainjax.cli.values import parse_seeds, parse_settings
from gainjax.curves import Setting
from gainjax.runs.benchmarks import BENCHMARKS

pytestmark = pytest.mark.exhaustive

SHORT_WORDS = ["--updates-per-task", "6", "--batch-size", "16", "--seen-every", "3"]


SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return " ".join(told.split())


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
    heavy = (
        *("flax", "xarray", "pandas", "matplotlib", "sklearn", "h5netcdf", "h5py", "PIL", "bokeh"),
        *("tensorflow_datasets", "array_record", "orbax", "tyro", "rich"),
    )
    script = (
        "import sys, gainjax; gainjax.ngm_sgd(0.1); "
        f"print([module for module in {heavy} if module in sys.modules])"
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "learning_rate=1", "--set", "learning_rate=2"], "--set is given twice"),
        (["--methods", "adam"], "--methods is given twice"),
        (["--seeds", "2"], "--seeds is given twice"),
        (["--updates-per-task=3"], "--updates-per-task is given twice"),
        (["--timeout", str(10**30), "--coordinator", "127.0.0.1:9", "--processes", "2",
          "--process-id", "1"], "--timeout must be at most"),
        (["--memory-gb", "1e308"], "--memory-gb must be a positive number: got 1e+308"),
        (["--out", "loop"], "Too many levels of symbolic links"),
        (["watch", ".", "--every", str(10**30)], "must be from 1 to 86400 seconds: got 1e+30"),
    ],
)  # fmt: skip
def test_wrong_words(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    start = [] if words[0] == "watch" else RUN
    assert message in refused(capsys, *start, *words)


def test_a_grid_does_not_silently_beat_a_value(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "split-digits", "--methods", "sgd", "adam"]
    told = refused(capsys, *words, "--set", "learning_rate=.5", "--grid", "learning_rate=.1,.2")
    assert "learning_rate is both set (hyperparameters, --set) and varied" in told
    told = refused(capsys, *words, "--set", "sgd.learning_rate=.5", "--grid", "learning_rate=.1,.2")
    assert "sgd.learning_rate is both set" in told
    assert "--grid is given twice" in refused(
        capsys, *words, "--grid", "learning_rate=.1,.2", "--grid", "learning_rate=.3,.4"
    )
    # A value for all may be varied for one.
    curves = gainjax.sweep(
        "split-digits", {"sgd": {"learning_rate": [0.1, 0.2]}}, ["sgd", "adam"], 1,
        hyperparameters={"learning_rate": 0.5}, **SHORT,
    )  # fmt: skip
    assert curves.sizes["setting"] == 3


def test_a_seed_beyond_the_range_leaves_nothing_behind(capsys, tmp_path):
    words = ["run", "split-digits", "--methods", "sgd", "--updates-per-task", "2"]
    told = refused(capsys, *words, "--seeds", f"{10**12},5", "--out", str(tmp_path))
    assert "must be below 2**32" in told
    assert not (tmp_path / "progress").exists()


def test_what_does_not_fit_into_memory_is_told_in_a_line(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr("gainjax.runs.execution.train", full)
    assert "RESOURCE_EXHAUSTED" in refused(capsys, *RUN, "--out", str(tmp_path))
    assert not (tmp_path / "progress").exists()  # or a smaller batch would be another run
    monkeypatch.undo()
    main([*RUN, "--batch-size", "8", "--out", str(tmp_path), "--quiet"])
    spec = json.loads(gainjax.load(tmp_path).attrs["spec"])
    assert spec["protocol"]["batch_size"] == 8


def test_names_are_neither_markup_nor_emoji(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([*RUN, "--out", "o[/x]"])
    assert "wrote o[/x]/curves.nc" in capsys.readouterr().out
    told = refused(capsys, "sweep", "split-digits", "--grid", "learning_rate=log:-1:1:5")
    assert "log:-1:1:5" in told
    rows = {":smile:": np.array([[0.9], [0.3], [0.8]]), "[/]": np.array([[0.9], [0.5], [0.8]])}
    curves = gainjax.from_curves(
        rows, eval_updates=[1, 2, 3], task_ends=[1, 3], benchmark=":fire: [b]"
    )
    text = io.StringIO()
    gainjax.show.print_table(curves, Console(file=text, width=100))
    assert all(name in text.getvalue() for name in (":smile:", "[/]", ":fire: [b]"))


def test_six_swept_names_are_not_cut():
    rng = np.random.default_rng(0)
    names = [f"hyper_parameter_{i}" for i in range(6)]
    settings = []
    for k in range(4):
        values = dict(zip(names, rng.random(6).round(6).tolist(), strict=True))
        settings.append(Setting(f"er {k}", "er", "er", values, tuple(names)))
    character = {row.label: CHARACTER["sgd"] for row in settings}
    sweep = synthetic_curves(settings=settings, character=character, seeds=3)
    for width in (100, 80):
        text = io.StringIO()
        gainjax.show.print_ranking(sweep, Console(file=text, width=width))
        told = text.getvalue()
        assert "…" not in told
        for row in settings:
            assert all(f"{value:g}" in told for value in row.hyperparameters.values())
        assert max(map(len, told.splitlines())) <= width


def test_closed_standard_output_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m gainjax list >&-", shell=True, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_at_any_time_is_one_line():
    codes, early, late = [], 0.0, None
    while 130 not in codes and len(codes) < 20:  # how long it takes depends on the machine
        delay = (early + late) / 2 if late else 2 * early or 0.8
        process = command("list")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
        # JAX was still being imported, or it is told in a line, or all was over.
        assert process.returncode in (1, -signal.SIGINT, 130, 0)
        if process.returncode == 130:
            assert "Traceback" not in told
        elif process.returncode == 0:
            late = delay
        else:
            early = delay
        codes.append(process.returncode)
    assert 130 in codes


def test_an_interrupt_while_files_are_written_does_not_deny_the_curves(
    tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gainjax.show.write", interrupted)
    with pytest.raises(SystemExit) as stop:
        main([*RUN, "--out", str(tmp_path), "--quiet"])
    assert stop.value.code == 130
    assert "results stored so far are kept" in capsys.readouterr().err
    assert gainjax.load(tmp_path).sizes["seed"] == 1
