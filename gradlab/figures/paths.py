"""The share of a gated cell's gradient that takes the additive path alone."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import abreast, averaged, drawn, joined, of, settings
from gradlab.figures.facets import Picture
from gradlab.figures.laws import draw_laws, is_law, with_laws
from gradlab.figures.style import bands, new_axes
from gradlab.formatting.numbers import compact
from gradlab.tables.factors import SETTING, Layout, combinations
from gradlab.tables.tables import Frames, NotRecorded

#: Labels in the figure of the path quantities of ``steps``.
PATHS = {"path_all": "all paths", "path_gates": "through a gate at least once", "path_additive": "additive path alone"}


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the ln norms (nats) on the additive path, through gates and on all paths, over the lag.

    Each is relative to the norm on all paths at the first lag. There is one panel per combination with a gated cell.

    Raises
    ------
    NotRecorded
        If no paths were recorded.
    """
    runs, steps = frames["runs"], frames["steps"]
    found = joined(runs, steps[steps["quantity"].isin(PATHS)])
    if found.empty:
        raise NotRecorded('steps: no rows of "path_all"; hooks = ["paths"] records them, for cells with gates')
    whole = found[found["quantity"] == "path_all"].sort_values("lag").groupby(of(found))["mean_log"].first()
    start = found[of(found)].merge(whole.rename("whole"), on=of(found), how="left")["whole"]
    found["path"] = found["quantity"].map(PATHS).astype(pd.CategoricalDtype(list(PATHS.values())))
    found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
    found = found[drawn(found, [SETTING, "path"])]
    table = averaged(found, [SETTING, "path", "lag"], "travelled", lambda logs: logs - start)
    chrono = frames.get("chrono", pd.DataFrame())
    if len(chrono):
        chrono = chrono.assign(id=range(len(chrono)))
        chrono[SETTING] = settings(chrono, [name for name in combinations(runs) if name in chrono]).astype(str)
    table = with_laws(table, {"chrono": chrono}, {"chrono": ""}, "lag", ())
    return table, Layout(SETTING, (), "lag", "travelled", "path", abreast(found))


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the ln norm on each path over the lag, with its interval as a band."""
    ax = ax if ax is not None else new_axes()
    bands(ax, table[~is_law(table)], layout, None if whole is None else whole[~is_law(whole)])
    draw_laws(ax, table, layout.x, whole)
    return ax


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the smallest and the largest share of the additive path alone in the gradient at the last lag."""
    table = table[~is_law(table)]
    ends = table[table["lag"] == table.groupby(layout.panel, observed=True)["lag"].transform("max")]
    wide = ends.pivot(index=layout.panel, columns="path", values="travelled").astype("float64")
    short = (wide["all paths"] - wide["additive path alone"]).dropna().sort_values()
    if short.empty:
        return "In no panel does a gradient reach the last lag both on all paths and on the additive path alone."
    shares = [f"e^{compact(-short.iloc[i])} of the whole gradient's norm ({short.index[i]})" for i in (0, -1)]
    return f"At the last lag the additive path alone has between {shares[1]} and {shares[0]}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Logarithm of the gradient's norm on the additive path alone (the product of the keep gate: ∏f of an LSTM, "
    "∏(1 − z) or ∏z of a GRU), on the paths through at least one gate, and on all paths, minus that on all paths "
    "at lag 0, for the longest sequences; bands: 95 % t-intervals over the seeds",
    lambda table, layout: 1.5,
    hooks=("paths",),
)
