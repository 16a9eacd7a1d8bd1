"""Mean squares of the states and of their derivative by a recurrent weight, over the memory: the curse of memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.laws import draw_laws, is_law, with_laws
from gradlab.figures.style import lines, new_axes
from gradlab.formatting.numbers import compact
from gradlab.schema import axis_label
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import Layout, arranged, combinations, control, longest, others, ran
from gradlab.tables.tables import Frames, NotRecorded

#: The columns of ``runs`` that are drawn.
SQUARES = ("state_power", "weight_sensitivity")


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return both mean squares over the memory, 1/(1 − e^rate) steps, at the longest length, and the lines of theory.

    A run whose gradient does not decay has no finite memory and is left out.

    Raises
    ------
    NotRecorded
        If the mean squares were not recorded, or no gradient decays.
    """
    runs = longest(with_rates(frames))
    if not set(SQUARES) <= set(runs) or runs[SQUARES[1]].isna().all():
        raise NotRecorded(f'runs: no column "{SQUARES[1]}"; hooks = ["gradients", "sensitivity"] records it')
    by, placed = combinations(runs), ran(arranged(runs))
    lasting = placed.assign(memory=-1.0 / np.expm1(placed["rate"].where(placed["rate"] < 0)))
    where = across_seeds(lasting, by, "memory")[[*by, "memory"]].dropna(subset="memory")
    if where.empty:
        raise NotRecorded("runs: no gradient decays, so that no run has a finite memory to draw at")
    parts = []
    for name in SQUARES:
        found = across_seeds(placed.assign(square=placed[name]), by, "square").assign(quantity=axis_label(name))
        parts.append(where.merge(found, on=by))
    table = pd.concat(parts, ignore_index=True)
    rest = others(runs, "length", control(runs))
    table = with_laws(table, frames, {"diagonal": ""}, "memory", rest)
    return table, Layout(rest[0] if rest else "", rest[1:], "memory", "square", "quantity")


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the mean squares with their intervals over the memory, and the lines of theory, on logarithmic axes."""
    ax = ax if ax is not None else new_axes()
    ax.set(xscale="log", yscale="log", xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    measured = table[~is_law(table)]
    for line, look in lines(measured, layout, measured if whole is None else whole[~is_law(whole)]):
        value, low, high = (line[name] for name in (layout.y, f"{layout.y}_low", f"{layout.y}_high"))
        error = np.stack([value - low, high - value])
        ax.errorbar(line[layout.x], value, yerr=error, elinewidth=0.8, capsize=1.5, **look | {"ls": ""})
    draw_laws(ax, table, layout.x, whole)
    ax.minorticks_off()
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the growth factor of both mean squares from the shortest memory to the longest."""
    measured = table[~is_law(table)].sort_values(layout.x)
    if measured[layout.x].nunique() < 2:
        return "There is only one value of the memory, so no growth can be computed."
    ends = measured[layout.x].agg(["min", "max"])
    grown = [
        f"{name!s} {compact(float(part[layout.y].iloc[-1] / part[layout.y].iloc[0]))}-fold"
        for name, part in measured.groupby(layout.hue, sort=False)
    ]
    span = " to ".join(compact(float(end)) for end in ends)
    return (
        f"From a memory of {span} steps, {' and '.join(grown)}; the gradient of a state by an earlier one never grows."
    )


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Mean squares of the states and of their derivative by a recurrent weight, against 1/(1 − e^rate), the sum of the "
    "decaying gradient over all lags, for the longest sequences; bars: 95 % t-intervals over the seeds; lines: exact "
    "values for diagonal linear networks",
    lambda table, layout: 2.4,
)
