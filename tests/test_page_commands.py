"""Commands that write a page, and pages of runs that are still running."""

import importlib.util

import pytest
from synthetic import synthetic_curves

import gainjax
from gainjax.cli import main
from gainjax.cli import pages as commands


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


def test_without_bokeh_the_extra_is_named(monkeypatch, curves, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bokeh" else found(name)
    )
    with pytest.raises(ImportError, match=r'pip install "gainjax\[report\]"'):
        gainjax.report(curves, tmp_path / "page.html")
    gainjax.save(curves, tmp_path)
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path)])
    assert "gainjax[report]" in capsys.readouterr().err.replace("\n", "")


def test_the_command_writes_a_page(curves, tmp_path, capsys):
    gainjax.save(curves, tmp_path / "run")
    main(["report", str(tmp_path / "run")])
    assert "page.html" in capsys.readouterr().out
    assert (tmp_path / "run" / "page.html").exists()
    main(["report", str(tmp_path / "run" / "curves.nc"), "--out", str(tmp_path / "x.html")])
    assert (tmp_path / "x.html").exists()


def test_a_finished_run_is_not_watched_any_longer(curves, tmp_path):
    gainjax.save(curves, tmp_path)
    page = commands.watch(tmp_path, None, 5.0).read_text()
    assert 'http-equiv="refresh"' not in page


def test_a_running_job_has_a_page_that_loads_itself_again(curves, tmp_path, monkeypatch):
    states = [
        FileNotFoundError(),
        curves.isel(seed=[0]).assign_attrs(unfinished='{"adam": [3, 9]}'),
        curves,
    ]
    waited, seen = [], []

    def load(*args, **options):
        state = states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    def sleep(seconds):
        waited.append(seconds)
        seen.append((tmp_path / "page.html").read_text())

    monkeypatch.setattr(commands, "load", load)
    monkeypatch.setattr(commands.time, "sleep", sleep)
    path = commands.watch(tmp_path, None, 7.0)
    assert len(seen) == 2
    assert all('http-equiv="refresh" content="7.0"' in page for page in seen)
    assert "adam 3 of 9" in seen[1]
    assert 'http-equiv="refresh"' not in path.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_watching_once_ends(tmp_path):
    page = commands.watch(tmp_path, None, 5.0, once=True).read_text()
    assert "Nothing is running" in page
    with pytest.raises(FileNotFoundError, match="no folder"):
        commands.watch(tmp_path / "none", None, 5.0)
    for seconds in (0.0, 1e30, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="--every must be from 1 to 86400 seconds"):
            commands.watch(tmp_path, None, seconds)
