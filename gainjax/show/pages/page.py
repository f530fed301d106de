"""A page of curves: one file with everything a browser needs, without network requests."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from gainjax import curves as curves_room
from gainjax.curves import check_rows
from gainjax.show.names import printable

_BUDGET = 240_000  # numbers in all charts of a page, about 3 MB


def render(
    several: Sequence[xr.Dataset],
    refresh: float | None = None,
    note: str = "",
    further: Sequence[Callable[..., Any]] = (),
) -> str:
    """Return the HTML of a page.

    Args:
        several: Curves, possibly none yet.
        refresh: Seconds after which the page reloads itself, or None for never.
        note: Text to show above everything.
        further: Sections that are added to those of :mod:`gainjax.show.pages.sections`.

    Raises:
        ImportError: If Bokeh is missing.
    """
    require_bokeh()
    # Imported only for pages: Bokeh and Jinja are an extra.
    import jinja2
    from bokeh.embed import components
    from bokeh.resources import Resources

    from gainjax.show.pages.chapters import chapter

    several, reason = _joined(several)
    chapters = [chapter(each, _BUDGET // len(several), further) for each in several]
    made = [chart for each in chapters for chart in each.charts]
    script, places = components([chart.figure for chart in made]) if made else ("", ())
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gainjax.show", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=", ".join(dict.fromkeys(each.title for each in chapters)) or "gainjax",
        chapters=chapters,
        places=dict(zip(map(id, made), places, strict=True)),
        bokeh=Resources(mode="inline", components=["bokeh"]).render() if made else "",
        script=script,
        refresh=refresh,
        note=printable(note),
        reason=printable(reason),
        ident=id,
    )


def require_bokeh() -> None:
    """Raise a helpful error if the packages for pages are missing."""
    missing = [name for name in ("bokeh", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"a page needs {' and '.join(missing)}, which the extra has: "
            'pip install "gainjax[report]"'
        )


def _joined(several: Sequence[xr.Dataset]) -> tuple[list[xr.Dataset], str]:
    """Return curves as chapters, and the reason if they cannot be one."""
    several = list(several)
    for curves in several:
        check_rows(curves)
    if len(several) < 2:
        return several, ""
    try:
        joined = curves_room.concat(several, "setting")
    except ValueError as error:
        return several, str(error).splitlines()[0]
    found = [json.loads(curves.attrs.get("unfinished", "{}")) for curves in several]
    if any(found):
        unfinished = {label: state for each in found for label, state in each.items()}
        joined = joined.assign_attrs(unfinished=json.dumps(unfinished))
    return [joined], ""
