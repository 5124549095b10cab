"""The report: one HTML file about runs, with all that it needs in it and nothing that leaves it."""

from analysis.report.page import Options, html, write

__all__ = ["Options", "html", "write"]
