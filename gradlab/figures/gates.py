"""The activity of the gates, compared with the gradient that passes them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures import decay
from gradlab.figures.data import abreast, averaged, drawn, few, joined, of, settings
from gradlab.figures.facets import Picture
from gradlab.figures.style import bands, new_axes
from gradlab.formatting.numbers import compact
from gradlab.schema import axis_label
from gradlab.statistics.rates import FIRST_LAG
from gradlab.tables.factors import SETTING, Layout, combinations
from gradlab.tables.tables import Frames, NotRecorded

#: Prefix of the quantities that the hook ``gates`` records; the gate's name follows it.
PREFIX = "gate_"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the mean of |gate| (``activity``) and ``ln‖δ_k‖ − ln‖δ_1‖`` in nats (``change``) over the lag.

    Each row has one of the two. In rows of the gradient the column ``gate`` is missing.

    Raises
    ------
    NotRecorded
        If the gates or the gradients were not recorded.
    """
    runs, steps = frames["runs"], frames["steps"]
    kept = steps["quantity"].str.startswith(PREFIX) | (steps["quantity"] == decay.QUANTITY)
    found = joined(few(runs), steps[kept & (steps["lag"] >= FIRST_LAG)])
    for hook, known in (
        ("gates", found["quantity"] != decay.QUANTITY),
        ("gradients", found["quantity"] == decay.QUANTITY),
    ):
        if not known.any():
            raise NotRecorded(f'steps: gates or gradients are missing; hooks = ["{hook}"] records them')
    found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
    found = found[drawn(found, [SETTING, "quantity"])]
    is_gate = found["quantity"] != decay.QUANTITY
    names = found["quantity"].where(is_gate).str.removeprefix(PREFIX)
    found["gate"] = pd.Categorical(names, categories=names.dropna().unique())
    start = found[~is_gate].sort_values("lag").groupby(of(found))["mean_log"].transform("first")
    gates = averaged(found[is_gate], [SETTING, "gate", "lag"], "activity", np.exp)
    gradient = averaged(found[~is_gate], [SETTING, "lag"], "change", lambda logs: logs - start)
    return pd.concat([gates, gradient], ignore_index=True), Layout(
        SETTING, (), "lag", "activity", "gate", abreast(found)
    )


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw each gate's activity (left scale) and the gradient (right scale, black) over the lag."""
    ax = ax if ax is not None else new_axes()
    everything = table if whole is None else whole
    bands(ax, table[table["gate"].notna()], layout, everything[everything["gate"].notna()])
    if everything["activity"].max() > 1:  # the candidate or state of a ReLU cell
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, 1)
    right = ax.twinx()
    line = table[table["gate"].isna()].sort_values(layout.x)
    right.fill_between(line[layout.x], line["change_low"], line["change_high"], color="black", alpha=0.12, lw=0)
    right.plot(line[layout.x], line["change"], color="black", lw=1.6, label="gradient (right)", zorder=5)
    right.set_ylim(*_range(everything))
    right.set_ylabel(axis_label("change"))
    right.grid(False)
    ax.set_zorder(right.get_zorder() + 1)  # the gradient's band is drawn behind the gates
    ax.patch.set_visible(False)
    return ax


def _range(table: pd.DataFrame) -> tuple[float, float]:
    """Return the y limits of the right scale, which all panels share and which include 0."""
    known = table[["change", "change_low", "change_high"]].to_numpy(dtype=np.float64)
    low, high = np.nanmin(known, initial=-1e-3), np.nanmax(known, initial=0.0)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the range over the panels of each gate's mean activity over all lags."""
    gates = table[table["gate"].notna()]
    means = gates.groupby([layout.panel, "gate"], observed=True)["activity"].mean().groupby("gate", observed=True)
    ranges = [f"{name} {compact(low)} to {compact(high)}" for name, low, high in means.agg(["min", "max"]).itertuples()]
    return f"Mean |gate| over the lags, range over the panels: {', '.join(ranges)}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Gate activity (mean of |gate| over the units; for candidates, and for h without gates, the mean magnitude) and "
    "the gradient's logarithm minus its value at lag 1 (black, right scale), for the longest sequences; bands: 95 % "
    "t-intervals over the seeds; a control parameter with more than three values is shown at its lowest, middle and "
    "highest value",
    lambda table, layout: 1.9,
    hooks=("gates", "gradients"),
)
