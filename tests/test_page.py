"""The report: one page that needs nothing else, opened in a real browser where there is one."""

import json
import os
import re
import shutil
import threading
import time

import numpy as np
import pytest

import gainjax
from gainjax.cli import main
from gainjax.show.formats import formatted
from gainjax.show.report.sentences import sentences
from gainjax.show.sheets import ranking_sheet, table_sheets

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HOSTILE = "<script>alert(1)</script>&'\"</script><b>{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "run"
    gainjax.run("split-digits", seeds=2, updates_per_task=20, out=out, progress=False)
    return out


def foreign(labels, seeds=3, every=10, tasks=3, **more):
    updates = np.arange(every, 40 * tasks + 1, every)
    rng = np.random.default_rng(0)
    return gainjax.from_curves(
        {label: rng.uniform(0.5, 1, (seeds, len(updates), 1)) for label in labels},
        eval_updates=updates.tolist(),
        task_ends=[40 * (k + 1) for k in range(tasks)],
        **more,
    )


def text_of(page):
    """Return what a reader sees, without markup."""
    import html

    body = page.read_text().rpartition("\n<body>\n")[2]
    body = re.sub(r"<(script|style).*?</\1>", "", body, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_numbers_are_those_of_the_command_line(run_directory, tmp_path, capsys):
    main(["report", str(run_directory), "--out", str(tmp_path / "page.html")])
    shown = text_of(tmp_path / "page.html")
    curves = gainjax.load(run_directory)
    for sheet in table_sheets(curves, None, 1):
        assert sheet.title in shown
        for row in sheet.rows:
            assert " ".join([row.name, *(" ".join(cell) for cell in row.cells)]) in shown
    capsys.readouterr()
    main(["table", str(run_directory), "--json"])
    gap = json.loads(capsys.readouterr().out)[0]["avg_sg"]
    assert f"{gap:.3f}" in shown


def test_page_asks_nobody_for_anything_and_is_small(run_directory, tmp_path):
    page = gainjax.report(gainjax.load(run_directory), tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert page.stat().st_size < 3e6
    # Bokeh's code names hosts in messages; what a browser would fetch are sources and links.
    assert not re.search(
        r"""<(script|img|iframe)[^>]*\ssrc=|<link[^>]*href="(?!data:)""", page.read_text()
    )


def test_size_of_a_usual_run(tmp_path):
    rng = np.random.default_rng(0)
    updates = 1000
    curves = gainjax.from_curves(
        {f"m{i}": rng.uniform(size=(5, updates, 1)) for i in range(4)},
        eval_updates=range(1, updates + 1),
        task_ends=range(200, updates + 1, 200),
        **{
            name: {f"m{i}": rng.uniform(1, 2, (5, updates)) for i in range(4)}
            for name in ("train_loss", "uncertainty", "gain")
        },
        seen_accuracy={f"m{i}": rng.uniform(size=(5, updates)) for i in range(4)},
        eval_loss={f"m{i}": rng.uniform(size=(5, updates, 1)) for i in range(4)},
    )
    assert gainjax.report(curves, tmp_path / "page.html").stat().st_size < 5e6


def test_names_are_text_and_no_markup(tmp_path):
    page = gainjax.report(foreign([HOSTILE, "er"], benchmark=HOSTILE), tmp_path / "page.html")
    assert "<script>alert" not in page.read_text()
    assert "49" not in text_of(page).split("Numbers")[0]
    assert HOSTILE in text_of(page)


def test_several_results_stand_on_one_page(run_directory, tmp_path):
    sweep = gainjax.sweep(
        "split-digits", {"learning_rate": np.geomspace(0.001, 0.1, 15)}, ["sgd", "adam"], 2,
        updates_per_task=4, progress=False,
    )  # fmt: skip
    page = gainjax.report(
        [gainjax.load(run_directory), sweep, foreign(["er"], seeds=1, tasks=1)],
        tmp_path / "page.html",
    )
    shown = text_of(page)
    (ranking,) = [ranking_sheet(sweep, 0.005, "method", 1)]
    assert ranking.title in shown
    assert "There are too many settings to show single seeds" in shown
    assert "There is only one task, hence no switch and no stability gap." in shown


def test_sentences_say_no_more_than_the_numbers():
    accuracy = np.full((6, 4, 1), 0.9)
    falls = accuracy.copy()
    falls[:, 2] = np.linspace(0.3, 0.6, 6)[:, None]
    stays = accuracy.copy()
    stays[:, 2] = np.linspace(0.7, 0.8, 6)[:, None]
    when = {"eval_updates": [5, 10, 12, 20], "task_ends": [10, 20]}
    told = " ".join(sentences(gainjax.from_curves({"a": falls, "b": stays}, **when)))
    assert "Of 2 methods, b has the smallest stability gap: avg-SG 0.167" in told
    assert "p = 0.031 by the exact paired test." in told
    few = {"a": falls[:3], "b": stays[:3]}
    assert "3 seeds are too few for a test" in " ".join(sentences(gainjax.from_curves(few, **when)))
    one = {"a": falls[:1], "b": stays[:1]}
    assert "With one seed nothing is known of chance." in sentences(
        gainjax.from_curves(one, **when)
    )
    broken = {"a": falls, "b": stays}
    loss = {label: np.ones((6, 4, 1)) for label in broken}
    loss["b"][2, 3] = np.nan
    told = " ".join(sentences(gainjax.from_curves(broken, eval_loss=loss, **when)))
    assert "Of 2 methods, a has" in told
    assert "1 of 6 seeds of b diverged." in told


def test_wrong_input_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="at least one result: got none"):
        gainjax.report([], tmp_path / "page.html")
    with pytest.raises(ValueError, match="markdown, csv, latex: got 'html'"):
        formatted(foreign(["er"]), "html")
    monkeypatch.setitem(__import__("sys").modules, "bokeh.embed", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gainjax\[report\]"'):
        gainjax.report(foreign(["er"]), tmp_path / "page.html")


@pytest.mark.parametrize("how", ["markdown", "latex", "csv"])
def test_tables_for_other_programs_have_the_numbers(how, run_directory, capsys):
    main(["table", str(run_directory), "--format", how])
    told = capsys.readouterr().out
    gap = gainjax.table(gainjax.load(run_directory)).loc["ngm-sgd", "avg_sg"]
    assert (str(gap) if how == "csv" else f"{gap:.4f}") in told
    if how == "latex":
        assert told.count(r"\begin{tabular}") == told.count(r"\end{tabular}") == 2
        rows = [
            line for line in told.splitlines() if line.startswith(("NGM", "SGD", "MSGD", "Adam"))
        ]
        assert all(line.endswith(r"\\") for line in rows)


def test_latex_has_no_commands_of_others():
    told = formatted(foreign([r"\input{x}_$1$ 50% #&~^"]), "latex")
    (row,) = [line for line in told.splitlines() if "input" in line]
    assert row.startswith(
        r"\textbackslash{}input\{x\}\_\$1\$ 50\% \#\&\textasciitilde{}\textasciicircum{}"
    )


def test_watch_follows_a_run_until_it_is_finished(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    watching = threading.Thread(target=main, args=(["watch", str(out), "--every", "1"],))
    watching.start()
    time.sleep(0.2)
    gainjax.run("split-digits", ["sgd"], 2, updates_per_task=10, out=out, progress=False)
    watching.join(120)
    assert not watching.is_alive()
    page = (out / "report.html").read_text()
    assert "http-equiv" not in page
    assert "Avg-SG of SGD" in page


def test_watch_of_an_unfinished_run_reloads_itself(run_directory, tmp_path):
    page = gainjax.report(gainjax.load(run_directory), tmp_path / "page.html", refresh_seconds=7)
    assert '<meta http-equiv="refresh" content="7">' in page.read_text()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if BROWSER is None:
        pytest.skip("there is no Chromium: .ci/browser installs one")
    if not os.access(BROWSER, os.X_OK):
        pytest.skip(f"{BROWSER} cannot be run")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def written(run_directory, tmp_path_factory):
    results = [gainjax.load(run_directory), foreign([HOSTILE], benchmark=HOSTILE)]
    return gainjax.report(results, tmp_path_factory.mktemp("opened") / "page.html")


@pytest.fixture
def opened(browser, written):
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.problems = []
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("console", lambda m: m.type in ("error", "warning") and tab.problems.append(m.text))
    tab.on("request", lambda r: r.url.startswith("file:") or tab.problems.append(r.url))
    tab.on("dialog", lambda dialog: tab.problems.append(dialog.message))
    tab.goto(written.as_uri())
    tab.wait_for_selector("body[data-ready=true]")
    yield tab
    assert not tab.problems
    tab.close()


SHOWN = """(kind) => JSON.parse(document.getElementById("marks").textContent)
  .filter((m) => m.result === "r0" && m.kind === kind && !m.switch)
  .map((m) => [m.setting, m.seed, Bokeh.documents[0].get_model_by_id(m.model).visible])"""
RANGE = """() => { const r = Bokeh.documents[0].get_model_by_name("r0-updates");
  return [r.start, r.end]; }"""


def test_methods_and_seeds_are_toggled(opened):
    assert {(s, v) for s, _, v in opened.evaluate(SHOWN, "mean")} == {(i, True) for i in range(4)}
    assert not any(v for *_, v in opened.evaluate(SHOWN, "seed"))
    opened.locator("[data-result=r0] [data-kind=setting]").nth(1).uncheck()
    opened.locator("[data-result=r0] [data-kind=seed]").nth(0).check()
    assert {s for s, _, v in opened.evaluate(SHOWN, "mean") if not v} == {1}
    assert {(s, i) for s, i, v in opened.evaluate(SHOWN, "seed") if v} == {(0, 0), (2, 0), (3, 0)}


def test_switches_are_zoomed_to_by_keyboard(opened):
    assert opened.evaluate(RANGE) == [0.5, 100.5]
    button = opened.locator("[data-result=r0] button", has_text="switch 2")
    button.focus()
    opened.keyboard.press("Enter")
    assert opened.evaluate(RANGE) == [38, 46]
    assert button.get_attribute("aria-pressed") == "true"
    focused = set()
    for _ in range(40):  # every control is reached by the tabulator
        opened.keyboard.press("Tab")
        focused.add(opened.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "INPUT"} <= focused


def test_values_are_shown_where_the_mouse_is(opened):
    figure = opened.locator("figure").first
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    shown = ""
    for height in np.linspace(0.15, 0.9, 60):
        opened.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + height * box["height"])
        opened.wait_for_timeout(60)
        tips = opened.locator(".bk-tooltip-content")
        if tips.count():
            shown = tips.first.inner_text()
            break
    assert "update" in shown
    assert "mean" in shown


def test_only_the_chosen_switch_is_shown(opened):
    visible = """() => JSON.parse(document.getElementById("marks").textContent)
      .filter((m) => m.result === "r0" && m.switch && m.kind === "mean"
        && Bokeh.documents[0].get_model_by_id(m.model).visible).map((m) => m.switch)"""
    assert set(opened.evaluate(visible)) == {1}
    opened.locator("[data-result=r0] [data-kind=switch]").nth(2).check()
    assert set(opened.evaluate(visible)) == {3}


def test_hostile_names_are_shown_as_they_are(opened):
    assert opened.locator("h2.result").nth(1).inner_text() == HOSTILE
    assert opened.locator("text=alert(1)").count() > 1


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_sticks_out_of_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.wait_for_timeout(300)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
