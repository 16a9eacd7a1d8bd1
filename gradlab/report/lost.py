"""What diverged or failed: every configuration with its reason, and where the failures happened."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from gradlab.report import tabular
from gradlab.report.cells import Grid, grid
from gradlab.tables import tables

#: Different tracebacks on a page, at most; ``runs`` has all.
MOST = 50


class Traceback(NamedTuple):
    """A traceback, how many configurations it is of, and their reason."""

    text: str
    runs: int
    reason: str


class Lost(NamedTuple):
    """The table of what diverged and failed, all of its rows; the tracebacks, and how many are left out."""

    table: Grid
    tracebacks: list[Traceback]
    left: int


def lost(runs: pd.DataFrame) -> Lost:
    """Return what diverged and failed of a study's table ``runs``."""
    told = runs[(runs["status"] == "failed") & (runs["traceback"] != "")].drop_duplicates("id")
    found = [
        Traceback(str(text), len(same), str(same["error"].iloc[0]))
        for text, same in told.groupby("traceback", sort=False)
    ]
    return Lost(grid(tabular.readable(tables.excluded(runs)), most=None), found[:MOST], max(len(found) - MOST, 0))


def left_out(runs: pd.DataFrame) -> str:
    """Return ``3 diverged, 1 failed of 36 runs, left out of every mean``; "" where none is."""
    counts = runs["status"].value_counts()
    told = [f"{counts[word]} {word}" for word in ("diverged", "failed", "planned") if word in counts]
    return f"{', '.join(told)} of {len(runs)} runs, left out of every mean" if told else ""
