"""The page of curves: its numbers, its words, and that it is one file of text that is safe."""

import html
import importlib.util
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from synthetic import CHARACTER, DYNAMICS, synthetic_curves, synthetic_sweep

import gainjax
from gainjax import analysis, pages, show
from gainjax.analysis import sections as analyses
from gainjax.cli import main
from gainjax.cli import pages as commands
from gainjax.curves import Setting, spec_of
from gainjax.show.pages import sections
from gainjax.show.pages.shown import Shown
from gainjax.show.pages.words import sentences

HOSTILE = "<script>alert(1)</script>&lt;i&gt; </script><img src=http://a.example/x>'\"${x} {{ 1 }}"
GRID = {"ngm-sgd": ((0.01, 0.03), (0.2, 0.4)), "sgd": ((0.01, 0.1), (np.nan,))}


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


def foreign(shape=(3, 40, 1), labels=("er", "ewc"), **more):
    rng = np.random.default_rng(0)
    every = 10
    when = {"eval_updates": range(every, every * shape[1] + 1, every), "task_ends": [200, 400]}
    return gainjax.from_curves({m: rng.uniform(0.7, 1, shape) for m in labels}, **(when | more))


def cells(page):
    """Return the text of every cell of every table."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", " ", cell)).split() for cell in found]


def is_shown(text, value):
    """Return whether a number is what a text shows of it."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.500001 * 10.0**-digits


def numbers(cell):
    return re.findall(r"[+-]?\d+\.?\d*", " ".join(cell))


def with_gains(count, seeds=2, **dynamics):
    """Return a sweep of settings with a gain each."""
    values = [
        {"learning_rate": rate, **DYNAMICS, **dynamics} for rate in np.geomspace(0.01, 0.1, count)
    ]
    rows = [
        Setting(f"ngm-sgd {v['learning_rate']:.4f}", "ngm-sgd", "NGM-SGD", v, ("learning_rate",))
        for v in values
    ]
    character = {row.label: CHARACTER["ngm-sgd"] for row in rows}
    return synthetic_curves(settings=rows, character=character, seeds=seeds, tasks=3)


