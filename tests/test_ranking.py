"""Rankings of sweeps: what is marked, what is warned of, and what is written."""

import os

import numpy as np
import pandas as pd
import pytest
from printing import printed, ranked
from synthetic import TITLES, synthetic_curves, synthetic_sweep

from gainjax import show as report


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves()


@pytest.fixture(scope="module")
def sweep():
    return synthetic_sweep()


def test_the_ranking_marks_what_to_take(sweep):
    rows = report.ranking(sweep)
    lines = ranked(sweep).splitlines()
    marked = [line for line in lines if line.split()[:1] and "*" in line.split()[0]][:4]
    for line, (_, row) in zip(marked, rows[rows["chosen"]].iterrows(), strict=True):
        assert line.split()[0].startswith(f"{TITLES[row['method']]}*")
        assert f" {row['learning_rate']:g} " in line
        assert f"{row['avg_sg']:.3f}" in line
        assert f"{100 * row['anytime_accuracy']:.1f}" in line
    assert sum(line.startswith(" ") and "*" in line for line in lines) == 4
    assert not any("no setting of" in line for line in lines)


def test_the_ranking_says_who_has_nothing_to_take(sweep):
    lowered = sweep.copy(deep=True)
    lowered.seen_accuracy[sweep.method.values == "msgd"] *= 0.9
    text = ranked(lowered, best="any")
    best = report.table(lowered).groupby("method")["anytime_accuracy"].max()
    whose = best.idxmax()
    assert (
        f"no setting of MSGD is chosen: it reaches {100 * best['msgd']:.1f} "
        f"and {TITLES[whose]} {100 * best.max():.1f}" in text
    )
    assert "MSGD*" not in text
    assert "that any method reaches" in text


def test_the_ranking_warns_of_the_edge(sweep):
    edge = [line for line in ranked(sweep).splitlines() if "edge" in line]
    assert not edge or "NGM-SGD (learning rate" not in edge[0]
    highest = sweep.isel(setting=sweep.learning_rate.values <= 0.03)
    (edge,) = (line for line in ranked(highest).splitlines() if "edge" in line)
    assert "NGM-SGD (learning rate 0.03)" in edge
    assert ", SGD (learning rate 0.03)" in edge


@pytest.mark.parametrize("width", [100, 80, 200])
def test_sweeps_fit(sweep, width):
    third = sweep.assign_coords(momentum=("setting", np.linspace(0.1, 0.95, 32)))
    for text in (ranked(third, width), printed(sweep.isel(setting=slice(0, 20, 5)), width)):
        assert "momentum" in text or "setting" in text
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    assert "nan" not in ranked(third, width)


def test_a_wide_terminal_gets_one_line_per_setting(sweep):
    narrow, wide = (ranked(sweep, width).splitlines() for width in (80, 200))
    assert len(narrow) - len(wide) >= 32
    row = next(line for line in wide if line.startswith(" Adam*"))
    assert row.count("–") == 4


def test_files_of_a_sweep(sweep, tmp_path):
    paths = report.write_sweep(sweep, tmp_path / "sweep")
    assert [path.name for path in paths] == [
        "ranking.csv", "ranking.md", "frontier.png", "frontier.pdf", "heatmap-ngm-sgd.png",
        "heatmap-ngm-sgd.pdf",
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "sweep")) == sorted(path.name for path in paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[2::2])
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths[3::2])
    read = pd.read_csv(paths[0], index_col="setting")
    pd.testing.assert_frame_equal(read, report.ranking(sweep))
    rows = [line for line in paths[1].read_text("utf-8").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 32
    assert {row.count("|") for row in rows} == {8}
    assert sum(row.startswith("| **") for row in rows) == 4


def test_three_swept_hyper_parameters_have_no_heatmap(sweep, tmp_path):
    momentum = ("setting", np.tile([0.5, 0.9], 16))
    third = sweep.assign_coords(momentum=momentum).isel(setting=sweep.method.values == "ngm-sgd")
    paths = report.write_sweep(third, tmp_path)
    assert [path.name for path in paths][2:] == ["frontier.png", "frontier.pdf"]


def test_random_draws_have_no_heatmap(sweep, tmp_path):
    drawn = sweep.isel(setting=[0, 5, 10, 15])  # no two share a value
    assert [path.name for path in report.write_sweep(drawn, tmp_path)][2:] == [
        "frontier.png", "frontier.pdf",
    ]  # fmt: skip


def test_nothing_is_written_of_what_is_no_sweep(curves, tmp_path):
    with pytest.raises(ValueError, match="must be a sweep"):
        report.write_sweep(curves, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
