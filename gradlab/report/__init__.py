"""The report of a study: from tables and provenance to one self-contained page, figures and table files."""

from gradlab.report.page import write_report
from gradlab.report.pair import write_pair
from gradlab.report.source import Source, made_with
from gradlab.report.table_formats import format_tables

__all__ = ["Source", "format_tables", "made_with", "write_pair", "write_report"]
