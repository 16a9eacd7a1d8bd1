"""The report of a study: frames and provenance in; one self-contained page, its figures and its tables out."""

from gradlab.report.page import write_report
from gradlab.report.printed import printed

__all__ = ["printed", "write_report"]
