"""The distribution of the singular values of the step Jacobians over time."""

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

#: The quantities that bound the bands, from the largest to the smallest.
BANDS = ("jac_norm2", "jac_q75", "jac_q50", "jac_q25", "jac_min")


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ln of the largest, the quartiles and the smallest singular value of J_t over t, one column each.

    The column of the median is ``jac_sigma``.

    Raises
    ------
    NotRecorded
        If no Jacobians were recorded.
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
    """Draw the range of all singular values, the range of the middle half, the largest and the median, over t."""
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
    """Return ln of the largest and the median singular value of each combination, as means over t."""
    means = table.groupby(layout.panel, observed=True)[["jac_norm2", "jac_sigma"]].mean()
    values = [f"{name} {compact(row['jac_norm2'])} and {compact(row['jac_sigma'])}" for name, row in means.iterrows()]
    return f"ln of the largest and of the median singular value, means over t: {'; '.join(values)}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Singular values of the step Jacobians J_t over time (natural logarithm; means over sequences and seeds of each "
    "quantile), for the longest sequences: the range of all, the range of the middle half, the largest and the median; "
    "a value above 0 stretches and a value below 0 shrinks; a control parameter with more than three values is shown "
    "at its lowest, middle and highest value",
    lambda table, layout: 1.6,
    hooks=("jacobians",),
    along="t",
)
