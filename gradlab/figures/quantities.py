"""Quantities of ``steps`` over the steps, a line each and a panel a combination: what several pictures draw alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import abreast, averaged, drawn, few, joined, settings
from gradlab.figures.style import bands, new_axes
from gradlab.formatting.numbers import compact
from gradlab.tables.factors import SETTING, Layout, combinations
from gradlab.tables.tables import Frames, NotRecorded


class Quantities(NamedTuple):
    """Which quantities, and how they are told.

    ``chosen`` is a pattern whose first group names the line, ``example`` one of the quantities and ``hook`` what
    records them; ``hue`` and ``y`` are the columns of the table, ``along`` is "t" or "lag", and ``what`` a line's value
    in words.
    """

    chosen: str
    example: str
    hook: str
    hue: str
    y: str
    along: str
    what: str

    def tabulate(self, frames: Frames) -> tuple[pd.DataFrame, Layout]:
        """Return the mean logarithm of each quantity over the steps with its interval, a line a quantity."""
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
        """Draw the mean logarithms over the steps, a line a quantity, its interval as a band."""
        ax = ax if ax is not None else new_axes()
        bands(ax, table, layout, whole)
        return ax

    def finding(self, table: pd.DataFrame, layout: Layout) -> str:
        """Return by how much the first step's differs from the last one's, at the two extremes."""
        known = table[np.isfinite(table[self.y])].sort_values(self.along, ascending=self.along == "lag")
        lines = known.groupby([layout.panel, self.hue], observed=True)[self.y]
        change = (lines.last() - lines.first()).sort_values()
        if change.empty:
            return f"No step has {self.what}."
        told = [f"{compact(change.iloc[i])} nats ({', '.join(map(str, change.index[i]))})" for i in (0, -1)]
        return f"From the last step to the first, {self.what} changes by between {told[0]} and {told[1]}."
