"""The tables of a study as one text: to paste into a paper (LaTeX, Markdown), for programs (CSV), to show (HTML)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradlab.errors import InputError, unknown
from gradlab.formatting.numbers import plus_minus
from gradlab.report import latex, tabular
from gradlab.report.captions import captions
from gradlab.report.page import TABLES, made_tables
from gradlab.tables.factors import longest
from gradlab.tables.tables import measures, rates

FORMATS = ("latex", "markdown", "csv", "html")
#: Where the columns end that say what a row is about, for tables without an interval of their own to end them.
_KEYS_END = {"excluded": "status", "published": "source"}


def printed(runs: pd.DataFrame, study: Mapping[str, Any], kind: str) -> str:
    """Return every table of a study that has rows, one after the other.

    ``csv`` has all rows; the others show rates and what hooks recorded at the longest length, a column a cell.

    Parameters
    ----------
    runs : the study's table ``runs``.
    study : the tables of its specification; ``name`` and ``published`` are read.
    kind : one of `FORMATS`.

    Raises
    ------
    InputError
        for another format.
    """
    if kind not in FORMATS:
        raise InputError(unknown("format", kind, FORMATS))
    made = made_tables(runs, study.get("published", []))
    if kind != "csv":
        at_longest = {"rates": rates, "measures": measures}
        made |= {name: table(longest(runs)) for name, table in at_longest.items() if name in made}
    filled = {name: made[name] for name in TABLES if name in made and len(made[name])}
    said = captions(runs, filled)
    first = "% needs \\usepackage{booktabs} in the preamble\n" if kind == "latex" else ""
    return first + "\n".join(_block(kind, name, filled[name], said[name], study["name"]) for name in filled)


def _block(kind: str, name: str, table: pd.DataFrame, caption: str, study: str) -> str:
    if kind == "csv":
        return f"# {name}\n{tabular.csv(table)}"
    words, keys = _words(name, table)
    if kind == "markdown":
        return f"**{name}.** {caption}\n\n{tabular.pipes(words)}"
    if kind == "html":
        return tabular.html(words, caption)
    brief = words.drop(columns="in words", errors="ignore")  # a line of print has no room for sentences
    return latex.table(brief, keys=keys, caption=caption, label=f"{study}-{name}")


def _words(name: str, table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return a table as words, and how many of its columns say what a row is about."""
    if name == "rates":
        wide = tabular.side_by_side(table, "cell", plus_minus)
        return wide, len(wide.columns) - table["cell"].nunique()
    end = _KEYS_END.get(name) or next(column for column in table if f"{column}_low" in table)
    return tabular.readable(table), list(table.columns).index(str(end))
