"""How every figure looks: its style at print size, its lines, colours and words; and a figure as bytes."""

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

#: How far a line's markers move from its neighbour's, as a share of the distance between two values.
DODGE = 0.06
#: Inches: one column of a journal, and both.
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
MARKED = 6
#: Places in seaborn's palette for colour-blind readers, without its pink and its yellow, which are too light for lines.
DARK = (0, 1, 2, 3, 4, 5, 7, 9)


class NotebookFigure(Figure):
    """A figure that a notebook displays once, as the value of a cell.

    Pyplot does not manage it. The inline backend therefore does not draw it a second time, and a kernel without
    ``%matplotlib inline``, which has no printer for figures, finds the picture here.
    """

    def _repr_png_(self) -> bytes:
        return png(self)


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG: the same bytes for the same figure."""
    return _bytes(figure, "svg", {"Date": None, "Creator": None})


def png(figure: Figure) -> bytes:
    """Return the figure as PNG, 200 dots an inch: the same bytes for the same figure."""
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
    """Draw the line at zero, where nothing is lost and nothing won."""
    ax.axhline(0, color="0.3", lw=0.6, zorder=1)


def bands(ax: Axes, table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None) -> None:
    """Draw the layout's y over its x, a line for each level of the hue, its interval as a band; name the axes."""
    x, y = layout.x, layout.y
    for line, look in lines(table, layout, whole):
        ax.fill_between(line[x], line[f"{y}_low"], line[f"{y}_high"], color=look["color"], alpha=0.2, lw=0)
        ax.plot(line[x], line[y], markevery=every(line[y], look["zorder"]), **look)
    ax.set(xlabel=axis_label(x), ylabel=axis_label(y))


def lines(
    table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Yield the rows of each level of the hue, and how its line looks: the same in every panel of ``whole``."""
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
    """Return colours in an order for numbers (dark to light), and without one for names."""
    if all(isinstance(level, float | int) for level in found):
        return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(found))))
    palette = sns.color_palette("colorblind")
    return [palette[DARK[i % len(DARK)]] for i in range(len(found))]


def every(line: pd.Series, order: float) -> tuple[int, int]:
    """Return start and stride of a line's markers, so that those of neighbouring lines do not meet."""
    stride = max(int(line.notna().sum()) // MARKED, 1)
    return int(order * stride / 3) % stride, stride


def levels(table: pd.DataFrame, column: str) -> list[Any]:
    """Return the values of a column that occur, in their order."""
    values = table[column].dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.unique().tolist())


def places(table: pd.DataFrame, column: str) -> dict[Any, float]:
    """Return where each value of a column stands on an axis: numbers where they are, names side by side."""
    found = levels(table, column)
    if pd.api.types.is_numeric_dtype(table[column]):
        return {level: float(level) for level in found}
    return {level: float(i) for i, level in enumerate(found)}


def dodged(each: Sequence[pd.DataFrame], where: Mapping[Any, float], x: str) -> list[pd.Series]:
    """Return where the markers of each line stand: around their value, beside those of the others that have it."""
    gap = DODGE * min(np.diff(sorted(where.values())), default=1.0)
    lines = pd.concat([line[x] for line in each], keys=range(len(each)))
    order = lines.groupby(lines, observed=True)
    moved = lines.map(where).astype("float64") + gap * (order.cumcount() - (order.transform("size") - 1) / 2)
    return [moved[i] for i in range(len(each))]


def text(level: Any) -> str:
    """Return a value as a tick or a legend writes it."""
    return plain(level) if isinstance(level, float | int) else str(level)


def legible(face: Any) -> str:
    """Return black or white, whichever stands out from ``face`` (Rec. 709 luma)."""
    return "white" if np.dot([0.2126, 0.7152, 0.0722], to_rgb(face)) < 0.5 else "black"
