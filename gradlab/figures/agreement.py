"""The rate of each run against its largest Lyapunov exponent, to compare the gradient with the attractor."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.style import lines, new_axes, zero
from gradlab.formatting.numbers import compact
from gradlab.schema import axis_label
from gradlab.tables.factors import Layout, arranged, control, longest, others
from gradlab.tables.tables import Frames, NotRecorded


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate and λ₁ of every longest run that has both, one panel per cell, one colour per control value."""
    runs = longest(with_rates(frames))
    if "lyapunov_1" not in runs or runs["lyapunov_1"].isna().all():
        raise NotRecorded('runs: no column "lyapunov_1"; hooks = ["gradients", "lyapunov:1"] records it')
    turned = control(runs)
    found = arranged(runs[runs["status"] == "done"]).dropna(subset=["lyapunov_1", "rate"])
    return found, Layout("cell", others(runs, "cell", "length", turned), "lyapunov_1", "rate", turned)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw one point per run, and the line on which the rate equals λ₁."""
    ax = ax if ax is not None else new_axes()
    for line, look in lines(table, layout, whole):
        ax.plot(line[layout.x], line[layout.y], **look | {"ls": "", "mfc": "none", "mew": 0.8})
    ax.axline((0, 0), slope=1, color="0.3", lw=0.6, zorder=1)
    zero(ax)
    ax.axvline(0, color="0.3", lw=0.6, zorder=1)
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the number of runs in which both have the same sign, and the size of the differences."""
    apart = (table["rate"] - table["lyapunov_1"]).abs()
    same = int((table["rate"] * table["lyapunov_1"] > 0).sum())
    return (
        f"The rate and λ₁ have the same sign in {same} of {len(table)} runs; the median difference is "
        f"{compact(float(apart.median()))} nats/step, the largest {compact(float(apart.max()))}."
    )


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Rate of ln‖δ‖ back in time against the largest Lyapunov exponent of the states, one point per run, for the "
    "longest sequences; slanted line: rate = λ₁, which holds in the limit of long sequences (Mikhaeil, Monfared & "
    "Durstewitz 2022)",
    lambda table, layout: 2.2,
)
