"""A page of curves: one file with everything a browser needs, without network requests."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from gainjax import curves as curves_room
from gainjax.curves import check_rows
from gainjax.files import expanded, write_file
from gainjax.show.names import printable

_BUDGET = 240_000  # numbers in all charts of a page, about 3 MB


def report(curves: xr.Dataset | Sequence[xr.Dataset], path: str | Path) -> Path:
    """Write a page about curves: one HTML file that works offline and can be sent to anybody.

    It summarizes the results in a sentence, and shows the table of :func:`gainjax.table` with its
    intervals, curves that can be zoomed to a switch and toggled by setting and seed, the gap of
    each switch, gap against accuracy, paired differences, the effect of the gain and the
    configuration. Data that were not recorded are omitted. For very long curves the extremes of
    every stretch are drawn, and the page says so.

    Args:
        curves: Curves of a run, of a sweep, or from elsewhere; or several of these. Those that
            belong together, as for :func:`gainjax.concat`, form one chapter; others are separate.
        path: Where to write the page, such as ``page.html``. It is written atomically.

    Returns:
        The path.

    Raises:
        ImportError: If Bokeh is missing: ``pip install "gainjax[report]"``.
        ValueError: If there are no curves.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from gainjax import from_curves
        >>> accuracy = {"er": [[0.9], [0.3], [0.8]], "ewc": [[0.9], [0.6], [0.7]]}
        >>> curves = from_curves(accuracy, eval_updates=[10, 12, 20], task_ends=[10, 20])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     "EWC" in report(curves, f"{folder}/page.html").read_text().upper()
        True
    """
    several = [curves] if isinstance(curves, xr.Dataset) else list(curves)
    if not several:
        raise ValueError("curves must be at least one dataset: got none")
    target = expanded(path)
    write_file(target, render(several).encode())
    return target


def render(several: Sequence[xr.Dataset], refresh: float | None = None, note: str = "") -> str:
    """Return the HTML of a page.

    Args:
        several: Curves, possibly none yet.
        refresh: Seconds after which the page reloads itself, or None for never.
        note: Text to show above everything.

    Raises:
        ImportError: If Bokeh is missing.
    """
    require_bokeh()
    # Imported only for pages: Bokeh and Jinja are an extra, and the analysis is a room above.
    import jinja2
    from bokeh.embed import components
    from bokeh.resources import Resources

    from gainjax.analysis.sections import ANALYSES
    from gainjax.show.pages.chapters import chapter

    several, reason = _joined(several)
    chapters = [chapter(each, _BUDGET // len(several), ANALYSES) for each in several]
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
    for dataset in several:
        check_rows(dataset)
    if len(several) < 2:
        return several, ""
    try:
        joined = curves_room.concat(several, "setting")
    except ValueError as error:
        return several, str(error).splitlines()[0]
    found = [json.loads(dataset.attrs.get("unfinished", "{}")) for dataset in several]
    if any(found):
        unfinished = {label: state for each in found for label, state in each.items()}
        joined = joined.assign_attrs(unfinished=json.dumps(unfinished))
    return [joined], ""
