"""The gradient norms of a trace over the lag, with a band over its sequences."""

from __future__ import annotations

from textwrap import fill

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.style import STYLE, every, lines, new_axes
from gradlab.formatting.numbers import compact
from gradlab.schema import QUANTITIES, axis_label
from gradlab.tables.factors import Layout

#: Characters per line of a note, which is then narrower than one journal column.
NOTE_WIDTH = 48


def draw(table: pd.DataFrame, *, ax: Axes | None = None, theory: pd.DataFrame | None = None, note: str = "") -> Axes:
    """Draw the mean logarithm of each quantity over the lag, with a band from its 5 % to its 95 % quantile.

    Parameters
    ----------
    table : DataFrame
        Columns of ``steps``: quantity, lag (steps), mean_log, q05 and q95 (nats).
    ax : Axes, optional
        Axes to draw into; by default those of a new figure.
    theory : DataFrame, optional
        A line of theory: lag (steps), theory (nats) and rate (nats/step), which is the same in every row.
    note : str
        A note for the legend, such as the reason why there is no line of theory.

    Returns
    -------
    Axes
        The axes drawn into.
    """
    ax = ax if ax is not None else new_axes()
    layout = Layout(panel="", rows=(), x="lag", y="mean_log", hue="quantity")
    with matplotlib.rc_context(STYLE):
        for line, look in lines(table, layout, None):
            look["label"] = QUANTITIES.get(look["label"], look["label"]).partition(":")[0]
            ax.fill_between(line["lag"], line["q05"], line["q95"], color=look["color"], alpha=0.2, lw=0)
            ax.plot(line["lag"], line["mean_log"], markevery=every(line["mean_log"], look["zorder"]), **look)
        if theory is not None:
            label = f"mean field, ½ ln χ = {compact(theory['rate'].iloc[0])} nats/step"
            ax.plot(theory["lag"], theory["theory"], color="black", ls=(0, (5, 2)), lw=0.8, label=label)
        ax.set_xlim(-0.04 * table["lag"].max(), 1.04 * table["lag"].max())
        ax.set(xlabel=axis_label("lag"), ylabel="ln of the norm (nats)")
        ax.legend(title=fill(note, NOTE_WIDTH) or None, alignment="left")
    return ax
