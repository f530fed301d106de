"""Pages of curves with what the gain does: the showing of curves and their analysis in one file."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from gainjax.files import expanded, write_file
from gainjax.show import pages


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
    """Return the HTML of a page, with the sections of the analysis.

    Args:
        several: Curves, possibly none yet.
        refresh: As for :func:`gainjax.show.pages.render`.
        note: Text to show above everything.

    Raises:
        ImportError: If Bokeh is missing.
    """
    pages.require_bokeh()
    from gainjax.analysis.sections import ANALYSES  # which needs Bokeh, an extra

    return pages.render(several, refresh, note, ANALYSES)