def headings(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


def text_of(page):
    """Return what is read, without the scripts."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def said(dataset):
    return " ".join(sentences(Shown(dataset, 10_000)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("eval_tasks", [1, 5])
def test_numbers_are_those_of_the_command_line(eval_tasks):
    curves = synthetic_curves(seeds=6, eval_tasks=eval_tasks)
    console = Console(width=400, record=True, file=io.StringIO())
    show.print_table(curves, console)
    printed = console.export_text()
    words = set(printed.split())
    page = pages.render([curves])
    shown = {word for cell in cells(page) for word in cell}
    numbers = {word for word in words if re.fullmatch(r"[≥±+\[-]?\d[\d.,–\]-]*", word)}
    assert len(numbers) > 50
    assert numbers <= shown | set(text_of(page).split())


def test_the_numbers_of_a_ranking_are_those_of_the_command_line():
    sweep = synthetic_sweep(GRID, seeds=3)
    (sheet,) = sections.metrics(Shown(sweep, 10_000)).sheets
    console = Console(width=400, record=True, file=io.StringIO())
    show.print_ranking(sweep, console)
    printed = console.export_text()
    for row in sheet.rows:
        for cell in row.cells:
            assert " ".join(cell) in printed


def test_the_gap_of_each_switch_has_avg_sg_as_its_mean(curves):
    sheet = sections._gap_sheet(Shown(curves, 10_000))
    table = gainjax.table(curves)
    for row, expected in zip(sheet.rows, table["avg_sg"], strict=True):
        assert np.mean([float(cell[0]) for cell in row.cells]) == pytest.approx(expected, abs=1e-3)


def test_the_page_is_one_file_that_asks_nobody(curves, tmp_path):
    path = gainjax.report(curves, tmp_path / "deep" / "page.html")
    page = path.read_text()
    assert path.stat().st_size < 5e6
    assert not re.search(r"<(script|img|iframe)[^>]+src=|@import|http-equiv=\"refresh\"", page)
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert "default-src 'none'" in page


def test_four_methods_and_five_seeds_are_not_thinned():
    page = pages.render([synthetic_curves()])
    assert "every stretch" not in page
    assert len(page) < 5e6


@pytest.mark.exhaustive
def test_long_curves_keep_their_minima_and_the_page_says_so():
    curves = synthetic_curves(seeds=3, tasks=3, updates_per_task=20_000, methods=("sgd", "adam"))
    shown = Shown(curves, 5_000)
    chart = sections.accuracy(shown).charts[0]
    assert shown.reduced
    kept = 0
    for number, label in enumerate(("sgd", "adam")):
        accuracy = curves.accuracy.sel(setting=label, eval_task=1).values
        source = next(
            renderer.data_source.data
            for renderer, line in zip(chart.figure.renderers, chart.lines, strict=True)
            if line.setting == number
        )
        kept += len(source["x"])
        assert set(curves.task_end.values) <= set(source["x"])
        for start in (20_000, 40_000):
            inside = (source["x"] > start) & (source["x"] <= start + 20_000)
            for seed in range(3):
                expected = accuracy[seed, start : start + 20_000].min()
                assert source[f"seed {seed}"][inside].min() == np.float32(expected)
    assert kept < 20_000
    assert "highest and lowest points" in pages.render([synthetic_curves(updates_per_task=20_000)])


def test_markup_in_names_is_text():
    rows = [Setting(f"{m} {HOSTILE}", m, f"{m} {HOSTILE}", {"learning_rate": 0.1}) for m in "ab"]
    character = {row.label: CHARACTER["sgd"] for row in rows}
    curves = synthetic_curves(settings=rows, character=character, seeds=2)
    spec = json.loads(curves.attrs["spec"]) | {"note": HOSTILE}
    curves = curves.assign_attrs(
        benchmark=HOSTILE,
        score=f"accuracy {HOSTILE}",
        spec=json.dumps(spec),
        environment=json.dumps({HOSTILE: HOSTILE}),
    )
    page, plain = pages.render([curves]), pages.render([synthetic_curves(seeds=2)])
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("</script>") == plain.count("</script>")
    assert f"a {' '.join(HOSTILE.split())}" in text_of(page)


def test_words_say_what_is_smallest_and_how_sure_that_is(curves):
    text = said(curves)
    table = gainjax.table(curves)
    assert table["avg_sg"].idxmin() == "ngm-sgd"
    assert f"of 4 methods: {table['avg_sg'].min():.3f}" in text
    assert f"{100 * table['anytime_accuracy']['ngm-sgd']:.1f} %" in text
    assert "than that of MSGD and Adam, but not than that of SGD" in text
    assert "with 6 seeds, corrected for choosing the best of 4" in text
    many = said(synthetic_curves(seeds=10))
    assert "significantly smaller than every other at 5 %" in many
    same = curves.sel(setting=["sgd", "adam"]).copy(deep=True)
    same.accuracy[1] = same.accuracy[0].roll(seed=1)
    assert "not significantly smaller" in said(same)  # the same gaps in another order


def test_words_about_few_seeds_claim_nothing():
    five, one = said(synthetic_curves(seeds=5)), said(synthetic_curves(seeds=1))
    assert "too few" in five
    assert "at least 6" in five
    assert "significant" not in five + one
    assert "One seed cannot distinguish" in one


def test_words_warn_of_a_small_gap_that_accuracy_pays_for():
    curves = synthetic_curves(seeds=6)
    curves = curves.assign(seen_accuracy=curves.seen_accuracy.copy())
    curves.seen_accuracy.loc[{"setting": "ngm-sgd"}] -= 0.2
    assert "reaches more" in said(curves)


def test_a_diverged_method_is_never_the_best():
    curves = synthetic_curves(seeds=6, diverged=[("ngm-sgd", 0, 300)])
    text = said(curves)
    assert text.startswith("SGD has the smallest")
    assert "Excluded: NGM-SGD" in text
    assert "diverged" in text_of(pages.render([curves]))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(lambda: synthetic_curves(seeds=1), id="one seed"),
        pytest.param(lambda: synthetic_curves(methods=("sgd",), seeds=2), id="one method"),
        pytest.param(lambda: foreign(score="r2"), id="another score"),
        pytest.param(lambda: foreign((1, 40, 1), ("er",)), id="one curve"),
        pytest.param(lambda: foreign((2, 20, 1), task_ends=[200]), id="one task"),
        pytest.param(
            lambda: synthetic_curves(
                seeds=2, diverged=[(m, s, 5) for m in CHARACTER for s in (0, 1)]
            ),
            id="all diverged",
        ),
        pytest.param(lambda: synthetic_curves(seeds=2, without=("eval_loss",)), id="no loss"),
        pytest.param(lambda: synthetic_curves(seeds=2, without=("uncertainty",)), id="gain alone"),
        pytest.param(lambda: synthetic_curves(tasks=3, updates_per_task=2), id="shortest tasks"),
        pytest.param(lambda: synthetic_curves(tasks=1, seeds=2), id="one task with a gain"),
        pytest.param(lambda: with_gains(12), id="sweep of gains"),
        pytest.param(lambda: with_gains(2, decay=0.5), id="a gain of another origin"),
        pytest.param(
            lambda: synthetic_curves(seeds=7, diverged=[("ngm-sgd", 0, 30), ("sgd", 1, 5)]),
            id="seeds diverged",
        ),
        pytest.param(
            lambda: gainjax.concat(
                [foreign(benchmark="x", labels=("er",)), foreign(benchmark="x", labels=("ewc",))],
                "setting",
            ),
            id="joined",
        ),
    ],
)
def test_whatever_curves_there_are_have_a_page(dataset, tmp_path):
    page = gainjax.report(dataset(), tmp_path / "page.html").read_text()
    assert "<h2>Summary</h2>" in page
    assert "nan" not in text_of(page).lower().split()


def test_what_was_not_recorded_is_absent():
    page = pages.render([foreign()])
    assert "Around the switches" in page
    assert headings(page) == [
        "Summary", "Metrics", "Task 1 through the run", "Around the switches",
        "Differences, paired by seed", "Configuration and versions",
    ]  # fmt: skip


@pytest.mark.exhaustive
def test_a_sweep_of_sixty_settings_stays_usable():
    grid = {"ngm-sgd": (tuple(np.geomspace(0.001, 0.1, 15)), (0.1, 0.2, 0.4, 0.8))}
    page = pages.render([synthetic_sweep(grid, seeds=2, tasks=2, updates_per_task=100)])
    assert len(page) < 5e6
    boxes = re.findall(r"<input type=\"checkbox\" data-setting[^>]*>", page)
    assert len(boxes) == 60
    assert sum("checked" in box for box in boxes) == 8


def test_gaps_of_scores_below_0_are_left_out_of_the_page(tmp_path):
    accuracy = {"a": np.random.default_rng(0).uniform(0.5, 1, (3, 40, 1))}
    accuracy["a"][1, 19] = -0.2  # before the switch: nothing that could be lost
    when = {"eval_updates": range(10, 401, 10), "task_ends": [200, 400]}
    curves = gainjax.from_curves(accuracy, score="r2", **when)
    page = gainjax.report(curves, tmp_path / "page.html").read_text()
    assert f"{gainjax.table(curves)['avg_sg'].item():.3f}" in text_of(page)
    (sheet,) = sections.switches(Shown(curves, 10_000)).sheets
    assert f"{gainjax.table(curves)['avg_sg'].item():.3f}" == sheet.rows[0].cells[0][0]


def test_seeds_keep_their_numbers_where_one_is_left_out():
    curves = synthetic_curves(["sgd"], seeds=3, tasks=2, updates_per_task=20)
    curves = curves.assign_attrs(score="r2")
    curves.diverged_update[0, 1] = 5
    curves.accuracy[0, 1, 5:] = np.nan
    (chart,) = sections.accuracy(Shown(curves, 10_000)).charts
    data = chart.figure.renderers[-1].data_source.data
    assert sorted(name for name in data if name.startswith("seed")) == ["seed 0", "seed 2"]
    np.testing.assert_array_equal(data["seed 2"], curves.accuracy[0, 2, :, 0].astype(np.float32))
    assert [row[1] for row in chart.tip.rows] == ["SGD", "SGD, seed 0", "SGD, seed 2"]
    assert "diverged" in pages.render([curves])


def test_curves_that_belong_together_are_one_chapter_others_their_own():
    together = [foreign(benchmark="x", labels=(m,)) for m in ("er", "ewc")]
    assert pages.render(together).count("<article") == 1
    apart = pages.render([foreign(), synthetic_curves(seeds=2)])
    assert apart.count("<article") == 2
    assert "cannot be one table" in apart


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


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_tables_have_formats(curves, form, tmp_path, capsys):
    gainjax.save(curves, tmp_path)
    main(["table", str(tmp_path), "--format", form])
    printed = capsys.readouterr().out
    assert printed == show.formatted(gainjax.load(tmp_path), form)
    assert f"{gainjax.table(curves)['avg_sg'].iloc[0]:.4f}"[:5] in printed
    with pytest.raises(SystemExit):
        main(["table", str(tmp_path), "--format", form, "--json"])


def test_latex_is_escaped_and_balanced():
    names = ["a_b & 50% #1", r"\input{x} ~^", "$x$ {y}"]
    curves = foreign(labels=tuple(names))
    text = show.formatted(curves, "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 0
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\midrule")
    assert r"a\_b \& 50\% \#1" in text
    assert r"\textbackslash{}input\{x\} \textasciitilde{}\textasciicircum{}" in text
    assert r"\$x\$ \{y\}" in text
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    assert all(r"\\" in line for line in lines)


def test_names_are_no_markup_in_markdown_and_no_dashes_in_latex():
    names = ["<b>x</b>", "*a* _b_ learning_rate=1", "[l](http://x)", "$x$ |y| `z` &lt;", "a--b"]
    curves = foreign(labels=tuple(names))
    text = show.formatted(curves, "markdown")
    for literal in (
        r"| \<b>x\</b>",
        r"| \*a\* \_b\_ learning_rate=1",
        r"| \[l](http://x)",
        r"| \$x\$ \|y\| \`z\` \&lt;",
        r"**Differences from \<b>x\</b>",
        r"- method - \<b>x\</b>",
    ):
        assert literal in text
    assert "a-{}-b" in show.formatted(curves, "latex")
