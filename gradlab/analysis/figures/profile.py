"""The norms of a trace over the lag, a band for its sequences."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from gradlab.analysis.factors import Layout
from gradlab.analysis.figures.look import STYLE, every, lines, new_axes
from gradlab.schema import QUANTITIES, axis_label


def draw(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the mean logarithm of each quantity over the lag, with a band from its 5 to its 95 % quantile.

    ``table`` has the columns of ``steps`` that this needs: quantity, lag, mean_log, q05, q95.
    """
    ax = ax if ax is not None else new_axes()
    layout = Layout(panel="", rows=(), x="lag", y="mean_log", hue="quantity")
    with matplotlib.rc_context(STYLE):
        for line, look in lines(table, layout, None):
            look["label"] = QUANTITIES.get(look["label"], look["label"]).partition(":")[0]
            ax.fill_between(line["lag"], line["q05"], line["q95"], color=look["color"], alpha=0.2, lw=0)
            ax.plot(line["lag"], line["mean_log"], markevery=every(len(line), look["zorder"]), **look)
        ax.set(xlabel=axis_label("lag"), ylabel="ln of the norm (nats)")
        ax.legend()
    return ax
