"""Theory's lines in a picture's table: rows with a number in ``theory`` and none measured, and how they are drawn."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import theory_of
from gradlab.figures.style import LINES
from gradlab.tables.tables import Frames


def with_laws(
    table: pd.DataFrame, frames: Frames, names: dict[str, str], along: str | None, panels: tuple[str, ...]
) -> pd.DataFrame:
    """Return ``table`` with the lines of the frames ``names`` that have ``along`` on x, each under its ``law``.

    ``names`` says what a frame that names no law of its own is called.
    """
    measured = table.assign(theory=float("nan"), law="")
    found = [theory_of(frames, measured, along, panels, name).assign(law=law) for name, law in names.items() if law]
    found += [theory_of(frames, measured, along, panels, name) for name, law in names.items() if not law]
    found = [lines for lines in found if len(lines)]
    return pd.concat([measured, *found], ignore_index=True) if found else measured


def is_law(table: pd.DataFrame) -> pd.Series:
    """Return which rows are theory's."""
    return table["theory"].notna()


def draw_laws(ax: Axes, table: pd.DataFrame, x: str, whole: pd.DataFrame | None = None) -> None:
    """Draw theory's lines, thin and black, a line style for each; gated cells' are called by their cell too.

    A law looks the same in every panel of ``whole``.
    """
    kinds = [name for name in ("cell", "law") if name in table]
    every = table if whole is None else whole
    known = [names for names, _ in every[is_law(every)].groupby(kinds, observed=True, sort=False)]
    for names, line in table[is_law(table)].groupby(kinds, observed=True, sort=False):
        label = " ".join(str(name) for name in names if name != "rnn")
        line, style = line.sort_values(x), LINES[-known.index(names) % len(LINES)]
        ax.plot(line[x], line["theory"], color="black", lw=0.8, ls=style, zorder=1.5, label=label)
