"""The horizon of the gradient, compared with the lag that the task needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from gradlab.figures.data import with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.style import dodged, lines, new_axes, places
from gradlab.formatting.numbers import plain
from gradlab.schema import axis_label
from gradlab.tables.factors import Layout, arranged, combinations, control, longest, others, placed
from gradlab.tables.horizons import horizon_table
from gradlab.tables.tables import Frames

#: Legend labels of the needed lag, and of a horizon beyond the end of the sequences.
NEEDED, BEYOND = "lag needed", "beyond T"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the 1 % horizon (steps) over the control at the longest length, one line per cell.

    The column ``needed`` is the lag that the task needs, in steps.

    Raises
    ------
    NotRecorded
        If no rates were recorded.
    """
    runs = longest(with_rates(frames))
    turned = control(runs)
    rest = others(runs, "cell", "length", turned)
    by = combinations(runs)
    lags = arranged(runs).assign(needed=runs["length"] - 1).groupby(by, dropna=False, observed=True)["needed"].max()
    table = horizon_table(runs).merge(lags.reset_index(), on=by)
    return table, Layout(rest[0] if rest else "", rest[1:], turned or "cell", "horizon_1pct", "cell")


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the horizon over the control, one line per level of the hue; a triangle if it is beyond the sequences."""
    ax = ax if ax is not None else new_axes()
    everything = table if whole is None else whole
    where = places(everything, layout.x)
    found = list(lines(table, layout, everything))
    for (line, look), at in zip(found, dodged([line for line, _ in found], where, layout.x), strict=True):
        _line(ax, line, at, layout.y, look)
    for i, needed in enumerate(sorted(table["needed"].dropna().unique())):
        ax.axhline(needed, color="black", ls="--", lw=0.8, zorder=1, label=NEEDED if not i else None)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    if not pd.api.types.is_numeric_dtype(everything[layout.x]):
        ax.set_xticks(list(where.values()), list(where))
        ax.set_xlim(-0.5, len(where) - 0.5)
    return ax


def _line(ax: Axes, line: pd.DataFrame, at: pd.Series, value: str, look: dict[str, Any]) -> None:
    """Draw one line; an unknown bound ends its bar at the point, and a horizon beyond the sequences is drawn at T."""
    low, high = (line[f"{value}_{end}"].fillna(line[value]) for end in ("low", "high"))
    ax.errorbar(
        at, line[value], yerr=np.stack([line[value] - low, high - line[value]]), elinewidth=0.8, capsize=1.5, **look
    )
    for lost in at[line["seeds"] == 0]:
        ax.plot(lost, 1, transform=ax.get_xaxis_transform(), clip_on=False, marker="x", c=look["color"])
    beyond = line[value].isna() & (line["seeds"] > 0)
    hollow = {"ls": "", "marker": "^", "ms": 5.5, "mfc": "white", "mec": look["color"], "zorder": look["zorder"]}
    ax.plot(at[beyond], line["needed"][beyond], label=BEYOND if beyond.any() else None, **hollow)


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the number of combinations that keep 1 % of the gradient for the needed lag, and the shortest horizon."""
    known = table[table["seeds"] > 0]
    if known.empty:
        return "No run has a horizon."
    enough = int((known[layout.y].isna() | (known[layout.y] >= known["needed"])).sum())
    count = f"{enough} of {len(known)} combinations keep 1 % of the gradient for the lag that the task needs"
    reached = known.dropna(subset=layout.y)
    if reached.empty:
        return f"{count}."
    least = reached.sort_values(layout.y).iloc[0]
    by = tuple(dict.fromkeys(["cell", *(n for n in (layout.panel, *layout.rows, layout.x) if n)]))
    return f"{count}; the shortest horizon is {plain(least[layout.y])} steps ({placed(least, by)})."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Lag at which 1 % of the gradient at lag 1 is left (survival estimate of the median over the seeds), for the "
    "longest sequences, compared with the lag that the task needs, back to the first input (dashed); bars: 95 % "
    "intervals, which end at the point if a bound is not known; hollow triangles: half of the runs still have more "
    "than 1 % at T; cross on the upper edge: no run has a horizon",
    lambda table, layout: 2.2,
)
