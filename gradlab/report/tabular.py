"""Tables as text: CSV for programs, Markdown, HTML and cells of words for readers, units in every header."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from gradlab.formatting import markup
from gradlab.formatting.numbers import UNKNOWN, estimate, plain, probability
from gradlab.schema import axis_label, described

#: A function that writes a value and the ends of its interval.
IntervalText = Callable[[float, float, float], str]
#: Columns that are shown only if one of their entries is not 0 or empty.
COUNTS = ("diverged", "failed", "explanation")
#: Rows of a table on a page, at most; the files of the report have all rows.
MOST_ROWS = 2000
_NUMBER = re.compile(r"(?:< )?([−-]?(?:∞|\d+(?:\.\d+)?(?:e[+−-]?\d+)?))(?=$|\s)")


class Cell(NamedTuple):
    """The text of a table's cell, and the number at its start as JavaScript reads it; "" if there is none."""

    text: str
    value: str


class Grid(NamedTuple):
    """A table on a page: its headers, its rows, and the number of rows that it omits."""

    headers: list[str]
    rows: list[list[Cell]]
    omitted: int = 0


def csv(table: pd.DataFrame, *, digits: int = 6) -> str:
    """Return the table as CSV: column names with units, numbers with ``digits`` significant digits."""
    units = {name: _with_unit(name) for name in table.columns}
    return table.rename(columns=units).to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n")


def markdown(table: pd.DataFrame) -> str:
    """Return the table as a pipe table, a value and its interval in one column."""
    return pipes(readable(table))


def pipes(words: pd.DataFrame) -> str:
    """Return a table of words as a pipe table."""
    rows = [words.columns, ["---"] * len(words.columns), *words.to_numpy()]
    escaped = [[str(entry).replace("|", "\\|").replace("\n", " ") for entry in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def html(words: pd.DataFrame, caption: str) -> str:
    """Return a table of words below its caption, as a fragment of a page."""
    return markup.html(caption, words.to_numpy().tolist(), words.columns) + "\n"


def grid(words: pd.DataFrame, most: int | None = MOST_ROWS) -> Grid:
    """Return the first ``most`` rows of a table of words as cells; None for all rows."""
    shown = words.head(len(words) if most is None else most)
    rows = [[Cell(str(entry), sort_value(str(entry))) for entry in row] for row in shown.to_numpy().tolist()]
    return Grid([str(name) for name in words.columns], rows, len(words) - len(shown))


def sort_value(text: str) -> str:
    """Return the number at the start of a cell: ``-0.412`` of ``−0.412 [−0.431, −0.393]``; "" if there is none.

    A bound such as ``< 0.001`` counts as its number.
    """
    found = _NUMBER.match(text)
    return found[1].replace("−", "-").replace("∞", "Infinity") if found else ""


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as words: ``−0.412 [−0.431, −0.393]`` under ``rate of ln‖δ‖ (nats/step), 95 % interval``."""
    if "crossed" in table.columns:
        return _crossings(table)
    columns = {}
    for name in table.columns:
        if name.endswith(("_low", "_high")) or (name in COUNTS and not table[name].astype(bool).any()):
            continue
        if f"{name}_low" in table.columns:
            header = f"{axis_label(name)}, 95 % interval"
            columns[header] = with_intervals(table, name)
        else:
            as_text = probability if name == "p_adjusted" else _word
            columns[axis_label(name)] = [as_text(value) for value in table[name]]
    return pd.DataFrame(columns)


def with_intervals(table: pd.DataFrame, name: str, words: IntervalText = estimate) -> list[str]:
    """Return the column ``name`` with its interval, as ``words``."""
    return [words(*row) for row in table[[name, f"{name}_low", f"{name}_high"]].to_numpy()]


def side_by_side(table: pd.DataFrame, across: str, words: IntervalText = estimate) -> pd.DataFrame:
    """Return the table's rates as ``words``, with one column per value of ``across``."""
    by = [name for name in table.columns[: list(table.columns).index("rate")] if name != across]
    long = table.assign(words=with_intervals(table, "rate", words))
    wide = long.pivot(index=by, columns=across, values="words") if by else long.set_index(across)[["words"]].T
    shown = wide.fillna(UNKNOWN).reset_index(drop=not by)
    shown.columns = [str(name) for name in shown.columns]
    return pd.DataFrame({axis_label(name): [_word(value) for value in shown[name]] for name in shown.columns})


def _crossings(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of crossings as words: ``none from 0.5 to 2`` and ``0 of 5``."""
    words = readable(table[list(table.columns[: list(table.columns).index("crossing")])])
    along = f" ({table['along'].iloc[0]})" if len(table) else ""
    words[f"crossing{along}, 95 % interval"] = [_crossing(row) for _, row in table.iterrows()]
    words[axis_label("crossed")] = [f"{row['crossed']} of {row['seeds']}" for _, row in table.iterrows()]
    return words


def _crossing(row: pd.Series) -> str:
    if not row["crossed"] and row["lowest"] == row["highest"]:
        return f"only {plain(row['lowest'])} has run"
    if not row["crossed"]:
        return f"none from {plain(row['lowest'])} to {plain(row['highest'])}"
    if row["crossed"] < row["seeds"]:
        return "no mean, not every seed crosses"
    return estimate(row["crossing"], row["crossing_low"], row["crossing_high"])


def _with_unit(name: str) -> str:
    column = described(name) or described(re.sub("_(low|high)$", "", name))
    return f"{name} ({column.unit})" if column is not None and column.unit else name


def _word(value: object) -> str:
    if isinstance(value, float | np.floating):
        return UNKNOWN if np.isnan(value) else plain(float(value))
    return UNKNOWN if value is None or value is pd.NA else str(value)
