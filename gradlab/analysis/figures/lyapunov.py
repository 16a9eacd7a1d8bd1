"""The largest Lyapunov exponent over what the study turns, beside theory's line."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.analysis.factors import Layout, arranged, combinations, control, longest, others, varying
from gradlab.analysis.figures import rates
from gradlab.analysis.figures.panels import Picture
from gradlab.analysis.figures.rows import theory_of
from gradlab.analysis.findings import signs
from gradlab.analysis.rates import across_seeds
from gradlab.analysis.tables import Frames, NotRecorded


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return λ₁ over the control at the longest length, a line a cell (of one cell a line a size), and theory's line.

    Rows of theory have a number in ``theory`` and none in ``lyapunov_1``.
    """
    runs = frames["runs"]
    if "lyapunov_1" not in runs or runs["lyapunov_1"].isna().all():
        raise NotRecorded('runs: no column "lyapunov_1"; hooks = ["lyapunov:1"] records it')
    turned = control(runs)
    sized = turned != "hidden" and "hidden" in varying(runs) and "cell" not in varying(runs)
    hue = "hidden" if sized else "cell"
    rest = others(runs, hue, "cell", "length", turned)
    table = across_seeds(arranged(longest(runs)), combinations(runs), "lyapunov_1").assign(theory=np.nan)
    lines = theory_of(frames, table, turned, rest)
    if len(lines):
        table = pd.concat([table, lines], ignore_index=True)
    return table, Layout(rest[0] if rest else "", rest[1:], turned or "cell", "lyapunov_1", hue)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw λ₁ with its interval over the control, and theory's line, the rows that have a number in ``theory``."""
    measured = table[table["theory"].isna()]
    ax = rates.draw(measured, layout, ax=ax, whole=measured if whole is None else whole[whole["theory"].isna()])
    line = table[table["theory"].notna()].sort_values(layout.x)
    if len(line):
        ax.plot(line[layout.x], line["theory"], color="black", lw=0.8, zorder=1.5, label="mean field, H → ∞")
    return ax


def says(table: pd.DataFrame, layout: Layout) -> str:
    """Return how many exponents are negative or positive, and where theory's line is drawn."""
    told = signs(table[table["theory"].isna()], "lyapunov_1", "Largest exponents")
    if table["theory"].notna().any():
        return f"{told} The line is mean-field theory's ½ ln χ for infinitely wide RNNs without gates."
    return f"{told} There is no theory's line: it speaks of Gaussian RNNs without gates, along the scale."


PICTURE = Picture(
    tabulate,
    draw,
    says,
    "Largest Lyapunov exponent of the states, for the longest sequences; bars: 95 % t-intervals over the seeds. "
    "Theory has no line for gated cells: a one-step χ does not predict weights that are the same at every step",
    lambda table, layout: 2.2,
)
