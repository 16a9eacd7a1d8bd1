"""Temporal credit: the gradient of every step's loss at every earlier state."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlab.figures.data import joined, settings
from gradlab.figures.facets import Picture
from gradlab.figures.style import new_axes
from gradlab.formatting.numbers import compact
from gradlab.schema import axis_label
from gradlab.tables.factors import SETTING, Layout, combinations
from gradlab.tables.tables import Frames, NotRecorded


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ``ln‖∂L_t/∂s_s‖`` (nats), the mean over sequences and seeds, for the recorded loss steps and all states.

    There is one panel per combination of the varying keys.

    Raises
    ------
    NotRecorded
        If no temporal gradients were recorded.
    """
    runs, steps = frames["runs"], frames["steps"]
    found = joined(runs, steps[steps["quantity"] == "temporal"])
    if found.empty:
        raise NotRecorded('steps: no rows of "temporal"; hooks = ["temporal"] records them for a loss at several steps')
    back = found["direction"].map({"forward": 1, "reverse": -1}).astype("int64")
    found = found.assign(s=found["t"], loss_t=found["t"] + back * found["lag"])
    found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
    table = found.groupby([SETTING, "loss_t", "s"], observed=True)["mean_log"].mean().reset_index()
    return table, Layout(SETTING, (), "s", "loss_t")


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw a map over the state's step s and the loss step t; an entry that is −inf or missing (s > t) stays blank.

    A step at which no loss is read has no row.
    """
    ax = ax if ax is not None else new_axes()
    grid = table.pivot(index=layout.y, columns=layout.x, values="mean_log").dropna(how="all")
    shown = np.ma.masked_invalid(grid.to_numpy(dtype=np.float64))
    ax.pcolormesh(_edges(grid.columns), _edges(grid.index), shown, cmap="viridis", rasterized=True)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    ax.grid(False)
    return ax


def _edges(steps: pd.Index) -> NDArray[np.float64]:
    """Return the edges of the map's cells, with the given steps inside of them."""
    at = steps.to_numpy(dtype=np.float64)
    return np.concatenate([at[:1] - 0.5, (at[1:] + at[:-1]) / 2, at[-1:] + 0.5])


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the change of the last loss step's log gradient back to the initial state."""
    if not layout.panel:
        changes = [f"{compact(_change(table, layout))} nats"]
    else:
        parts = table.groupby(layout.panel, observed=True)
        changes = [f"{compact(_change(part, layout))} nats ({name!s})" for name, part in parts]
    return f"From the last loss step back to the initial state, ln‖∂L/∂s‖ changes by {', '.join(changes)}."


def _change(table: pd.DataFrame, layout: Layout) -> float:
    last = table[table[layout.y] == table[layout.y].max()].set_index(layout.x)["mean_log"].dropna()
    return float(last.loc[last.index.min()] - last.loc[last.index.max()]) if len(last) else float("nan")


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Logarithm of the norm of the gradient of every step's loss (rows) at every state (columns), for the longest "
    "sequences; blank: no gradient, as for states after the loss step",
    lambda table, layout: 2.2,
    hooks=("temporal:all",),
    bar=axis_label("temporal"),
)
