"""Decay or growth of the gradient on its way back through time."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.quantities import over_lag
from gradlab.figures.style import bands, new_axes, zero
from gradlab.formatting.numbers import compact
from gradlab.statistics.rates import FIRST_LAG
from gradlab.tables.factors import Layout, placed
from gradlab.tables.tables import Frames

#: The quantity of ``steps`` whose mean increment is the rate.
QUANTITY = "last_adjoint"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ``ln‖δ_k‖ − ln‖δ_1‖`` (nats) over the lag at the longest length, with its 95 % interval over the seeds.

    Raises
    ------
    NotRecorded
        If no rates or no gradients were recorded.
    """
    with_rates(frames)
    return over_lag(frames, QUANTITY, "change", first=FIRST_LAG, relative=True)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw ``ln‖δ_k‖ − ln‖δ_1‖`` over the lag, one line per level of the hue, with its interval as a band."""
    ax = ax if ax is not None else new_axes()
    bands(ax, table, layout, whole)
    zero(ax)
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the smallest and the largest change over all lags."""
    by = list(dict.fromkeys(["cell", layout.panel, *layout.rows]))
    lines = table.groupby(by, observed=True, dropna=False)["lag"]
    ends = table[table["lag"] == lines.transform("max")].dropna(subset="change")
    if ends.empty:
        return "No run has a gradient to follow."
    ordered = ends.sort_values("change")
    changes = [
        f"{compact(end['change'])} nats ({placed(end, (*by, layout.hue))})"
        for end in (ordered.iloc[0], ordered.iloc[-1])
    ]
    return f"From lag 1 to the last, ln‖δ‖ changes by between {changes[0]} and {changes[1]}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Logarithm of the gradient's norm against the lag, minus its value at lag 1, for the longest sequences; "
    "panels share y, except that rows which end at different lags have their own; "
    "bands: 95 % t-intervals over the seeds",
    lambda table, layout: 2.1,
    hooks=("gradients",),
)
