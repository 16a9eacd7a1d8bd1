"""The table of all published and exact numbers with the measured ones, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from gradlab.formatting.numbers import estimate
from gradlab.report import tabular

HEAD = """# What is known, and what gradlab measures

Written by `python studies/published.py`: published numbers and the values that the studies under `results/`
measured, and exact ground truths, measured when this was written. "measured" has its 95 % interval; "set-up" names the
configuration; "size" is H units and T steps. The notes below each table give, by number, the tolerance of each row, its
reason, and an explanation if the number is not reproduced.
"""
#: The title of each section, by the kind of number in its rows.
SECTIONS = {
    "published": "Published numbers",
    "derived": "Derived or expected for gradlab, and not published",
    "exact": "Exact ground truths",
}


class StudyNumbers(NamedTuple):
    """The published numbers of one study.

    Attributes
    ----------
    name, question : str
        The name of the study, and its question.
    table : DataFrame
        One row per published number.
    origin : str
        The place from which the rows were read.
    """

    name: str
    question: str
    table: pd.DataFrame
    origin: str


def published_text(studies: Iterable[StudyNumbers], exact: pd.DataFrame, rules: Mapping[str, str]) -> str:
    """Return the whole document.

    Parameters
    ----------
    studies : iterable of StudyNumbers
        The studies. Their exact numbers go into the section of the exact ground truths.
    exact : DataFrame
        The ground truths, as `truths.measure` returns them.
    rules : mapping
        The meaning of each word, by word.

    Returns
    -------
    str
        The document as Markdown.
    """
    found = list(studies)
    rows = pd.concat([*(study.table.assign(study=study.name) for study in found), exact.assign(study="—")])
    ordered = rows.assign(rank=rows["kind"].map(list(SECTIONS).index)).sort_values("rank", kind="stable")
    numbered = ordered.assign(no=[str(number) for number in range(1, len(rows) + 1)])
    parts = {title: numbered[numbered["kind"] == kind] for kind, title in SECTIONS.items()}
    text = [HEAD, "".join(_counts(title, part) for title, part in parts.items())]
    for title, part in parts.items():
        text += _section(title, part)
    text += ["## Verdicts\n", "".join(f"- **{word}**: {rule}.\n" for word, rule in rules.items())]
    if found:
        rows = pd.DataFrame([(s.name, s.question, s.origin) for s in found], columns=["study", "question", "read from"])
        text += ["## Studies\n", tabular.pipes(rows)]
    return "\n".join(text)


def _counts(title: str, rows: pd.DataFrame) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in rows["word"].value_counts(sort=False).items())
    return f"- {title}: {counts or 'none'}\n"


def _section(title: str, rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    words = tabular.readable(rows[["no", "claim", "source", "study", "setup"]])
    words["published or known"] = [number(row["published"], row) for row in rows.to_dict("records")]
    words["measured, 95 % interval"] = [_measured(row) for row in rows.to_dict("records")]
    words = pd.concat([words, tabular.readable(rows[["size", "runs", "tolerance", "word"]])], axis=1)
    notes = [
        f"{row['no']}. {row['claim']}: {row['tolerance']}, because: {row['reason']}."
        + (f" **{row['word']}**: {row['explanation']}." if row["explanation"] else "")
        for row in rows.to_dict("records")
    ]
    return [f"## {title}\n", tabular.pipes(words), "\n".join(notes) + "\n"]


def _measured(row: Mapping[Any, Any]) -> str:
    """Return the measured number with its interval as text; a number without an interval as :func:`number` does."""
    value, low, high = row["measured"], row["measured_low"], row["measured_high"]
    return number(value, row) if low == high else estimate(value, low, high)


def number(value: float, row: Mapping[Any, Any]) -> str:
    """Return a number as text.

    A number that is compared with 0 or with a bound has only the digits that distinguish it from that value.

    Parameters
    ----------
    value : float
        The number.
    row : mapping
        Its row, with ``published`` and ``tolerance``.

    Returns
    -------
    str
        The number, with at most 12 digits.
    """
    small = row["published"] == 0 or row["tolerance"].startswith(("above", "below"))
    digits = range(2 if small and value != row["published"] else 12, 13)
    text = next((t for t in (f"{value:.{d}g}" for d in digits) if float(t) != row["published"]), f"{value:.12g}")
    return text.replace("-", "−")
