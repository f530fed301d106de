"""What goes wrong around a run is told in one line, at once, with what to do."""

import os
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from interruptions import crash
from PIL import Image

import gainjax
from gainjax.cli import main
from gainjax.cli.options import RunOptions
from gainjax.runs.options import Options, OptionsOfResume
from gainjax.runs.plan import How
from gainjax.training import Protocol
from gainjax.training.protocol import ProtocolOptions

RUN = ["run", "split-digits", "--methods", "sgd", "--seeds", "1", "--updates-per-task", "2"]


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error:")
    return " ".join(told.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory-gb", "inf"], "--memory-gb must be a positive number: got inf"),
        (["--memory-gb", "-1"], "--memory-gb must be a positive number: got -1.0"),
        (["--out", "~nosuchuser/x"], "there is no home folder for '~nosuchuser/x'"),
        (["--batch-size", str(10**20)], "batch_size must be at most 2147483647"),
        (["--chunk", str(2**63)], "chunk must be at most 2147483647"),
        (
            ["--coordinator", "nosuch.invalid:3000", "--processes", "2", "--process-id", "1"],
            "names an unknown host: 'nosuch.invalid'",
        ),
        (
            ["--coordinator", "127.0.0.1:99999", "--processes", "2", "--process-id", "0"],
            "--coordinator must be HOST:PORT",
        ),
        (
            ["--coordinator", "127.0.0.1:3999", "--processes", "2", "--process-id", "2"],
            "--process-id must be below --processes: got 2 of 2",
        ),
        (
            ["--coordinator", "127.0.0.1:9", "--processes", "2", "--process-id", "1",
             "--timeout", "1"],
            "no answer from 127.0.0.1:9 after 1 s",
        ),
        (["--out", "\x1b[31mred"], "control characters are not allowed"),
    ],
)  # fmt: skip
def test_wrong_options(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *RUN, *words)
    assert not any(path.name == "progress" for path in tmp_path.rglob("*"))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"JAX_PLATFORMS": "cuda"}, 2, "JAX finds no device"),
        ({"MPLBACKEND": "nonsense"}, 0, "wrote"),
        ({"PYTHONIOENCODING": "ascii"}, 0, "avg-SG"),
    ],
)
def test_odd_environments(environment, code, message, tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "gainjax", *RUN, "--out", str(tmp_path / "out")],
        capture_output=True, text=True, errors="replace", env=os.environ | environment,
    )  # fmt: skip
    assert process.returncode == code, process.stderr
    assert message in process.stdout + process.stderr
    assert "Traceback" not in process.stderr


def test_the_whole_protocol_can_be_set_from_the_command_line():
    protocol, options = ({f.name for f in fields(kind)} for kind in (Protocol, RunOptions))
    assert protocol <= options


def test_type_checkers_know_all_options():
    protocol, how = ({f.name for f in fields(kind)} for kind in (Protocol, How))
    assert set(ProtocolOptions.__annotations__) == protocol
    assert set(OptionsOfResume.__annotations__) == how - {"out"}
    assert set(Options.__annotations__) >= protocol | how


@pytest.mark.exhaustive
def test_more_seeds_or_methods_name_the_way(tmp_path):
    options = {"updates_per_task": 2, "eval_examples": 20, "out": tmp_path}
    gainjax.run("split-digits", ["sgd"], 1, **options)
    for methods, seeds in ((["sgd"], 2), (["sgd", "adam"], 1)):
        with pytest.raises(ValueError, match="To add seeds or methods to it, give extend=True"):
            gainjax.run("split-digits", methods, seeds, **options)
    with pytest.raises(ValueError, match="differs in protocol") as caught:
        gainjax.run("split-digits", ["sgd"], 1, **options | {"updates_per_task": 3})
    assert "extend" not in str(caught.value)


