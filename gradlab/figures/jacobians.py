"""Where the singular values of the step Jacobians lie over time."""

from __future__ import annotations

from functools import reduce

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import abreast, drawn, few, joined, settings
from gradlab.figures.facets import Picture
from gradlab.figures.style import every, new_axes, zero
from gradlab.formatting.numbers import compact
from gradlab.schema import axis_label
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SETTING, Layout, combinations
from gradlab.tables.tables import Frames, NotRecorded

#: The quantities that the bands lie between, the largest first.
BANDS = ("jac_norm2", "jac_q75", "jac_q50", "jac_q25", "jac_min")


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the largest, the quartiles and the smallest singular value of J_t (ln) over t, a column each.

    The median's is ``jac_sigma``.
    """
    runs, steps = frames["runs"], frames["steps"]
    found = joined(few(runs), steps[steps["quantity"].isin(BANDS)])
    if not set(BANDS) <= set(found["quantity"]):
        raise NotRecorded('steps: no rows of "jac_min"; hooks = ["jacobians"] records them')
    found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
    found = found[drawn(found, [SETTING, "quantity"], "t")]
    by = [SETTING, "t"]
    each = [_mean(found[found["quantity"] == name], by, name) for name in BANDS]
    table = reduce(lambda left, right: left.merge(right, on=by), each)
    return table.rename(columns={"jac_q50": "jac_sigma"}), Layout(SETTING, (), "t", "jac_sigma", None, abreast(found))


def _mean(rows: pd.DataFrame, by: list[str], name: str) -> pd.DataFrame:
    return across_seeds(rows.rename(columns={"mean_log": name}), by, name)[[*by, name]]


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the range of the singular values, the range of their middle half in it, and their median, over t."""
    ax = ax if ax is not None else new_axes()
    line = table.sort_values(layout.x)
    top, upper, lower, bottom = (line[name] for name in ("jac_norm2", "jac_q75", "jac_q25", "jac_min"))
    ax.fill_between(line[layout.x], bottom, top, color="C0", alpha=0.2, lw=0, label="all")
    ax.fill_between(line[layout.x], lower, upper, color="C0", alpha=0.45, lw=0, label="middle half")
    ax.plot(line[layout.x], top, color="C0", lw=0.8, ls="--", label="largest")
    median = line[layout.y]
    ax.plot(line[layout.x], median, color="black", marker="o", markevery=every(median, 0), label="median")
    zero(ax)
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the largest and the median singular value of each combination, as means over t."""
    means = table.groupby(layout.panel, observed=True)[["jac_norm2", "jac_sigma"]].mean()
    told = [f"{name} {compact(row['jac_norm2'])} and {compact(row['jac_sigma'])}" for name, row in means.iterrows()]
    return f"ln of the largest and of the median singular value, means over t: {'; '.join(told)}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Singular values of the step Jacobians J_t over time (natural logarithm; means over sequences and seeds of each "
    "quantile), for the longest sequences: all of them, their middle half, the largest and the median; above the line "
    "at 0 a step stretches, below it shrinks; of more than three values of what is turned, the lowest, the middle and "
    "the highest",
    lambda table, layout: 1.6,
    hooks=("jacobians",),
    along="t",
)
