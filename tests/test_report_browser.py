"""The page in a real browser: what a reader can do with it, and that it talks to nobody."""

import io
import itertools
import re

import pandas as pd
import pytest
from browsers import browser
from synthetic import CHARACTER, synthetic_curves

import gainjax
from gainjax.cli import main
from gainjax.curves import Setting

pytestmark = pytest.mark.slow

HOSTILE = "<script>document.title = 'x'</script>&lt;b&gt; $$x$$ <img src=http://a.example/x>"


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return gainjax.report(synthetic_curves(), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short run, with its page."""
    folder = tmp_path_factory.mktemp("trained")
    gainjax.run(
        "split-digits", ["ngm-sgd", "sgd"], 3, updates_per_task=60, out=folder, progress=False
    )
    main(["report", str(folder), "--out", str(folder / "page.html")])
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    rows = [Setting(f"{m} {HOSTILE}", m, f"{m} {HOSTILE}", {}) for m in ("sgd", "adam")]
    character = {row.label: CHARACTER[row.method] for row in rows}
    curves = synthetic_curves(settings=rows, character=character)
    curves = curves.assign_attrs(benchmark=HOSTILE, score=f"accuracy {HOSTILE}")
    return gainjax.report(curves, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def opened(chromium):
    """Return what opens a page; anything that goes wrong in it fails the test at its end."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    wrong = []

    def open_page(path):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        page.on(
            "request",
            lambda r: r.url.startswith(("file:", "data:", "blob:")) or wrong.append(r.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield open_page
    context.close()
    assert not wrong


def states(page, of):
    """Return setting, seed and a property of each line of the first chapter."""
    return page.evaluate(
        f"chapters[0].lines.map((line) => [line.setting, line.seed, model(line.id).{of}])"
    )


def range_of(page):
    return page.evaluate("(({start, end}) => [start, end])(model(chapters[0].ranges[0]))")


def hovered(page, figure=None):
    """Return what stands beside the mouse in the middle of a figure, by default the first."""
    figure = figure or page.locator("figure").first
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    for share in (0.55, 0.56):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.5)
    tip = figure.locator(".tip")
    tip.wait_for(timeout=10_000)
    return tip.inner_text()


def test_a_method_can_be_switched_off_in_all_figures(opened, written):
    page = opened(written)
    assert all(visible for _, seed, visible in states(page, "visible") if seed is None)
    page.get_by_label("SGD", exact=True).uncheck()
    shown = states(page, "visible")
    assert all(visible == (setting != 1) for setting, seed, visible in shown if seed is None)
    assert sum(setting == 1 and seed is None for setting, seed, _ in shown) > 8  # of all figures


def test_seeds_can_be_seen_one_by_one(opened, written):
    page = opened(written)
    assert not any(visible for _, seed, visible in states(page, "visible") if seed is not None)
    page.get_by_label("seed 3").check()
    shown = {seed for _, seed, visible in states(page, "visible") if visible}
    assert shown == {None, 3}
    page.get_by_label("mean and interval").uncheck()
    page.get_by_label("NGM-SGD", exact=True).uncheck()
    assert {s for s, seed, visible in states(page, "visible") if visible and seed == 3} == {1, 2, 3}


def test_buttons_zoom_to_a_switch_and_back(opened, written):
    page = opened(written)
    whole = range_of(page)
    assert whole == [0.5, 1000.5]
    page.get_by_role("button", name="switch 2").click()
    low, high = range_of(page)
    assert 200 < low < 400 < high < 600
    assert page.evaluate(f"chapters[0].ranges.every((id) => model(id).end === {high})")
    pressed = page.locator("button[aria-pressed=true]")
    assert pressed.all_inner_texts() == ["switch 2"]
    page.get_by_role("button", name="whole run").click()
    assert range_of(page) == whole


def test_the_values_of_all_methods_are_hovered_in_one_box(opened, written):
    page = opened(written)
    first, *others = hovered(page).splitlines()
    update = int(first.removeprefix("update "))
    curves = synthetic_curves()
    means = 100 * curves.accuracy.sel(eval_update=update, eval_task=1).mean("seed")
    told = {line.split("\t")[0].strip(): line.split("\t")[1] for line in others}
    assert told == {
        name: f"{mean:.2f} %"
        for name, mean in zip(["NGM-SGD", "SGD", "MSGD", "Adam"], means.values, strict=True)
    }
    page.get_by_label("SGD", exact=True).uncheck()
    page.get_by_label("seed 3").check()
    text = hovered(page)
    assert "\nSGD" not in text
    assert text.count("seed 3") == 3


def test_the_page_of_a_trained_run_has_the_numbers_of_the_command_line(opened, trained, capsys):
    capsys.readouterr()
    main(["table", str(trained), "--format", "csv"])
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="setting")
    page = opened(trained / "page.html")
    metrics = page.locator("table:has-text('convention of')")
    heads = metrics.locator("thead th").all_inner_texts()
    for row, name in zip(metrics.locator("tbody tr").all(), ["ngm-sgd", "sgd"], strict=True):
        cells = dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))
        for head, metric, scale, form in (
            ("avg-SG", "avg_sg", 1, ".3f"),
            ("min-ACC", "min_acc", 100, ".1f"),
            ("anytime", "anytime_accuracy", 100, ".1f"),
            ("final", "final_accuracy", 100, ".1f"),
        ):
            mean, low, high = (table.loc[name, f"{metric}{end}"] for end in ("", "_low", "_high"))
            told = (f"{scale * value:{form}}" for value in (mean, low, high))
            assert re.findall(r"-?[\d.]+", cells[head].replace("−", "-")) == list(told)
    # What is hovered is the accuracy of that update.
    first, *others = hovered(page).splitlines()
    at = gainjax.load(trained).accuracy.sel(
        eval_update=int(first.removeprefix("update ")), eval_task=1
    )
    found = [line.split("\t")[1] for line in others]
    assert found == [f"{100 * mean:.2f} %" for mean in at.mean("seed").values]


