"""The rate over the control parameter of a study, one line per cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.style import lines, new_axes, places, zero
from gradlab.schema import axis_label
from gradlab.tables import tables
from gradlab.tables.factors import Layout, control, longest, others
from gradlab.verdicts.summaries import signs


def tabulate(frames: tables.Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate (nats/step) over the control at the longest length, one line per cell.

    Raises
    ------
    NotRecorded
        If no rates were recorded.
    """
    runs = with_rates(frames)
    turned = control(runs)
    rest = others(runs, "cell", "length", turned)
    return tables.rates(longest(runs)), Layout(rest[0] if rest else "", rest[1:], turned or "cell", "rate", "cell")


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the layout's y, a rate, with its interval over the control, one line per level of the hue."""
    ax = ax if ax is not None else new_axes()
    where = places(table if whole is None else whole, layout.x)
    value, low, high = layout.y, f"{layout.y}_low", f"{layout.y}_high"
    for line, look in lines(table, layout, whole):
        error = np.stack([line[value] - line[low], line[high] - line[value]])
        at = line[layout.x].map(where).astype("float64")
        ax.errorbar(at, line[value], yerr=error, elinewidth=0.8, capsize=1.5, **look)
        for _, free in line[line[layout.x].isna()].iterrows():  # the cell has no such key: a horizontal line
            ax.axhspan(free[low], free[high], color=look["color"], alpha=0.15, lw=0)
            ax.axhline(free[value], color=look["color"], ls=look["ls"])
        for lost in at[line["seeds"] == 0]:
            ax.plot(lost, 1, transform=ax.get_xaxis_transform(), clip_on=False, marker="x", c=look["color"])
    zero(ax)
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    if not pd.api.types.is_numeric_dtype(table[layout.x]):
        ax.set_xticks(list(where.values()), list(where))
        ax.set_xlim(-0.5, len(where) - 0.5)
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the numbers of negative and positive rates whose intervals exclude zero."""
    return signs(table, "rate", "Rates")


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Rate of ln‖δ‖ in nats per step, for the longest sequences; bars: 95 % t-intervals over the seeds; "
    "cross on the upper edge: no run has a rate",
    lambda table, layout: 2.2,
)
