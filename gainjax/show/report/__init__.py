"""The report: results as one page that needs nothing else, to look at and to hand on."""

from gainjax.show.report.page import report

__all__ = ["report"]
