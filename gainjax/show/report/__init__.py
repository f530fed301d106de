"""A report of runs: one page that needs nothing but a browser."""

from gainjax.show.report.page import report

__all__ = ["report"]
