"""A title and rows below it, as escaped HTML for a page or a notebook's cell, and as text of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap

#: Columns of a terminal, and what a row's last column has of them at least.
COLUMNS, LAST = 80, 20
#: Rows are a name and what it is, or the entries of a table's columns.
Rows = Iterable[Sequence[object]]


def html(title: str, rows: Rows, headers: Iterable[object] = ()) -> str:
    """Return title and rows as one element, every word escaped; nothing in it loads or runs anything."""
    head = "".join(f'<th scope="col" style="text-align:left">{escape(str(header))}</th>' for header in headers)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    table = f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
    return f"<div><p><b>{escape(title)}</b></p>{table}</div>"


def plain(title: str, rows: Rows = ()) -> str:
    """Return title and rows as lines of at most 80 characters, columns below each other, the last one wrapped."""
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
    """Return lines such as a verdict's as rows: what stands before a gap of two spaces, or a colon, and the rest."""
    pairs = [re.split(r"\s{2,}|: ", line.strip(), maxsplit=1) for line in text.splitlines()]
    return [(first, rest[0] if rest else "") for first, *rest in pairs]


def _cell(entry: object) -> str:
    return f'<td style="text-align:left">{escape(str(entry))}</td>'
