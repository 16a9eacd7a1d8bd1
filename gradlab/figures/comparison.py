"""Differences between the rates of two cells, or two settings, all else equal, with simultaneous intervals."""

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

#: The column that names the two compared levels, ``gru − rnn``. The setting names all that is equal between them.
PAIR = "pair"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the differences of the rates (nats/step) at the longest length, one row per pair and setting.

    Cells are compared, with one panel per pair. If the study has one cell, at most three values of the control are
    compared.

    Raises
    ------
    NotRecorded
        If no rates were recorded, or the study has one setting or one seed only.
    """
    runs = longest(with_rates(frames))
    along = "cell" if "cell" in varying(runs) else control(runs)
    if along is None or runs[SEED].nunique() < 2:
        raise NotRecorded("runs: one setting or one seed; a comparison needs two settings, and its interval two seeds")
    table = comparisons(runs if along == "cell" else few(runs), along)
    equal = list(table.columns[: list(table.columns).index("a")])
    pairs = [f"{text(b)} − {text(a)}" for a, b in zip(table["a"], table["b"], strict=True)]
    equals = [", ".join(named(key, row[key]) for key in equal if not pd.isna(row[key])) for _, row in table.iterrows()]
    for name, words in ((PAIR, pairs), (SETTING, equals)):
        table[name] = pd.Categorical(words, categories=list(dict.fromkeys(words)))
    if along == "cell":
        return table, Layout(PAIR, (), "difference", SETTING)
    return table, Layout(SETTING if equal else "", (), "difference", PAIR)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw one line per difference with its interval, the first on top; filled if the interval excludes zero."""
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
    """Return the number of differences whose interval excludes zero, and the largest of them as a sentence."""
    apart = table[(table["difference_low"] > 0) | (table["difference_high"] < 0)]
    known = int(table["difference_low"].notna().sum())
    if not known:
        return "No difference has an interval."
    count = f"{len(apart)} of {known} differences have an interval that excludes zero"
    count += f" ({len(table) - known} without an interval)" if known < len(table) else ""
    if apart.empty:
        return f"{count}."
    largest = apart.sort_values("difference", key=abs).iloc[-1]
    return f"{count}; the largest: {str(largest['sentence']).rstrip('.')}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Differences between the rates of two cells (or two settings of one cell), paired by seed and data, for the "
    "longest sequences; bars: simultaneous 95 % intervals; hollow: the interval contains zero; hatched: no pair of "
    "runs",
    lambda table, layout: max(0.5 + 0.17 * table[layout.y].nunique(), 1.2),
)
