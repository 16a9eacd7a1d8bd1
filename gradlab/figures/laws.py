"""Lines of theory in a picture's table: rows with a number in ``theory`` and no measured one; and their drawing."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.data import theory_of
from gradlab.figures.style import LINES
from gradlab.tables.tables import Frames


def with_laws(
    table: pd.DataFrame, frames: Frames, names: dict[str, str], along: str | None, panels: tuple[str, ...]
) -> pd.DataFrame:
    """Return ``table`` with the lines of theory appended, each with its name in the column ``law``.

    Parameters
    ----------
    table : DataFrame
        The measured rows.
    frames : mapping of DataFrame
        The tables of a study, with those of theory.
    names : dict of str
        The tables of theory to append. The value is the law's name, or "" if the table has its own column ``law``.
    along : str or None
        The column on the x axis; tables of theory without it are left out.
    panels : tuple of str
        The columns that distinguish panels.

    Returns
    -------
    DataFrame
        The measured rows, with nan in ``theory``, then those of theory.
    """
    measured = table.assign(theory=float("nan"), law="")
    found = [theory_of(frames, measured, along, panels, name).assign(law=law) for name, law in names.items() if law]
    found += [theory_of(frames, measured, along, panels, name) for name, law in names.items() if not law]
    found = [lines for lines in found if len(lines)]
    return pd.concat([measured, *found], ignore_index=True) if found else measured


def is_law(table: pd.DataFrame) -> pd.Series:
    """Return which rows are lines of theory."""
    return table["theory"].notna()


def draw_laws(ax: Axes, table: pd.DataFrame, x: str, whole: pd.DataFrame | None = None) -> None:
    """Draw the lines of theory, thin and black, with one line style each.

    The label includes the cell, except for the RNN.

    Parameters
    ----------
    ax : Axes
        Axes to draw into.
    table : DataFrame
        The rows of one panel, measured rows included.
    x : str
        The column on the x axis.
    whole : DataFrame, optional
        The table of all panels, in which each law has the same line style.
    """
    kinds = [name for name in ("cell", "law") if name in table]
    every = table if whole is None else whole
    known = [names for names, _ in every[is_law(every)].groupby(kinds, observed=True, sort=False)]
    for names, line in table[is_law(table)].groupby(kinds, observed=True, sort=False):
        label = " ".join(str(name) for name in names if name != "rnn")
        line, style = line.sort_values(x), LINES[-known.index(names) % len(LINES)]
        ax.plot(line[x], line["theory"], color="black", lw=0.8, ls=style, zorder=1.5, label=label)
