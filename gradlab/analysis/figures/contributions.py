"""How much each step gives to the gradients of the parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.analysis.factors import SETTING, Layout, combinations
from gradlab.analysis.figures.look import bands, new_axes
from gradlab.analysis.figures.panels import Picture
from gradlab.analysis.figures.rows import abreast, averaged, drawn, few, joined, settings
from gradlab.analysis.numerals import compact
from gradlab.analysis.tables import Frames, NotRecorded

#: What the quantities of the hook ``contributions`` begin with; the parameter's name follows.
PREFIX = "contribution_"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ln of the norm of step t's part of each parameter's gradient over t, a line a parameter."""
    runs, steps = frames["runs"], frames["steps"]
    found = joined(few(runs), steps[steps["quantity"].str.startswith(PREFIX)])
    if found.empty:
        raise NotRecorded(f'steps: no rows of "{PREFIX}W_hh"; hooks = ["contributions"] records them')
    found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
    names = found["quantity"].str.removeprefix(PREFIX)
    found["parameter"] = pd.Categorical(names, categories=names.unique())
    table = averaged(found[drawn(found, [SETTING, "parameter"], "t")], [SETTING, "parameter", "t"], "part")
    return table, Layout(SETTING, (), "t", "part", "parameter", abreast(found))


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the ln norm of every step's part over t, a line a parameter, its interval as a band."""
    ax = ax if ax is not None else new_axes()
    bands(ax, table, layout, whole)
    return ax


def says(table: pd.DataFrame, layout: Layout) -> str:
    """Return by how much the parts of the first step lie below those of the last, at the two extremes."""
    ordered = table[np.isfinite(table["part"])].sort_values("t", ascending=False)
    parts = ordered.groupby([layout.panel, layout.hue], observed=True)["part"]
    change = (parts.last() - parts.first()).sort_values()
    if change.empty:
        return "No step has a part."
    told = [f"{compact(change.iloc[i])} nats ({', '.join(map(str, change.index[i]))})" for i in (0, -1)]
    return f"From the last step to the first, a step's part changes by between {told[0]} and {told[1]}."


PICTURE = Picture(
    tabulate,
    draw,
    says,
    "What each step gives to the gradient of a parameter: logarithm of the norm of its part of the batch's mean "
    "gradient, against t, for the longest sequences; bands: 95 % t-intervals over the seeds; of more than three values "
    "of what is turned, the lowest, the middle and the highest",
    lambda table, layout: 1.6,
    hooks=("contributions",),
    along="t",
)
