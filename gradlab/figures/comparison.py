"""By how much the rates of two cells, or settings, differ, all else equal, with intervals that hold together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import few, with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.style import levels, new_axes, text
from gradlab.schema import axis_label
from gradlab.tables.comparisons import comparisons
from gradlab.tables.factors import SEED, SETTING, Layout, control, longest, named, varying
from gradlab.tables.tables import Frames, NotRecorded

#: The column that says which two are compared, ``gru − rnn``; what stays equal between them is the setting.
PAIR = "pair"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the differences of the rates at the longest length, a row for each pair and what stays equal.

    Cells are compared, a panel a pair; where there is one only, the values of the control, three of them at most.
    """
    runs = longest(with_rates(frames))
    along = "cell" if "cell" in varying(runs) else control(runs)
    if along is None or runs[SEED].nunique() < 2:
        raise NotRecorded("runs: one setting or one seed; there are no two settings, or no interval, to compare")
    table = comparisons(runs if along == "cell" else few(runs), along)
    equal = list(table.columns[: list(table.columns).index("a")])
    pairs = [f"{text(b)} − {text(a)}" for a, b in zip(table["a"], table["b"], strict=True)]
    told = [", ".join(named(key, row[key]) for key in equal if not pd.isna(row[key])) for _, row in table.iterrows()]
    for name, words in ((PAIR, pairs), (SETTING, told)):
        table[name] = pd.Categorical(words, categories=list(dict.fromkeys(words)))
    if along == "cell":
        return table, Layout(PAIR, (), "difference", SETTING)
    return table, Layout(SETTING if equal else "", (), "difference", PAIR)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw every difference with its interval, a line each, the first on top; filled where it is not around zero."""
    ax = ax if ax is not None else new_axes()
    names = levels(table if whole is None else whole, layout.y)
    for _, row in table.iterrows():
        y, low, high = names.index(row[layout.y]), row["difference_low"], row["difference_high"]
        apart = low > 0 or high < 0
        ax.plot([low, high], [y, y], color="C0", lw=1.2, marker="|", ms=4, zorder=2)
        ax.plot(row["difference"], y, marker="o", color="C0", mfc="C0" if apart else "white", zorder=3)
        if np.isnan(row["difference"]):
            ax.axhspan(y - 0.35, y + 0.35, fc="0.95", ec="0.5", hatch="////", lw=0)
    ax.axvline(0, color="0.3", lw=0.6, zorder=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(axis_label(layout.x))
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the widest difference whose interval leaves out zero, in its own sentence, and how many there are."""
    apart = table[(table["difference_low"] > 0) | (table["difference_high"] < 0)]
    known = int(table["difference_low"].notna().sum())
    if not known:
        return "No difference has an interval."
    told = f"{len(apart)} of {known} differences have an interval that leaves out zero"
    told += f" ({len(table) - known} without an interval)" if known < len(table) else ""
    if apart.empty:
        return f"{told}."
    widest = apart.sort_values("difference", key=abs).iloc[-1]
    return f"{told}; the largest: {str(widest['sentence']).rstrip('.')}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Differences between the rates of two cells (of one cell, of two settings), paired by seed and data, for the "
    "longest sequences; bars: 95 % intervals that hold together for all of them; hollow: around zero; hatched: no pair "
    "of runs",
    lambda table, layout: max(0.5 + 0.17 * table[layout.y].nunique(), 1.2),
)
