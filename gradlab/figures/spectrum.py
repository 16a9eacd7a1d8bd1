"""The Lyapunov exponents over their rank divided by the hidden size."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import drawn, joined
from gradlab.figures.facets import Picture
from gradlab.figures.laws import draw_laws, is_law, with_laws
from gradlab.figures.style import bands, new_axes, zero
from gradlab.formatting.numbers import compact
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import Layout, combinations, control, others, varying
from gradlab.tables.tables import Frames, NotRecorded


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the exponents (nats/step) over rank / H at the longest length, with 95 % intervals over the seeds.

    There is one line per size if sizes vary, otherwise one line per value of the control.

    Raises
    ------
    NotRecorded
        If no exponents were recorded.
    """
    runs, spectra = frames["runs"], frames["spectra"]
    hue = "hidden" if "hidden" in varying(runs) else control(runs)
    rest = others(runs, hue, "length")
    panel = "cell" if "cell" in rest else next(iter(rest), "")
    found = joined(runs, spectra)
    if found.empty:
        raise NotRecorded('spectra: no rows; hooks = ["lyapunov:k"] records k exponents')
    by = combinations(runs)
    shares = found.assign(index_share=found["index"] / found["hidden"])
    shares = shares[drawn(shares, by, "index")]
    table = across_seeds(shares, list(dict.fromkeys([*by, "hidden", "index_share"])), "exponent")
    null = frames.get("newman", pd.DataFrame())
    null = null[null["hidden"] == null["hidden"].max()] if len(null) else null  # the same line for all sizes
    laws = {"newman": null.drop(columns="hidden", errors="ignore")}
    table = with_laws(table, laws, {"newman": ""}, "index_share", ())
    return table, Layout(panel, tuple(name for name in rest if name != panel), "index_share", "exponent", hue)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the exponents over rank / H, one line per level of the hue, with its interval as a band."""
    ax = ax if ax is not None else new_axes()
    bands(ax, table[~is_law(table)], layout, None if whole is None else whole[~is_law(whole)])
    draw_laws(ax, table, layout.x, whole)
    zero(ax)
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the ranges of the largest and of the smallest recorded exponents."""
    by = [name for name in (layout.panel, *layout.rows, layout.hue) if name and name != "cell"]
    lines = table.dropna(subset="exponent").groupby(["cell", *by], observed=True, dropna=False)["exponent"]
    if not lines.ngroups:
        return "No exponent is known."
    top, bottom = (f"{compact(ends.min())} to {compact(ends.max())}" for ends in (lines.max(), lines.min()))
    return f"Largest exponents {top} nats/step, smallest recorded ones {bottom}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Lyapunov exponents against rank / H, for the longest sequences; the spectrum is extensive where the lines of "
    "several sizes agree; each panel has its own scale; bands: 95 % t-intervals over the seeds; the null model is "
    "Newman's, a product of independent Gaussian matrices, one per step, at the largest H",
    lambda table, layout: 2.1,
    hooks=("lyapunov:8",),
    own=True,
)
