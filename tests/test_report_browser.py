"""The page in a real browser: what a reader can do with it, and that it talks to nobody."""

import pytest
from browsers import browser
from synthetic import CHARACTER, synthetic_curves

import gainjax
from gainjax.curves import Setting

pytestmark = pytest.mark.slow

HOSTILE = "<script>document.title = 'x'</script>&lt;b&gt; $$x$$ <img src=http://a.example/x>"

# A tooltip hides its parts in trees of their own.
TEXT_OF_TOOLTIPS = """() => {
    const parts = (node) => [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes];
    const text = (node) => parts(node)
        .filter((part) => part.nodeName !== "STYLE")
        .map((part) => (part.nodeType === Node.TEXT_NODE ? part.data : text(part)))
        .join(" ");
    const tooltips = (node) => parts(node).flatMap((part) => (
        part.classList?.contains("bk-Tooltip") ? [part] : tooltips(part)
    ));
    return tooltips(document.body).map(text).join(" ");
}"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return gainjax.report(synthetic_curves(), tmp_path_factory.mktemp("page") / "page.html")


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


def hovered(page):
    """Return what stands beside the mouse in the middle of the first figure."""
    figure = page.locator("figure").first
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    for share in (0.55, 0.56):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.5)
    page.locator(".bk-Tooltip").first.wait_for(timeout=10_000)
    return page.evaluate(TEXT_OF_TOOLTIPS)


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


def test_a_value_can_be_hovered(opened, written):
    page = opened(written)
    text = hovered(page)
    assert "NGM-SGD" in text
    assert "mean" in text
    assert "%" in text


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
