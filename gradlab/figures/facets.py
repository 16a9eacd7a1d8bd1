"""The `Picture`, and the figure that arranges its panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from textwrap import fill
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.container import Container
from matplotlib.figure import Figure

from gradlab.figures.style import DOUBLE, SINGLE, STYLE, NotebookFigure
from gradlab.schema import axis_label
from gradlab.tables import tables
from gradlab.tables.factors import MEASURE, Layout, named

#: Letters of a title per inch of panel width.
TITLE = 13
#: Text of a hatched panel, in which nothing is known, and the box behind a text.
LOST, PAPER = "diverged or failed", {"fc": "white", "ec": "none", "pad": 1.2}


def _usual_height(table: pd.DataFrame, layout: Layout) -> float:
    """Return the height of a row of panels that hold one plot each, in inches."""
    return 1.8


class Picture(NamedTuple):
    """The recipe of a figure: its table, the function that draws one panel, its finding and its caption.

    Attributes
    ----------
    table : callable
        Returns the table and the layout for the tables of a study, a watch or a trace.
    draw : callable
        Draws one panel and returns its axes, called as ``draw(table, layout, ax=None, whole=None)``: ``table`` has the
        rows of the panel, ``whole`` those of all panels, for the scales and colours that they share.
    finding : callable
        Returns the result as text, from the table and the layout.
    caption : str
        Description of the figure.
    height : callable
        Returns the height of one line of panels in inches, from the table and the layout; 1.8 by default.
    hooks : tuple of str
        The hooks that record the data for one pass; empty if the figure cannot show a single pass.
    bar : str
        Label of the colour bar, if colours stand for numbers.
    along : str
        The column on the x axis if sequences differ in length, "lag" or "t".
    own : bool
        True if each panel has its own y axis, because lines are compared within a panel only.
    """

    table: tables.Table
    draw: Callable[..., Axes]
    finding: Callable[[pd.DataFrame, Layout], str]
    caption: str
    height: Callable[[pd.DataFrame, Layout], float] = _usual_height
    hooks: tuple[str, ...] = ()
    bar: str = ""
    along: Literal["lag", "t"] = "lag"
    own: bool = False


def facets(picture: Picture, table: pd.DataFrame, layout: Layout) -> Figure:
    """Return a figure with one panel per value of the layout's panel and per combination of its rows.

    Parameters
    ----------
    picture : Picture
        The picture to draw.
    table : DataFrame
        The table of all panels.
    layout : Layout
        The columns to draw.

    Returns
    -------
    Figure
        One or two journal columns wide. A panel without any known value is hatched.
    """
    places = _grid(table, layout)
    with matplotlib.rc_context(STYLE):
        size = (SINGLE if len(places[0]) == 1 else DOUBLE, 0.6 + len(places) * picture.height(table, layout))
        figure = NotebookFigure(figsize=size, layout="constrained")
        shared = "none" if picture.own else _shared(table, layout)
        axes = figure.subplots(len(places), len(places[0]), sharex="row", sharey=shared, squeeze=False)
        for (i, j), ax in np.ndenumerate(axes):
            place = places[i][j]
            part = table[:0] if place is None else _where(table, place)
            if place is None or part.empty:
                ax.set_axis_off()
                continue
            picture.draw(part, layout, ax=ax, whole=table)
            if _lost(part, layout.y):
                ax.patch.set(visible=True, hatch="////", facecolor="0.95", edgecolor="0.5")
                ax.text(0.5, 0.5, LOST, transform=ax.transAxes, ha="center", va="center", bbox=PAPER)
            title = ", ".join(named(key, value) for key, value in place.items() if key != MEASURE)
            ax.set_title(fill(title, max(int(TITLE * size[0] / len(places[0])), 12)))
        _outer_labels_only(axes, own=picture.own)
        if meshes := _meshes(axes.flat):
            figure.colorbar(meshes[0], ax=axes, label=picture.bar, pad=0.02, aspect=25)
        _key(figure, layout)
    return figure


def _lost(part: pd.DataFrame, value: str) -> bool:
    """Return whether a panel has no known value and no run with a result; a median that is not reached is a result."""
    known = "seeds" in part and bool(part["seeds"].any())
    return value in part and bool(part[value].isna().all()) and not known


def single(picture: Picture, table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None) -> Axes:
    """Return one panel with its own legend.

    Parameters
    ----------
    picture : Picture
        The picture to draw.
    table : DataFrame
        The rows of the panel.
    layout : Layout
        The columns to draw.
    ax : Axes, optional
        Axes to draw into; by default those of a new figure, one journal column wide.

    Returns
    -------
    Axes
        The axes drawn into.
    """
    with matplotlib.rc_context(STYLE):
        drawn = picture.draw(table, layout, ax=ax)
        if meshes := _meshes([drawn]):
            drawn.figure.colorbar(meshes[0], ax=drawn, label=picture.bar, pad=0.02)
        if ax is None and isinstance(drawn.figure, Figure):
            _key(drawn.figure, layout)
        elif len(found := _labelled([drawn, *_twins(drawn)])) > 1:
            drawn.legend(found.values(), found.keys())
    return drawn


def figure_of(ax: Axes) -> Figure:
    """Return the top-level figure of ``ax``, also if ``ax`` is in a subfigure."""
    found: Any = ax.figure
    while not isinstance(found, Figure):
        found = found.figure
    return found


def count_panels(table: pd.DataFrame, layout: Layout) -> int:
    """Return the number of panels that :func:`facets` draws."""
    return sum(place is not None and len(_where(table, place)) > 0 for line in _grid(table, layout) for place in line)


def _grid(table: pd.DataFrame, layout: Layout) -> list[list[dict[str, Any] | None]]:
    """Return the grid of panels; many panels without rows are broken into lines, filled up with None."""
    columns = _combinations(table, (layout.panel,) if layout.panel else ())
    if layout.rows or len(columns) <= layout.across + 1:
        return [[column | row for column in columns] for row in _combinations(table, layout.rows)]
    filled = [*columns, *[None] * (-len(columns) % layout.across)]
    return [filled[i : i + layout.across] for i in range(0, len(filled), layout.across)]


def _combinations(table: pd.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    if not columns:
        return [{}]
    found = table[list(columns)].drop_duplicates().sort_values(list(columns))
    return [dict(zip(columns, values, strict=True)) for values in found.itertuples(index=False)]


def _shared(table: pd.DataFrame, layout: Layout) -> Literal["all", "row"]:
    """Return which panels share y: those of a row if rows show different quantities or end at different x, else all."""
    if MEASURE in layout.rows:
        return "row"
    if not layout.rows or not pd.api.types.is_numeric_dtype(table[layout.x]):
        return "all"
    ends = table.groupby(list(layout.rows), observed=True, dropna=False)[layout.x].max()
    return "all" if ends.nunique() <= 1 else "row"


def _where(table: pd.DataFrame, place: dict[str, Any]) -> pd.DataFrame:
    for key, value in place.items():
        table = table[table[key].isna() if pd.isna(value) else table[key] == value]
    return table


def _twins(ax: Axes) -> list[Axes]:
    """Return the other axes at the same grid position, which hold a second scale on the right."""
    place = ax.get_subplotspec()
    return [other for other in ax.figure.axes if other is not ax and place and other.get_subplotspec() == place]


def _outer_labels_only(axes: np.ndarray[Any, np.dtype[Any]], *, own: bool) -> None:
    for column in axes.T:
        for ax in [ax for ax in column if ax.axison][:-1]:
            ax.set_xlabel("")
    for row in axes:
        shown = [ax for ax in row if ax.axison]
        for i, ax in enumerate(shown):
            ax.tick_params(labelleft=own or i == 0)
            if i:
                ax.set_ylabel("")
            for twin in _twins(ax) if i < len(shown) - 1 else []:
                twin.tick_params(labelright=False)
                twin.set_ylabel("")


def _meshes(axes: Iterable[Axes]) -> list[Any]:
    return [mesh for ax in axes for mesh in ax.collections if isinstance(mesh, QuadMesh)]


def _labelled(axes: Iterable[Axes]) -> dict[str, Any]:
    """Return the labelled artists by label, error bars before plain lines."""
    found = [pair for ax in axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    return {label: handle for handle, label in sorted(found, key=lambda pair: not isinstance(pair[0], Container))}


def _key(figure: Figure, layout: Layout) -> None:
    """Add the figure's legend, if it has more than one entry and the x axis does not show the same."""
    found = _labelled(figure.axes)
    if len(found) > 1 and (layout.hue is None or layout.hue != layout.x):
        title = axis_label(layout.hue) if layout.hue else None
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=_abreast(figure, found), title=title
        )


def _abreast(figure: Figure, labels: Iterable[str]) -> int:
    """Return the number of legend entries that fit in one row; each needs a line, two gaps and the longest label."""
    em = matplotlib.font_manager.FontProperties(size=STYLE["legend.fontsize"]).get_size_in_points()
    entry = em * (4.8 + 0.65 * max(map(len, labels)))
    return max(int(0.95 * 72 * figure.get_figwidth() / entry), 1)
