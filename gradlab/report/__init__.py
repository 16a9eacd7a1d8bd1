"""The report of a study: frames and provenance in; one self-contained page, its figures and its tables out."""

from gradlab.report.page import write_report
from gradlab.report.pair import write_pair
from gradlab.report.printed import printed
from gradlab.report.source import Source

__all__ = ["Source", "printed", "write_pair", "write_report"]
