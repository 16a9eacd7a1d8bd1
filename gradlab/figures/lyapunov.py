"""The largest Lyapunov exponent over the control parameter of a study, compared with theory."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures import rates
from gradlab.figures.facets import Picture
from gradlab.figures.laws import draw_laws, is_law, with_laws
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import Layout, arranged, combinations, control, longest, others, ran, varying
from gradlab.tables.tables import Frames, NotRecorded
from gradlab.verdicts.summaries import signs

MEAN_FIELD = "mean field, H → ∞"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return λ₁ (nats/step) over the control at the longest length, and the lines of theory.

    There is one line per cell; if the study has one cell and several sizes, one line per size. Rows of theory have a
    number in ``theory`` and nan in ``lyapunov_1``.

    Raises
    ------
    NotRecorded
        If no exponents were recorded.
    """
    runs = frames["runs"]
    if "lyapunov_1" not in runs or runs["lyapunov_1"].isna().all():
        raise NotRecorded('runs: no column "lyapunov_1"; hooks = ["lyapunov:1"] records it')
    turned = control(runs)
    sized = turned != "hidden" and "hidden" in varying(runs) and "cell" not in varying(runs)
    hue = "hidden" if sized else "cell"
    rest = others(runs, hue, "cell", "length", turned)
    table = across_seeds(ran(arranged(longest(runs))), combinations(runs), "lyapunov_1")
    table = with_laws(table, frames, {"theory": MEAN_FIELD, "resting": ""}, turned, rest)
    return table, Layout(rest[0] if rest else "", rest[1:], turned or "cell", "lyapunov_1", hue)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw λ₁ with its interval over the control, and the lines of theory, whose rows have a number in ``theory``."""
    measured = table[~is_law(table)]
    ax = rates.draw(measured, layout, ax=ax, whole=measured if whole is None else whole[~is_law(whole)])
    draw_laws(ax, table, layout.x, whole)
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the numbers of negative and positive exponents, and a sentence on each line of theory."""
    counts, drawn = signs(table[~is_law(table)], "lyapunov_1", "Largest exponents"), set(table["law"]) - {""}
    lines = {
        MEAN_FIELD: "The line is ½ ln χ of mean-field theory, for infinitely wide RNNs without gates.",
        "at rest, tied weights": "The lines of gated cells are those of the resting cell; an input shifts them.",
    }
    if not drawn:
        return f"{counts} There is no line of theory: it covers Gaussian RNNs without gates, and gated cells at rest."
    return " ".join([counts, *(text for law, text in lines.items() if law in drawn)])


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Largest Lyapunov exponent of the states, for the longest sequences; bars: 95 % t-intervals over the seeds. "
    "Mean-field theory gives no line for gated cells: a one-step χ does not describe weights that are the same at "
    "every step. Their line is ln of the Jacobian's spectral radius at h = c = 0 and x = 0, which holds while they "
    "rest there",
    lambda table, layout: 2.2,
)
