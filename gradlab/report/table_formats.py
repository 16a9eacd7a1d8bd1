"""The tables of a study as one text: for a paper (LaTeX, Markdown), for programs (CSV), for a page (HTML)."""

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
#: The first column after the keys, for tables in which no column with an interval follows the keys.
_KEYS_END = {"excluded": "status", "published": "source"}


def format_tables(runs: pd.DataFrame, study: Mapping[str, Any], kind: str) -> str:
    """Return all tables of a study that have rows, one after the other.

    ``csv`` has all rows. The other formats show rates (one column per cell) and recorded quantities at the longest
    length only.

    Parameters
    ----------
    runs : DataFrame
        The study's table ``runs``.
    study : mapping
        The tables of its specification; ``name`` and ``published`` are read.
    kind : str
        One of `FORMATS`.

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
    texts = captions(runs, filled)
    first = "% needs \\usepackage{booktabs} in the preamble\n" if kind == "latex" else ""
    return first + "\n".join(_block(kind, name, filled[name], texts[name], study["name"]) for name in filled)


def _block(kind: str, name: str, table: pd.DataFrame, caption: str, study: str) -> str:
    if kind == "csv":
        return f"# {name}\n{tabular.csv(table)}"
    words, keys = _words(name, table)
    if kind == "markdown":
        return f"**{name}.** {caption}\n\n{tabular.pipes(words)}"
    if kind == "html":
        return tabular.html(words, caption)
    brief = words.drop(columns="in words", errors="ignore")  # a printed line has no room for sentences
    return latex.table(brief, keys=keys, caption=caption, label=f"{study}-{name}")


def _words(name: str, table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return a table as words, and the number of its key columns."""
    if name == "rates":
        wide = tabular.side_by_side(table, "cell", plus_minus)
        return wide, len(wide.columns) - table["cell"].nunique()
    end = _KEYS_END.get(name) or next(column for column in table if f"{column}_low" in table)
    return tabular.readable(table), list(table.columns).index(str(end))
