"""Who teaches whom: the gradient of every step's loss at every earlier state."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.analysis.figures.look import STYLE, new_axes
from gradlab.schema import axis_label


def draw(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw who teaches whom as a map: ln‖∂L_t/∂s_s‖ over the state's step s and the loss step t.

    ``table`` has the columns loss_t, s and mean_log; what is −inf or not there (s > t) stays blank.
    """
    ax = ax if ax is not None else new_axes()
    grid = table.pivot(index="loss_t", columns="s", values="mean_log")
    with matplotlib.rc_context(STYLE):
        shown = np.ma.masked_invalid(grid.to_numpy(dtype=np.float64))
        mesh = ax.pcolormesh(grid.columns, grid.index, shown, cmap="viridis", rasterized=True)
        ax.figure.colorbar(mesh, ax=ax, label="ln‖∂Lₜ/∂sₛ‖ (nats)", pad=0.02)
        ax.set(xlabel=axis_label("s"), ylabel=axis_label("loss_t"))
        ax.grid(False)
    return ax
