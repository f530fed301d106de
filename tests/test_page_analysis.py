"""The analysis on pages: numbers, words and what is left out."""

import json
import re

import numpy as np
import pytest
from page_curves import with_gains
from synthetic import synthetic_curves

import gainjax
from gainjax import analysis, pages
from gainjax.analysis import sections as analyses
from gainjax.curves import spec_of
from gainjax.show.pages import sections
from gainjax.show.pages.shown import Shown


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


def is_shown(text, value):
    """Return whether a number is what a text shows of it."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.500001 * 10.0**-digits


def numbers(cell):
    return re.findall(r"[+-]?\d+\.?\d*", " ".join(cell))


def test_an_analysis_is_one_more_entry(monkeypatch, curves):
    def count(shown):
        return sections.Section("Settings", [f"{len(shown.names)} rows"])

    monkeypatch.setattr(analyses, "ANALYSES", [count])
    page = pages.render([curves])
    assert "<h2>Settings</h2>" in page
    assert "4 rows" in page


def test_the_numbers_of_the_analysis_are_those_of_its_functions(curves):
    shown = Shown(curves, 10_000)
    (bursts,), (levels,), (claims,) = (make(shown).sheets for make in analyses.ANALYSES)
    table = analysis.burst_table(analysis.measure_bursts(curves)).to_dict("records")
    for row, expected in zip(bursts.rows, table, strict=True):
        for cell, name in zip(row.cells, analyses._BURSTS, strict=True):
            ends = ("",) if name == "predicted" else ("", "_low", "_high")
            for text, end in zip(numbers(cell), ends, strict=True):
                assert is_shown(text, expected[f"{name}{end}"])
    of_task = analysis.tonic_levels(curves).groupby("task")[["level", "steady_state"]].mean()
    for row, name in zip(levels.rows, of_task, strict=True):
        for cell, expected in zip(row.cells, of_task[name], strict=True):
            assert is_shown(numbers(cell)[0], expected)
    judged = analysis.judge_claims(curves).query("verdict != 'not measured'").to_dict("records")
    for row, expected in zip(claims.rows, judged, strict=True):
        assert row.name == expected["statement"]
        shown_of_it = zip(numbers(row.cells[0]), ("value", "low", "high"), strict=True)
        assert all(is_shown(text, expected[name]) for text, name in shown_of_it)
        assert row.cells[-1] == (expected["verdict"],)


def with_a_gain_that_ends(slope):
    """Return curves whose gain moves on a line, relative to its level, after a burst."""
    curves = with_gains(1)
    gain = np.concatenate([2 + np.exp(-np.arange(150) / 10), 2 + 2 * slope * np.arange(50) / 49])
    gain = np.tile(gain, len(curves.task_end))[: curves.sizes["update"]]
    (row,) = spec_of(curves)["settings"]
    numbers = row["hyperparameters"]
    excess = gain - numbers["baseline"]
    drive = np.append(excess[1:] - numbers["decay"] * excess[:-1], 0) / numbers["sensitivity"]
    shape = curves.gain.shape
    return curves.assign(
        gain=(curves.gain.dims, np.broadcast_to(gain, shape)),
        uncertainty=(curves.gain.dims, np.broadcast_to(drive, shape)),
    )


@pytest.mark.parametrize(
    ("slope", "text"),
    [
        (0.0, "The gain settles: over the last quarter of a task it moves by at most 0.0 %."),
        (-0.05, "The gain still falls at the end of tasks: over their last quarter by -5.1 %."),
        (0.05, "The gain still rises at the end of tasks: over their last quarter by +4.9 %."),
    ],
)
def test_a_gain_that_still_moves_has_not_settled(slope, text):
    section = analyses.tonic(Shown(with_a_gain_that_ends(slope), 10_000))
    assert section.texts[0].startswith(text)


def test_no_interval_says_what_cannot_be(curves):
    row = analysis.burst_table(analysis.measure_bursts(curves)).iloc[0].to_dict()
    row |= {"uncertainty_time_constant_low": -454.9, "uncertainty_time_constant_high": 560.4}
    row |= {"area_low": -1.0}
    found = analyses._burst_row(Shown(curves, 100), row, 4)
    cells = dict(zip(analyses._BURSTS, found.cells, strict=True))
    assert cells["uncertainty_time_constant"][1] == "[–]"
    assert cells["area"][1].startswith("[-1.00, ")
    assert cells["peak"][1] == f"[{row['peak_low']:.3f}, {row['peak_high']:.3f}]"


def test_the_gain_around_switches_is_drawn_as_it_was(curves):
    chart = analyses.bursts(Shown(curves, 100_000)).charts[0]
    data = chart.figure.renderers[0].data_source.data
    gain = curves.gain.sel(setting="ngm-sgd").mean("seed").values
    expected = np.mean([gain[end - 21 : end + 100] for end in curves.task_end.values[:-1]], axis=0)
    np.testing.assert_array_equal(data["x"], np.arange(-20, 101))
    np.testing.assert_allclose(data["mean"], expected, rtol=1e-6)


def test_the_analysis_says_what_it_leaves_out():
    of_gain = ["The gain at a switch", "The level of the gain"]
    claimed = "Claims"

    def found(dataset):
        shown = Shown(dataset, 10_000)
        made = [section for make in analyses.ANALYSES if (section := make(shown)) is not None]
        notes = [note for section in made for sheet in section.sheets for note in sheet.notes]
        texts = [text for section in made for text in section.texts]
        return [section.title for section in made], " ".join([*texts, *notes])

    assert found(synthetic_curves(seeds=5))[0] == of_gain
    assert found(synthetic_curves(seeds=6))[0] == [*of_gain, claimed]
    assert found(synthetic_curves(("ngm-sgd",), tasks=1, seeds=6))[0] == of_gain[1:]
    assert found(synthetic_curves(("sgd", "adam"), seeds=6)) == ([], "")
    titles, text = found(synthetic_curves(seeds=6, diverged=[("ngm-sgd", 0, 300)]))
    assert titles == [*of_gain, claimed]
    assert "without the seeds that diverged: NGM-SGD" in text
    assert "cannot be judged, since a seed diverged" in text
    titles, text = found(with_gains(12, seeds=6))
    assert titles == of_gain
    assert "of 12 settings, only the initially visible ones" in text
    other = gainjax.concat([with_gains(1), synthetic_curves(("sgd",), seeds=2, tasks=3)], "setting")
    assert found(with_gains(1, decay=0.5))[0] == []
    cut = json.loads(other.attrs["spec"]) | {"cut_off_after": 550}
    assert found(other)[0] == of_gain
    assert found(other.assign_attrs(spec=json.dumps(cut)))[0] == []
