"""Make the pictures of the README: `python docs/pictures.py`, with the extra `test`.

`split-digits.png` is the figure of `gainjax demo` with three annotations; `report.png` is
the page of the same run, zoomed to the first switch, with the values beside the mouse.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gainjax

HERE = Path(__file__).parent
METHODS = ("ngm-sgd", "sgd", "msgd", "adam")
_ORANGE = "#D55E00"  # that of NGM-SGD


def explained(curves: xr.Dataset) -> Figure:
    """Return the figure of a run, with its switch, its gap and the bursts of its gain named.

    Args:
        curves: Curves of a run with a gain.
    """
    figure = gainjax.plot_curves(curves)
    run, _, gain, around, *_ = figure.axes
    run.set_ylim(0.5, 1.03)  # without the first updates of an untrained network
    switch = int(curves["task_end"][0])
    _note(run, "switch: new classes arrive", (switch, 0.57), (switch + 60, 0.57))
    worst = max(around.lines[: len(METHODS)], key=lambda line: -line.get_ydata().min())
    place = int(worst.get_ydata().argmin())
    at, depth = float(worst.get_xdata()[place]), float(worst.get_ydata()[place])
    around.annotate("", (at, depth), (at, 1), arrowprops={"arrowstyle": "<->", "color": "0.2"})
    around.text(at + 9, 0.8 * depth + 0.2, "stability\ngap", fontsize=10.5, va="center")
    values = gain.lines[0].get_ydata()
    peak = int(values[switch : switch + 100].argmax()) + switch
    top = gain.get_ylim()[1]
    _note(gain, "the gain bursts", (peak, values[peak]), (peak + 90, 0.97 * top), _ORANGE)
    return figure


def _note(
    axes: Axes, text: str, at: tuple[float, float], of: tuple[float, float], color: str = "0.2"
) -> None:
    arrow = {"arrowstyle": "->", "color": color}
    axes.annotate(text, at, of, arrowprops=arrow, color=color, fontsize=9.5, va="center")


def photograph(page: Path, picture: Path) -> None:
    """Write a picture of a page.

    Args:
        page: The page.
        picture: The picture, a PNG file.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1100, "height": 1000})
        shown.goto(page.resolve().as_uri())
        shown.wait_for_selector("html[data-ready]")
        shown.get_by_role("button", name="switch 1").click()
        figure = shown.locator("figure").first
        box = figure.bounding_box()
        bottom = box["y"] + box["height"] + 10
        shown.set_viewport_size({"width": 1100, "height": int(bottom)})
        shown.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.55 * box["height"])
        figure.locator(".tip").wait_for()
        shown.wait_for_timeout(300)
        shown.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Train, and make both pictures."""
    curves = gainjax.run("split-digits", METHODS, 5, progress=False)
    explained(curves).savefig(HERE / "split-digits.png", dpi=200)
    with TemporaryDirectory() as folder:
        page = gainjax.report(curves, Path(folder) / "page.html")
        photograph(page, HERE / "report.png")


if __name__ == "__main__":
    main()
