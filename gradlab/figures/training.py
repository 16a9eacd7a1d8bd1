"""The decay of the gradient before, during and after training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures import decay
from gradlab.figures.data import averaged, drawn, few, joined, of, settings
from gradlab.figures.facets import Picture
from gradlab.formatting.numbers import compact
from gradlab.statistics.rates import FIRST_LAG
from gradlab.tables.factors import SETTING, TRAINED, Layout, combinations, named
from gradlab.tables.tables import Frames, NotRecorded


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return ``ln‖δ_k‖ − ln‖δ_1‖`` (nats) over the lag, one line per measured training step.

    Raises
    ------
    NotRecorded
        If fewer than two training steps, or no gradients, were recorded.
    """
    runs, steps = frames["runs"], frames["steps"]
    if TRAINED not in steps or steps[TRAINED].nunique() < 2:
        raise NotRecorded('steps: no column "step" with several steps of training; a study at initialisation has one')
    walks = steps[(steps["quantity"] == decay.QUANTITY) & (steps["lag"] >= FIRST_LAG)]
    shown = few(runs.drop(columns=TRAINED, errors="ignore"))["id"]
    found = joined(runs[runs["id"].isin(shown)], walks)
    if found.empty:
        raise NotRecorded(f'steps: no rows of "{decay.QUANTITY}"; hooks = ["gradients"] records them')
    by = [name for name in combinations(runs) if name not in ("length", TRAINED)]
    found[SETTING] = settings(found, by)
    found = found[drawn(found, [SETTING, TRAINED])]
    start = found.sort_values("lag").groupby(of(found))["mean_log"].transform("first")
    table = averaged(found, [SETTING, TRAINED, "lag"], "change", lambda logs: logs - start)
    return table, Layout(SETTING, (), "lag", "change", TRAINED)


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the decay, one line per training step, with its interval as a band."""
    return decay.draw(table, layout, ax=ax, whole=whole)


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the change over all lags before and after training, for each panel."""
    changes = []
    for name, part in table.groupby(layout.panel, observed=True):
        ends = part[part["lag"] == part["lag"].max()].dropna(subset="change").set_index(TRAINED)["change"].sort_index()
        if len(ends):
            steps = [f"{compact(ends.iloc[i])} nats {named(TRAINED, ends.index[i])}" for i in (0, -1)]
            changes.append(f"{name} {' and '.join(steps)}")
    return f"From lag 1 to the last, ln‖δ‖ changes by: {'; '.join(changes) or 'not known'}."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Logarithm of the gradient's norm against the lag, minus its value at lag 1, for the longest sequences, before "
    "training and after the given number of steps, or at its end if it was solved or diverged earlier; bands: 95 % "
    "t-intervals over the seeds; a control parameter with more than three values is shown at its lowest, middle and "
    "highest value",
)
