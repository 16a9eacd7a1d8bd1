"""Tables and lines as HTML, every word escaped: what a report's fragment and a notebook's cell show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def section(title: str, *parts: str) -> str:
    """Return a title and what stands below it (`table`, `lines`), as one element."""
    return f"<div><p><b>{escape(title)}</b></p>{''.join(parts)}</div>"


def table(headers: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; without headers its rows are name and value."""
    head = "".join(f'<th scope="col">{escape(str(header))}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(entry))}</td>" for entry in row) + "</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def lines(text: str) -> str:
    """Return lines whose columns stand below each other, as they do in a terminal."""
    return f"<pre>{escape(text)}</pre>"
