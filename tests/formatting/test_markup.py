"""Rows as HTML that closes and escapes all, and as text that no line of which is too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from report.test_page import Read

from gradlab.formatting import markup

ROWS = [("rate", "−0.41 nats/step"), ("because <b>", "a & b")]


def test_html_by_its_text() -> None:
    assert markup.html("T & t", ROWS[1:], ["a", "<b>"]) == (
        "<div><p><b>T &amp; t</b></p><table><thead><tr>"
        '<th scope="col" style="text-align:left">a</th><th scope="col" style="text-align:left">&lt;b&gt;</th>'
        '</tr></thead><tbody><tr><td style="text-align:left">because &lt;b&gt;</td>'
        '<td style="text-align:left">a &amp; b</td></tr></tbody></table></div>'
    )


def test_plain_by_its_text() -> None:
    long = [("a", "1.0", "word " * 20), ("longer", "2", "")]
    assert markup.plain("Title", long).splitlines() == [
        "Title",
        "  a       1.0  word word word word word word word word word word word word word",
        "               word word word word word word word",
        "  longer  2",
    ]
    assert markup.plain("Title") == "Title"
    assert markup.plain("word " * 20).splitlines()[1].startswith("  word")


def test_lines_of_a_verdict_as_rows() -> None:
    text = "UNDERFLOWS IN float32   −0.4: it dies\nbecause                 a: b\nlayer 0\n  STABLE    0.0\nrnn: 3 of 3"
    assert markup.rows_of(text) == [
        ("UNDERFLOWS IN float32", "−0.4: it dies"),
        ("because", "a: b"),
        ("layer 0", ""),
        ("STABLE", "0.0"),
        ("rnn", "3 of 3"),
    ]


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_any_words_are_escaped_and_closed(title: str, rows: list[tuple[str, str]]) -> None:
    read = Read(markup.html(title, rows))
    assert not read.open
    assert {tag for tag, _ in read.tags} <= {"div", "p", "b", "table", "tbody", "tr", "td"}


@given(st.text(), st.lists(st.tuples(st.text(max_size=40), st.text()), min_size=1))
def test_no_line_is_too_long(title: str, rows: list[tuple[str, str]]) -> None:
    assert all(len(line) <= markup.COLUMNS for line in markup.plain(title, rows).split("\n"))
