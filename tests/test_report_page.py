"""The page: it says what the table says, is one file, harms nobody and works in a browser."""

import html
import re
import shutil

import pytest
from synthetic import synthetic_curves, synthetic_sweep

import gainjax
from gainjax.cli import main
from gainjax.show.sheets import table_sheets

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def page_of(curves, tmp_path):
    return gainjax.report(curves, tmp_path / "page.html").read_text("utf-8")


def test_numbers_are_those_of_the_command_line(tmp_path):
    curves = synthetic_curves()
    page = page_of(curves, tmp_path)
    for sheet in table_sheets(curves, None, digits=1):
        for row in sheet.rows:
            cells = "".join(
                "<td>" + "".join(f"<span>{html.escape(part)}</span> " for part in cell) + "</td>"
                for cell in row.cells
            )
            assert cells in page
    assert len(page) < 5e6
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert "no difference can be significant at 5 %" in html.unescape(page)


def test_significance_is_told_where_seeds_are_enough(tmp_path):
    assert "significantly smaller than" in page_of(synthetic_curves(seeds=8), tmp_path)


@pytest.mark.parametrize(
    "curves",
    [
        synthetic_curves(seeds=1),
        synthetic_curves(tasks=1),
        synthetic_curves(diverged=[("sgd", 0, 300)]),
        synthetic_sweep(),
        gainjax.from_curves(
            {"a": [[[0.9], [0.4], [0.8]]]}, eval_updates=[10, 12, 20], task_ends=[10, 20]
        ),
    ],
    ids=["one seed", "one task", "diverged", "sweep", "foreign"],
)
def test_whatever_was_recorded_has_a_page(curves, tmp_path):
    assert "What is seen" in page_of(curves, tmp_path)


def test_the_command_writes_the_page(tmp_path, capsys):
    gainjax.save(synthetic_curves(), tmp_path)
    main(["report", str(tmp_path)])
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


def test_names_are_text(tmp_path):
    evil = "</script><script>alert(1)</script>"
    curves = gainjax.from_curves(
        {evil: [[0.9], [0.4], [0.8]]}, eval_updates=[10, 12, 20], task_ends=[10, 20], benchmark=evil
    )
    page = page_of(curves, tmp_path)
    assert "<script>alert" not in page


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the page in")
def test_the_page_works_in_a_browser(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    path = gainjax.report(synthetic_curves(), tmp_path / "page.html")
    asked, errors = [], []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        box = page.locator("input[type=checkbox]").first
        box.wait_for()
        lines = "Bokeh.documents[0].all_models"
        seen = f"[...{lines}].filter(m => m.type == 'GlyphRenderer' && m.visible).length"
        before = page.evaluate(seen)
        box.focus()
        page.keyboard.press("Space")
        page.wait_for_function(f"{seen} < {before}")
        page.get_by_text("switch 1", exact=True).click()
        page.wait_for_function(f"[...{lines}].some(m => m.type == 'Range1d' && m.end < 400)")
        browser.close()
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
