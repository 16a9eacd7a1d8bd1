"""Tables as they stand on a page: what a cell finding, and the number by which it is sorted."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

#: Rows of a table on a page, at most; the files beside the page have all.
MOST = 2000
_NUMBER = re.compile(r"(?:< )?([−-]?(?:∞|\d+(?:\.\d+)?(?:e[+−-]?\d+)?))(?=$|\s)")


class Cell(NamedTuple):
    """What a cell finding, and the number it begins with as JavaScript reads it; "" where it begins with none."""

    text: str
    value: str


class Grid(NamedTuple):
    """A table on a page: its headers, its rows, and how many rows it leaves out."""

    headers: list[str]
    rows: list[list[Cell]]
    left: int = 0


def grid(words: pd.DataFrame, most: int | None = MOST) -> Grid:
    """Return a table of words as cells, its first ``most`` rows."""
    shown = words.head(len(words) if most is None else most)
    rows = [[Cell(str(entry), sort_value(str(entry))) for entry in row] for row in shown.to_numpy().tolist()]
    return Grid([str(name) for name in words.columns], rows, len(words) - len(shown))


def sort_value(text: str) -> str:
    """Return the number that a cell begins with: ``-0.412`` of ``−0.412 [−0.431, −0.393]``; "" where there is none.

    What is only known to be less, ``< 0.001``, stands where its bound does.
    """
    found = _NUMBER.match(text)
    return found[1].replace("−", "-").replace("∞", "Infinity") if found else ""
