"""Quantities of ``steps`` over the step or the lag: tables and lines that several pictures share."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import abreast, averaged, drawn, few, joined, of, settings
from gradlab.figures.facets import Picture
from gradlab.figures.style import bands, new_axes
from gradlab.formatting.numbers import compact
from gradlab.schema import QUANTITIES
from gradlab.tables.factors import SEED, SETTING, Layout, combinations, control, others
from gradlab.tables.recorded import not_recorded
from gradlab.tables.tables import Frames, NotRecorded


class Quantities(NamedTuple):
    """The quantities of one picture, and the columns and words that describe them.

    Attributes
    ----------
    chosen : str
        A pattern that matches the quantities; its first group is the name of the line.
    example : str
        One of the quantities, for the error message.
    hook : str
        The hook that records them.
    hue, y : str
        The columns of the table with the line's name and with the mean logarithm (nats).
    along : str
        The column on the x axis, "t" or "lag".
    what : str
        The value of a line in words.
    """

    chosen: str
    example: str
    hook: str
    hue: str
    y: str
    along: str
    what: str

    def tabulate(self, frames: Frames) -> tuple[pd.DataFrame, Layout]:
        """Return the mean logarithm (nats) of each quantity over the steps, with its interval, one line per quantity.

        Raises
        ------
        NotRecorded
            If none of the quantities was recorded.
        """
        runs, steps = frames["runs"], frames["steps"]
        found = joined(few(runs), steps[steps["quantity"].str.fullmatch(self.chosen) & (steps["lag"] >= 0)])
        if found.empty:
            raise NotRecorded(f'steps: no rows of "{self.example}"; hooks = ["{self.hook}"] records them')
        found[SETTING] = settings(found, [name for name in combinations(runs) if name != "length"])
        names = found["quantity"].str.extract(self.chosen, expand=False)
        found[self.hue] = pd.Categorical(names, categories=names.unique())
        by = [SETTING, self.hue]
        table = averaged(found[drawn(found, by, self.along)], [*by, self.along], self.y)
        return table, Layout(SETTING, (), self.along, self.y, self.hue, abreast(found))

    @staticmethod
    def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
        """Draw the mean logarithms over the steps, one line per quantity, with the intervals as bands."""
        ax = ax if ax is not None else new_axes()
        bands(ax, table, layout, whole)
        return ax

    def finding(self, table: pd.DataFrame, layout: Layout) -> str:
        """Return the smallest and the largest change of a line from the last step to the first."""
        known = table[np.isfinite(table[self.y])].sort_values(self.along, ascending=self.along == "lag")
        lines = known.groupby([layout.panel, self.hue], observed=True)[self.y]
        change = (lines.last() - lines.first()).sort_values()
        if change.empty:
            return f"No step has {self.what}."
        ends = [f"{compact(change.iloc[i])} nats ({', '.join(map(str, change.index[i]))})" for i in (0, -1)]
        return f"From the last step to the first, {self.what} changes by between {ends[0]} and {ends[1]}."


def over_lag(
    frames: Frames, quantity: str, y: str = "mean_log", *, first: int = 0, relative: bool = False
) -> tuple[pd.DataFrame, Layout]:
    """Return the mean logarithm of one quantity over the lag at the longest length, one line per value of the control.

    The layers and directions of a single pass have one line each, in one panel.

    Parameters
    ----------
    frames : mapping of DataFrame
        The tables of a study, a watch or a trace.
    quantity : str
        A quantity of ``steps``.
    y : str
        Name of the column with the mean logarithm (nats) in the returned table.
    first : int
        The smallest lag.
    relative : bool
        If True, the value at the first lag is subtracted.

    Returns
    -------
    table : DataFrame
        The mean logarithm with its interval, one row per line and lag.
    layout : Layout
        The columns to draw.

    Raises
    ------
    NotRecorded
        If the quantity was not recorded.
    """
    runs, steps = frames["runs"], frames["steps"]
    turned, by = control(runs), combinations(runs)
    rest = others(runs, "length", turned)
    panel = "cell" if "cell" in rest else next(iter(rest), "cell")
    layout = Layout(panel, tuple(name for name in rest if name != panel), "lag", y, turned)
    if SEED not in runs and rest:
        layout = Layout("", (), "lag", y, SETTING)
    kept = (steps["quantity"] == quantity) & (steps["lag"] >= first)
    found = joined(runs, steps.loc[kept, [*of(steps), "lag", "mean_log", "q05", "q95"]])
    if found.empty:
        raise not_recorded("steps", quantity)
    start = found.sort_values("lag").groupby(of(found))["mean_log"].transform("first") if relative else 0.0
    if layout.hue == SETTING:
        found[SETTING], by = settings(found, by), [SETTING]
    return averaged(found[drawn(found, by)], [*by, "lag"], y, lambda logs: logs - start), layout


def picture(names: tuple[str, ...]) -> Picture:
    """Return the picture of one or several quantities of ``steps`` over the lag.

    One quantity has one line per value of the control. Several have one line each, and one panel per combination.

    Parameters
    ----------
    names : tuple of str
        The quantities.

    Returns
    -------
    Picture
        The picture of these quantities.
    """
    pattern = "|".join(map(re.escape, names))
    several = Quantities(f"({pattern})", names[0], "", "quantity", "mean_log", "lag", what="a quantity's logarithm")
    caption = "Logarithm of the norm against the lag, for the longest sequences; bands: 95 % t-intervals over the seeds"
    return Picture(
        partial(over_lag, quantity=names[0]) if len(names) == 1 else partial(_recorded, several, names),
        partial(_draw, label=_label(names)),
        several.finding,
        caption,
        lambda table, layout: 2.1,
    )


def _recorded(several: Quantities, names: tuple[str, ...], frames: Frames) -> tuple[pd.DataFrame, Layout]:
    known = set(frames["steps"]["quantity"])
    for name in names:
        if name not in known:
            raise not_recorded("steps", name)
    return several.tabulate(frames)


def _draw(
    table: pd.DataFrame, layout: Layout, *, label: str, ax: Axes | None = None, whole: pd.DataFrame | None = None
) -> Axes:
    ax = Quantities.draw(table, layout, ax=ax, whole=whole)
    ax.set_ylabel(label)
    return ax


def _label(names: tuple[str, ...]) -> str:
    """Return the label of the y axis: the quantity's own label, or a common label for several quantities."""
    if len(names) > 1:
        return "ln of the norm (nats)"
    name = f"ln‖{names[0]}‖" if names[0].startswith("dL/") else names[0]
    return f"{QUANTITIES.get(names[0], name).partition(',')[0]} (nats)"