@pytest.mark.parametrize("width", [390, 1400])
def test_visible_tooltips_do_not_overlap(opened, written, width):
    page = opened(written)
    page.set_viewport_size({"width": width, "height": 900})
    figures = page.locator("figure:has(.tip)")
    assert figures.count() == 6  # score, gain, uncertainty, loss, and two around the switches
    for figure in figures.all():
        hovered(page, figure)
        boxes = page.evaluate(
            """() => {
                const parts = (node) => [...(node.shadowRoot?.children ?? []), ...node.children];
                const inside = (node) => [node, ...parts(node).flatMap(inside)];
                return inside(document.body)
                    .filter((e) => e.matches(".tip, .bk-Tooltip") && e.checkVisibility())
                    .map((e) => e.getBoundingClientRect().toJSON());
            }"""
        )
        for one, other in itertools.combinations(boxes, 2):
            assert (
                one["right"] <= other["left"]
                or other["right"] <= one["left"]
                or one["bottom"] <= other["top"]
                or other["bottom"] <= one["top"]
            )
        assert len(boxes) == 1
        assert boxes[0]["left"] >= 0
        assert boxes[0]["right"] <= width


@pytest.mark.parametrize("width", [390, 1400])
def test_names_in_the_frontier_are_not_cut_off(opened, written, width):
    page = opened(written)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(500)
    names = page.evaluate(
        """() => {
            const pen = document.createElement("canvas").getContext("2d");
            const found = [];
            for (const [id, view] of chapters[0].figures.map((id) => [id, Bokeh.index[id]])) {
                for (const line of view.model.renderers) {
                    const text = line.glyph.text?.value;
                    if (!text) continue;
                    pen.font = "13px helvetica";
                    const at = view.frame.x_scale.compute(line.data_source.get_column("x")[0]);
                    const start = at + line.glyph.x_offset.value;
                    const long = pen.measureText(text).width;
                    const left = line.glyph.text_align.value === "right" ? start - long : start;
                    const { left: low, right: high } = view.frame.bbox;
                    found.push({ text, left: left - low, right: high - left - long });
                }
            }
            return found;
        }"""
    )
    assert {name["text"] for name in names} == {"NGM-SGD", "SGD", "MSGD", "Adam"}
    assert all(name["left"] >= 0 and name["right"] >= 0 for name in names), names


def test_the_keyboard_reaches_everything(opened, written):
    page = opened(written)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
        if reached[-1] == "switch 1":
            page.keyboard.press("Enter")
    assert "switch 4" in reached
    assert range_of(page) != [0.5, 1000.5]
    kinds = page.evaluate(
        "[...document.querySelectorAll('button,input,summary,.scroll')].map(e => e.tabIndex)"
    )
    assert set(kinds) == {0}


def test_names_are_text_wherever_they_stand(opened, hostile):
    page = opened(hostile)
    assert page.title() == HOSTILE
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("main img, main script[src]").count() == 0
    assert f"sgd {HOSTILE}" in hovered(page)
    assert page.title() == HOSTILE


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_screen(opened, written, width):
    page = opened(written)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_black_lines_are_light_on_a_dark_page(opened, written):
    page = opened(written)
    colors = {color["value"] for *_, color in states(page, "glyph.fill_color") if color}
    assert "#000000" in colors
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    colors = {color["value"] for *_, color in states(page, "glyph.fill_color") if color}
    assert "#000000" not in colors
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(22, 22, 24)"


def test_a_printed_page_is_light_and_has_no_buttons(opened, written):
    page = opened(written)
    page.emulate_media(color_scheme="dark", media="print")
    page.wait_for_timeout(300)
    colors = {color["value"] for *_, color in states(page, "glyph.fill_color") if color}
    assert "#000000" in colors
    assert not page.get_by_role("button", name="switch 1").is_visible()
    assert not page.evaluate("chapters[0].figures.some((id) => model(id).toolbar.visible)")
    # What is left of the choices is a legend, and nothing sticks out of the paper.
    assert not page.locator("input[data-setting]").first.is_visible()
    page.emulate_media(media="screen")
    page.get_by_label("Adam", exact=True).uncheck()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    names = page.locator("label:has([data-setting])")
    assert [name.is_visible() for name in names.all()] == [True, True, True, False]
    widths = page.evaluate(
        "['main', 'figure > *'].map((e) => document.querySelector(e).getBoundingClientRect().right)"
    )
    assert widths[0] >= widths[1]


def test_the_name_of_a_row_stays_while_its_table_is_scrolled(opened, written):
    page = opened(written)
    page.set_viewport_size({"width": 400, "height": 900})
    place = """(box) => {
        box.scrollLeft = 200;
        const left = (element) => element.getBoundingClientRect().x;
        return left(box.querySelector('tbody th')) - left(box);
    }"""
    boxes = page.locator(".scroll:has-text('Bursts of the gain')")
    assert boxes.first.evaluate(place) == 0
