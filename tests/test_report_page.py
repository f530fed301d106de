"""The page of curves: its numbers, its words, and that it is one file of text that is safe."""

import html
import io
import json
import re

import numpy as np
import pytest
from page_curves import foreign, with_gains
from rich.console import Console
from synthetic import CHARACTER, synthetic_curves, synthetic_sweep

import gainjax
from gainjax import pages, show
from gainjax.curves import Setting
from gainjax.show.pages import sections
from gainjax.show.pages.shown import Shown
from gainjax.show.pages.words import sentences

HOSTILE = "<script>alert(1)</script>&lt;i&gt; </script><img src=http://a.example/x>'\"${x} {{ 1 }}"
GRID = {"ngm-sgd": ((0.01, 0.03), (0.2, 0.4)), "sgd": ((0.01, 0.1), (np.nan,))}


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=6)


def cells(page):
    """Return the text of every cell of every table."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", " ", cell)).split() for cell in found]


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