def test_curves_that_do_not_join_runs_name_the_way():
    run = gainjax.run("split-digits", ["sgd"], 1, updates_per_task=2, eval_examples=20)
    when = {"eval_updates": range(1, 11), "task_ends": [2, 4, 6, 8, 10], "seeds": [0]}
    accuracy = np.full((1, 10, 1), 0.5)
    foreign = gainjax.from_curves({"er": accuracy}, **when)
    with pytest.raises(ValueError, match="Give from_curves the benchmark="):
        gainjax.concat([run, foreign], "setting")
    foreign = gainjax.from_curves({"er": accuracy}, benchmark="split-digits", **when)
    both = gainjax.concat([run, foreign], "setting")
    assert both.setting.values.tolist() == ["sgd", "er"]


def test_folders_of_classes_with_unequal_numbers(tmp_path):
    for name, count in (("cat", 12), ("dog", 7), ("owl", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (4, 4), i).save(tmp_path / name / f"{i:02d}.png")
    data = gainjax.data.read(tmp_path)
    assert np.bincount(data.y_train).tolist() == [10, 5, 1]
    assert np.bincount(data.y_test).tolist() == [2, 2, 1]
    (tmp_path / "owl" / "00.png").unlink()
    with pytest.raises(ValueError, match=r"at least 2 images .*owl. has 1"):
        gainjax.data.read(tmp_path)


def test_names_of_classes_in_place_of_numbers():
    x, y = np.zeros((6, 2)), np.arange(6) % 2
    with pytest.raises(TypeError, match="class_names of a data set maps names to classes"):
        gainjax.data.class_incremental(x, y, x, y, tasks=[["cat"], ["dog"]])


def test_a_file_may_import_what_is_beside_it(tmp_path, capsys, monkeypatch):
    (tmp_path / "helping_module.py").write_text("RATE = 0.25\n")
    (tmp_path / "mine.py").write_text(
        "import optax\nfrom helping_module import RATE\nrates = [RATE]\n"
        "def m(learning_rate=RATE): return optax.sgd(learning_rate)\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert (
        gainjax.methods.as_method(f"{tmp_path}/mine.py:m").hyperparameters["learning_rate"] == 0.25
    )
    with pytest.raises(ValueError, match=r"has no 'n'; it has RATE, rates, m"):
        gainjax.methods.as_method(f"{tmp_path}/mine.py:n")


def test_files_of_others_name_what_writes_ours(tmp_path):
    curves = gainjax.run("split-digits", ["sgd"], 1, updates_per_task=2, eval_examples=20)
    curves.to_netcdf(tmp_path / "curves.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"that gainjax\.save writes"):
        gainjax.load(tmp_path)
    gainjax.save(curves, tmp_path)
    assert gainjax.load(tmp_path).identical(curves)


def test_tables_of_what_is_not_there_or_was_interrupted(tmp_path, capsys):
    assert "there is no file or folder" in refused(capsys, "table", str(tmp_path / "nothing"))
    crash(4, "split-digits", ["sgd", "adam"], 2, updates_per_task=8, chunk=4, out=tmp_path)
    main(["table", str(tmp_path)])
    told = " ".join(capsys.readouterr().out.split())
    assert "was interrupted" in told
    assert f"to finish it: gainjax resume {tmp_path}" in told


def test_methods_of_the_command_line_may_have_labels(tmp_path, monkeypatch, capsys):
    from gainjax.cli.values import parse_methods

    (tmp_path / "mine.py").write_text(
        "import optax\ndef m(learning_rate=0.1): return optax.sgd(0.1)\n"
    )
    found = parse_methods(
        ["sgd", "plain=sgd", f"new={tmp_path}/mine.py:m", f"{tmp_path}/mine.py:m"]
    )
    assert list(found) == ["sgd", "plain", "new", "m"]
    assert found["plain"] is found["sgd"]
    assert "--methods gives 'sgd' twice" in refused(capsys, *RUN[:3], "sgd", "sgd")
    assert "methods must be" in refused(capsys, *RUN[:3])
