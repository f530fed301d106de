"""Pages of curves: self-contained HTML files, for a browser or a colleague."""

from gainjax.show.pages.page import render, require_bokeh

__all__ = ["render", "require_bokeh"]
