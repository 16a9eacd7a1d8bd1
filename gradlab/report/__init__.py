"""The report of a study: frames and provenance in; one self-contained page, its figures and its tables out."""

from gradlab.report.page import write_report

__all__ = ["write_report"]
