"""The page: its sections in a template, with the library that draws them inside."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import xarray as xr

from gainjax.curves import check_rows, concat
from gainjax.files import expanded, write_file
from gainjax.show.names import printable
from gainjax.show.report.sections import SECTIONS


def report(curves: xr.Dataset | Sequence[xr.Dataset], path: str | Path) -> Path:
    """Write a page about runs that can be opened anywhere: one file, which loads nothing else.

    Args:
        curves: Curves of a run, of a sweep or from elsewhere, or several that belong together.
        path: Where to write the page.

    Returns:
        The path.

    Raises:
        ImportError: If Bokeh is not installed.
        TypeError: If something else than curves is given.
        ValueError: If the curves do not belong together.
        OSError: If the page cannot be written.

    Example:
        >>> import tempfile
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> curves = from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> report(curves, tempfile.mkdtemp() + "/page.html").name
        'page.html'
    """
    dataset = curves if isinstance(curves, xr.Dataset) else _joined(curves)
    check_rows(dataset)
    path = expanded(path)
    write_file(path, _page(dataset).encode())
    return path


def _joined(curves: Sequence[xr.Dataset]) -> xr.Dataset:
    if not isinstance(curves, Sequence) or not curves:
        raise TypeError(f"curves must be a dataset or a list of them: got {curves!r}")
    return curves[0] if len(curves) == 1 else concat(list(curves), "setting")


def _page(dataset: xr.Dataset) -> str:
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
        from jinja2 import Environment
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError("a report needs Bokeh: pip install 'gainjax[report]'") from error

    found = [(title, build(dataset)) for title, build in SECTIONS]
    shown = [(title, content) for title, content in found if content is not None]
    figures = {title: content.figure for title, content in shown if content.figure is not None}
    script, places = components(figures) if figures else ("", {})
    inline = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js()
    sections: list[dict[str, Any]] = [
        {
            "title": title,
            "content": content,
            "figure": Markup(places[title]) if title in places else None,
        }
        for title, content in shown
    ]
    template = files("gainjax.show.report").joinpath("page.html.jinja").read_text("utf-8")
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            title=printable(dataset.attrs["benchmark"]),
            sections=sections,
            library=Markup(inline),
            script=Markup(script),
        )
    )
