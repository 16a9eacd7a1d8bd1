"""The common look of all figures: print size, lines, colours and labels; and figures as bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gradlab.formatting.numbers import plain
from gradlab.schema import axis_label
from gradlab.tables.factors import Layout, named

#: Horizontal shift between the markers of neighbouring lines, as a share of the distance between two values.
DODGE = 0.06
#: Width of one journal column and of both columns, in inches.
SINGLE, DOUBLE = 3.3, 6.9
STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper", font_scale=0.8),
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.titlesize": 8,
    "figure.dpi": 200,
    "figure.facecolor": "white",
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.title_fontsize": 7.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "svg.hashsalt": "gradlab",
}
LINES, MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v", "P", "X", "*")
#: Least number of markers on a long line.
MARKED = 6
#: Indices into seaborn's "colorblind" palette, without its pink and yellow, which are too light for lines.
DARK = (0, 1, 2, 3, 4, 5, 7, 9)


class NotebookFigure(Figure):
    """A figure that a notebook displays once, as the value of a cell.

    Pyplot does not manage it. The inline backend therefore does not draw it a second time, and a kernel without
    ``%matplotlib inline``, which has no printer for figures, finds the picture here.
    """

    def _repr_png_(self) -> bytes:
        return png(self)


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG; the same figure gives the same bytes."""
    return _bytes(figure, "svg", {"Date": None, "Creator": None})


def png(figure: Figure) -> bytes:
    """Return the figure as PNG at 200 dots per inch; the same figure gives the same bytes."""
    return _bytes(figure, "png", {"Software": None})


def _bytes(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def new_axes() -> Axes:
    """Return the axes of a new figure, one journal column wide."""
    with matplotlib.rc_context(STYLE):
        return NotebookFigure(figsize=(SINGLE, 2.6), layout="constrained").subplots()


def zero(ax: Axes) -> None:
    """Draw the horizontal line at zero, which marks no change."""
    ax.axhline(0, color="0.3", lw=0.6, zorder=1)


def bands(ax: Axes, table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None) -> None:
    """Draw the layout's y over its x, with one line per level of the hue, and label the axes.

    Parameters
    ----------
    ax : Axes
        Axes to draw into.
    table : DataFrame
        The rows of one panel; the columns ``{y}_low`` and ``{y}_high`` are drawn as a band.
    layout : Layout
        The columns to draw.
    whole : DataFrame or None
        The table of all panels, which decides how each line looks.
    """
    x, y = layout.x, layout.y
    for line, look in lines(table, layout, whole):
        ax.fill_between(line[x], line[f"{y}_low"], line[f"{y}_high"], color=look["color"], alpha=0.2, lw=0)
        ax.plot(line[x], line[y], markevery=every(line[y], look["zorder"]), **look)
    ax.set(xlabel=axis_label(x), ylabel=axis_label(y))


def lines(
    table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Yield the rows of each level of the hue, and the look of its line, which is the same in every panel.

    Parameters
    ----------
    table : DataFrame
        The rows of one panel.
    layout : Layout
        The columns to draw.
    whole : DataFrame or None
        The table of all panels, which decides how each line looks.

    Yields
    ------
    line : DataFrame
        The rows of one line, sorted by the layout's x.
    look : dict
        Keyword arguments of :meth:`matplotlib.axes.Axes.plot`.
    """
    if layout.hue is None:
        yield table.sort_values(layout.x), {"color": "C0", "marker": "o", "zorder": 2}
        return
    found = levels(table if whole is None else whole, layout.hue)
    colours = _colours(found)
    for i, level in enumerate(found):
        look = {"color": colours[i], "ls": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}
        line = table[table[layout.hue] == level].sort_values(layout.x)
        if len(line):
            yield line, look | {"label": text(level), "zorder": 2 + i}
    without = table[table[layout.hue].isna()].sort_values(layout.x)
    if len(without):
        yield without, {"color": "0.4", "ls": "-", "label": named(layout.hue, None), "zorder": 2}


def _colours(found: list[Any]) -> list[Any]:
    """Return one colour per level: from dark to light for numbers, from an unordered palette for names."""
    if all(isinstance(level, float | int) for level in found):
        return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(found))))
    palette = sns.color_palette("colorblind")
    return [palette[DARK[i % len(DARK)]] for i in range(len(found))]


def every(line: pd.Series, order: float) -> tuple[int, int]:
    """Return the start and stride of a line's markers, so that markers of neighbouring lines do not overlap."""
    stride = max(int(line.notna().sum()) // MARKED, 1)
    return int(order * stride / 3) % stride, stride


def levels(table: pd.DataFrame, column: str) -> list[Any]:
    """Return the distinct values of a column, in their order."""
    values = table[column].dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.unique().tolist())


def places(table: pd.DataFrame, column: str) -> dict[Any, float]:
    """Return the axis position of each value of a column: a number stays itself, names get 0, 1, 2 …"""
    found = levels(table, column)
    if pd.api.types.is_numeric_dtype(table[column]):
        return {level: float(level) for level in found}
    return {level: float(i) for i, level in enumerate(found)}


def dodged(each: Sequence[pd.DataFrame], where: Mapping[Any, float], x: str) -> list[pd.Series]:
    """Return the x positions of each line's markers, shifted so that markers at the same value do not overlap.

    Parameters
    ----------
    each : sequence of DataFrame
        The rows of each line.
    where : mapping of float
        Axis position of each value; see `places`.
    x : str
        The column on the x axis.

    Returns
    -------
    list of Series
        The positions of each line's rows.
    """
    gap = DODGE * min(np.diff(sorted(where.values())), default=1.0)
    lines = pd.concat([line[x] for line in each], keys=range(len(each)))
    order = lines.groupby(lines, observed=True)
    moved = lines.map(where).astype("float64") + gap * (order.cumcount() - (order.transform("size") - 1) / 2)
    return [moved[i] for i in range(len(each))]


def text(level: Any) -> str:
    """Return the text of a value for a tick or a legend."""
    return plain(level) if isinstance(level, float | int) else str(level)


def legible(face: Any) -> str:
    """Return the text colour, black or white, that contrasts with ``face`` (Rec. 709 luma)."""
    return "white" if np.dot([0.2126, 0.7152, 0.0722], to_rgb(face)) < 0.5 else "black"
