"""The report of a study: frames and provenance in; one self-contained page, its figures and its tables out."""

from gradlab.report.origin import made_with
from gradlab.report.page import write_report
from gradlab.report.pair import write_pair
from gradlab.report.source import Source
from gradlab.report.table_formats import printed

__all__ = ["Source", "made_with", "printed", "write_pair", "write_report"]
