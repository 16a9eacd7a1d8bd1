"""A title with rows below it, as escaped HTML for a page or a notebook cell, and as text of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap

#: The width of a terminal in characters, and the least width of a row's last column.
COLUMNS, LAST = 80, 20
#: Rows are pairs of a name and its value, or the entries of a table.
Rows = Iterable[Sequence[object]]


def html(title: str, rows: Rows, headers: Iterable[object] = ()) -> str:
    """Return title and rows as one HTML element that is escaped and neither loads nor runs anything.

    Parameters
    ----------
    title : str
        The text above the table.
    rows : iterable of sequences
        One sequence of entries per row.
    headers : iterable, optional
        The headers of the columns.

    Examples
    --------
    >>> html("rate", [("h", "<0")])[:40]
    '<div><p><b>rate</b></p><table><tbody><tr'
    """
    head = "".join(f'<th scope="col" style="text-align:left">{escape(str(header))}</th>' for header in headers)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    table = f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
    return f"<div><p><b>{escape(title)}</b></p>{table}</div>"


def plain(title: str, rows: Rows = ()) -> str:
    """Return title and rows as aligned lines of at most 80 characters; the last column is wrapped.

    Examples
    --------
    >>> print(plain("gradient", [("rate", "−0.4"), ("lag", "20")]))
    gradient
      rate  −0.4
      lag   20
    """
    words = [[str(entry) for entry in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in words), strict=True)]
    lines = wrap(title, COLUMNS, subsequent_indent="  ")
    for row in words:
        first = "  " + "".join(f"{entry:<{width}}  " for entry, width in zip(row[:-1], widths, strict=True))
        room = max(COLUMNS - len(first), LAST)
        texts = wrap(row[-1], room) or [""]
        lines += [(first + texts[0]).rstrip(), *(" " * len(first) + text for text in texts[1:])]
    return "\n".join(lines)


def rows_of(text: str) -> list[tuple[str, str]]:
    """Split lines such as a verdict's into rows, at the first gap of two spaces or the first colon."""
    pairs = [re.split(r"\s{2,}|: ", line.strip(), maxsplit=1) for line in text.splitlines()]
    return [(first, rest[0] if rest else "") for first, *rest in pairs]


def _cell(entry: object) -> str:
    return f'<td style="text-align:left">{escape(str(entry))}</td>'
