"""Tables drawn at print size: one function a picture, which draws one panel, and one line in `FIGURES`.

A picture's function takes a table and its `Layout`, draws into ``ax`` and returns it; it computes nothing.
Colour always goes with a line style and a marker, so that grey prints and colour-blind readers lose nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gradlab.analysis import findings, tables
from gradlab.analysis.factors import Layout, named
from gradlab.analysis.numerals import UNKNOWN, compact, plain
from gradlab.errors import InputError, unknown
from gradlab.schema import QUANTITIES, axis_label

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
#: Panels in a line where many are to be broken into several lines.
ACROSS = 3


class Picture(NamedTuple):
    """How a figure comes about: its table, the function that draws a panel of it, what it says and shows."""

    table: tables.Table
    draw: Callable[..., Axes]
    says: Callable[[pd.DataFrame, Layout], str]
    shows: str
    height: Callable[[pd.DataFrame, Layout], float]


def decay(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw ``ln‖δ_k‖ − ln‖δ_1‖`` over the lag, a line for each level of the hue, its interval as a band."""
    ax = ax if ax is not None else _axes()
    _bands(ax, table, layout, whole)
    ax.axhline(0, color="0.3", lw=0.6, zorder=1)
    return ax


def rates(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the layout's y, a rate, with its interval over the control, a line for each level of the hue."""
    ax = ax if ax is not None else _axes()
    places = _places(table if whole is None else whole, layout.x)
    value, low, high = layout.y, f"{layout.y}_low", f"{layout.y}_high"
    for line, look in _lines(table, layout, whole):
        error = np.stack([line[value] - line[low], line[high] - line[value]])
        at = line[layout.x].map(places).astype("float64")
        ax.errorbar(at, line[value], yerr=error, elinewidth=0.8, capsize=1.5, **look)
        for _, free in line[line[layout.x].isna()].iterrows():  # a cell that has no such key
            ax.axhspan(free[low], free[high], color=look["color"], alpha=0.15, lw=0)
            ax.axhline(free[value], color=look["color"], ls=look["ls"])
        for lost in at[line["seeds"] == 0]:
            ax.plot(lost, 1, transform=ax.get_xaxis_transform(), clip_on=False, marker="x", c=look["color"])
    ax.axhline(0, color="0.3", lw=0.6, zorder=1)
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    if not pd.api.types.is_numeric_dtype(table[layout.x]):
        ax.set_xticks(list(places.values()), list(places))
        ax.set_xlim(-0.5, len(places) - 0.5)
    return ax


def lyapunov(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw λ₁ with its interval over the control, and theory's line, the rows that have a number in ``theory``."""
    measured = table[table["theory"].isna()]
    ax = rates(measured, layout, ax=ax, whole=measured if whole is None else whole[whole["theory"].isna()])
    line = table[table["theory"].notna()].sort_values(layout.x)
    if len(line):
        ax.plot(line[layout.x], line["theory"], color="black", lw=0.8, zorder=1.5, label="mean field, H → ∞")
    return ax


def spectrum(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the exponents over their rank per unit, a line for each level of the hue, its interval as a band."""
    ax = ax if ax is not None else _axes()
    _bands(ax, table, layout, whole)
    ax.axhline(0, color="0.3", lw=0.6, zorder=1)
    return ax


def paths(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the ln norm of what travels on each path over the lag, its interval as a band."""
    ax = ax if ax is not None else _axes()
    _bands(ax, table, layout, whole)
    return ax


def temporal(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw who teaches whom as a map: ln‖∂L_t/∂s_s‖ over the state's step s and the loss step t.

    ``table`` has the columns loss_t, s and mean_log; what is −inf or not there (s > t) stays blank.
    """
    ax = ax if ax is not None else _axes()
    grid = table.pivot(index="loss_t", columns="s", values="mean_log")
    with matplotlib.rc_context(STYLE):
        shown = np.ma.masked_invalid(grid.to_numpy(dtype=np.float64))
        mesh = ax.pcolormesh(grid.columns, grid.index, shown, cmap="viridis", rasterized=True)
        ax.figure.colorbar(mesh, ax=ax, label="ln‖∂Lₜ/∂sₛ‖ (nats)", pad=0.02)
        ax.set(xlabel=axis_label("s"), ylabel=axis_label("loss_t"))
        ax.grid(False)
    return ax


def phase(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the rate as a map over x and y, its numbers in it, the line where it is zero, no holes."""
    ax = ax if ax is not None else _axes()
    everything = table if whole is None else whole
    x, y = _levels(everything, layout.x), _levels(everything, layout.y)
    grid = table.pivot(index=layout.y, columns=layout.x, values="rate").reindex(index=y, columns=x)
    rate = grid.to_numpy(dtype=np.float64)
    norm = CenteredNorm(0, _limit(everything))
    mesh = ax.pcolormesh(np.ma.masked_invalid(rate), cmap="RdBu_r", norm=norm, ec="white", lw=0.5)
    _zero_line(ax, rate, joined=pd.api.types.is_numeric_dtype(table[layout.x]))
    for _, row in table.iterrows():
        _cell(ax, row, x.index(row[layout.x]), y.index(row[layout.y]), mesh)
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    ax.set_xticks(np.arange(len(x)) + 0.5, [_text(level) for level in x])
    ax.set_yticks(np.arange(len(y)) + 0.5, [_text(level) for level in y])
    ax.grid(False)
    return ax


def profile(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the mean logarithm of each quantity over the lag, with a band from its 5 to its 95 % quantile.

    ``table`` has the columns of ``steps`` that this needs: quantity, lag, mean_log, q05, q95.
    """
    ax = ax if ax is not None else _axes()
    layout = Layout(panel="", rows=(), x="lag", y="mean_log", hue="quantity")
    with matplotlib.rc_context(STYLE):
        for line, look in _lines(table, layout, None):
            look["label"] = QUANTITIES.get(look["label"], look["label"]).partition(":")[0]
            ax.fill_between(line["lag"], line["q05"], line["q95"], color=look["color"], alpha=0.2, lw=0)
            ax.plot(line["lag"], line["mean_log"], markevery=_every(len(line), look["zorder"]), **look)
        ax.set(xlabel=axis_label("lag"), ylabel="ln of the norm (nats)")
        ax.legend()
    return ax


FIGURES: dict[str, Picture] = {
    "decay": Picture(
        tables.decay_table,
        decay,
        findings.decay_says,
        "Logarithm of the gradient's norm against the lag, less its value at lag 1, for the longest sequences; "
        "panels share y, but rows that end at different lags each have their own; "
        "bands: 95 % t-intervals over the seeds",
        lambda table, layout: 2.1,
    ),
    "phase": Picture(
        tables.phase_table,
        phase,
        findings.phase_says,
        "Rate of ln‖δ‖ in nats per step; red grows, blue decays, the black line is where the mean over the seeds "
        "is zero (interpolated between the values studied); hatched: runs diverged or failed",
        lambda table, layout: max(0.5 + 0.22 * table[layout.y].nunique(), 1.3),
    ),
    "rates": Picture(
        tables.rates_table,
        rates,
        findings.signs_say,
        "Rate of ln‖δ‖ in nats per step, for the longest sequences; bars: 95 % t-intervals over the seeds; "
        "a cross on the upper edge: no run has a rate",
        lambda table, layout: 2.2,
    ),
    "lyapunov": Picture(
        tables.lyapunov_table,
        lyapunov,
        findings.lyapunov_says,
        "Largest Lyapunov exponent of the states, for the longest sequences; bars: 95 % t-intervals over the seeds. "
        "Theory has no line for gated cells: a one-step χ does not predict weights that are the same at every step",
        lambda table, layout: 2.2,
    ),
    "spectrum": Picture(
        tables.spectrum_table,
        spectrum,
        findings.spectrum_says,
        "Lyapunov exponents against their rank over H, for the longest sequences; where the lines of several sizes "
        "agree the spectrum is extensive; bands: 95 % t-intervals over the seeds",
        lambda table, layout: 2.1,
    ),
    "paths": Picture(
        tables.paths_table,
        paths,
        findings.paths_say,
        "Logarithm of the gradient's norm on the additive path alone (∏f, ∏ of what a GRU keeps), of what went through "
        "a gate at least once, and of their sum, less that of all at lag 0; bands: 95 % t-intervals over the seeds",
        lambda table, layout: 1.5,
    ),
}


def draw(name: str, frames: tables.Frames) -> Figure:
    """Return the figure ``name`` of a study, all of its panels, from its tables by name.

    Raises
    ------
    InputError
        If there is no such figure, or the study has not got what it shows.
    """
    if name not in FIGURES:
        raise InputError(unknown("figure", name, FIGURES))
    picture = FIGURES[name]
    return facets(picture, *picture.table(frames))


def facets(picture: Picture, table: pd.DataFrame, layout: Layout) -> Figure:
    """Return a figure with a panel for each value of the layout's panel and each combination of its rows."""
    places = _grid(table, layout)
    with matplotlib.rc_context(STYLE):
        size = (SINGLE if len(places[0]) == 1 else DOUBLE, 0.6 + len(places) * picture.height(table, layout))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(places), len(places[0]), sharex="row", sharey=_shared(table, layout), squeeze=False)
        for (i, j), ax in np.ndenumerate(axes):
            place = places[i][j]
            part = table[:0] if place is None else _where(table, place)
            if place is None or part.empty:
                ax.set_axis_off()
                continue
            picture.draw(part, layout, ax=ax, whole=table)
            ax.set_title(", ".join(named(key, value) for key, value in place.items()))
        _outer_labels_only(axes)
        _key(figure, axes, layout)
    return figure


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


def _bands(ax: Axes, table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None) -> None:
    """Draw the layout's y over its x, a line for each level of the hue, its interval as a band; name the axes."""
    x, y = layout.x, layout.y
    for line, look in _lines(table, layout, whole):
        ax.fill_between(line[x], line[f"{y}_low"], line[f"{y}_high"], color=look["color"], alpha=0.2, lw=0)
        ax.plot(line[x], line[y], markevery=_every(len(line), look["zorder"]), **look)
    ax.set(xlabel=axis_label(x), ylabel=axis_label(y))


def _axes() -> Axes:
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(SINGLE, 2.6), layout="constrained").subplots()


def _lines(
    table: pd.DataFrame, layout: Layout, whole: pd.DataFrame | None
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Yield the rows of each level of the hue, and how its line looks: the same in every panel."""
    if layout.hue is None:
        yield table.sort_values(layout.x), {"color": "C0", "marker": "o", "zorder": 2}
        return
    levels = _levels(table if whole is None else whole, layout.hue)
    colours = _colours(levels)
    for i, level in enumerate(levels):
        look = {"color": colours[i], "ls": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}
        line = table[table[layout.hue] == level].sort_values(layout.x)
        if len(line):
            yield line, look | {"label": _text(level), "zorder": 2 + i}
    without = table[table[layout.hue].isna()].sort_values(layout.x)
    if len(without):
        yield without, {"color": "0.4", "ls": "-", "label": named(layout.hue, None), "zorder": 2}


def _colours(levels: list[Any]) -> list[Any]:
    """Return colours in an order for numbers (dark to light), and without one for names."""
    if all(isinstance(level, float | int) for level in levels):
        return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(levels))))
    return list(sns.color_palette("colorblind", len(levels)))


def _every(points: int, order: float) -> tuple[int, int]:
    """Return start and stride of a line's markers, so that those of neighbouring lines do not meet."""
    stride = max(points // MARKED, 1)
    return int(order * stride / 3) % stride, stride


def _levels(table: pd.DataFrame, column: str) -> list[Any]:
    values = table[column].dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.unique().tolist())


def _places(table: pd.DataFrame, column: str) -> dict[Any, float]:
    levels = _levels(table, column)
    if pd.api.types.is_numeric_dtype(table[column]):
        return {level: float(level) for level in levels}
    return {level: float(i) for i, level in enumerate(levels)}


def _grid(table: pd.DataFrame, layout: Layout) -> list[list[dict[str, Any] | None]]:
    """Return where each panel stands; many panels and no rows are broken into lines of ACROSS, None to fill up."""
    columns = _combinations(table, (layout.panel,) if layout.panel else ())
    if layout.rows or len(columns) <= ACROSS + 1:
        return [[column | row for column in columns] for row in _combinations(table, layout.rows)]
    filled = [*columns, *[None] * (-len(columns) % ACROSS)]
    return [filled[i : i + ACROSS] for i in range(0, len(filled), ACROSS)]


def _combinations(table: pd.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    if not columns:
        return [{}]
    found = table[list(columns)].drop_duplicates().sort_values(list(columns))
    return [dict(zip(columns, values, strict=True)) for values in found.itertuples(index=False)]


def _shared(table: pd.DataFrame, layout: Layout) -> Literal["all", "row"]:
    """Return which panels share y: all, but where rows of panels end at different x each row has its own."""
    if not layout.rows or not pd.api.types.is_numeric_dtype(table[layout.x]):
        return "all"
    ends = table.groupby(list(layout.rows), observed=True, dropna=False)[layout.x].max()
    return "all" if ends.nunique() <= 1 else "row"


def _where(table: pd.DataFrame, place: dict[str, Any]) -> pd.DataFrame:
    for key, value in place.items():
        table = table[table[key].isna() if pd.isna(value) else table[key] == value]
    return table


def _zero_line(ax: Axes, rate: np.ndarray[Any, np.dtype[np.float64]], *, joined: bool) -> None:
    """Draw where the rate is zero; columns are joined where x is a number, else each has its own line."""
    height, width = rate.shape
    for left, right in [(0, width)] if joined else [(i, i + 1) for i in range(width)]:
        part = rate[:, left:right]
        if height < 2 or not (np.nanmin(part, initial=0) < 0 < np.nanmax(part, initial=0)):
            continue
        edges = np.r_[left, np.arange(left, right) + 0.5, right]
        padded = np.ma.masked_invalid(np.c_[part[:, :1], part, part[:, -1:]])
        ax.contour(edges, np.arange(height) + 0.5, padded, levels=[0.0], colors="black", linewidths=1.2)


def _cell(ax: Axes, row: pd.Series, i: int, j: int, colours: ScalarMappable) -> None:
    """Write a rate into its cell; where runs diverged or failed, hatch it and say so."""
    lost = bool(row["diverged"] or row["failed"] or not row["seeds"])
    if lost:
        ground = "none" if row["seeds"] else "0.9"
        ax.add_patch(Rectangle((i, j), 1, 1, hatch="////", ec="0.4", lw=0, fc=ground))
    word = "div." if row["diverged"] else "fail" if row["failed"] else UNKNOWN
    face = "white" if lost else colours.to_rgba(row["rate"])
    text = compact(row["rate"]) if row["seeds"] else word
    written = ax.text(i + 0.5, j + 0.5, text, ha="center", va="center", fontsize=6, color=_legible(face))
    written.set(bbox={"fc": face, "ec": "none", "pad": 0.5}, zorder=4)


def _legible(face: Any) -> str:
    """Return black or white, whichever stands out from ``face`` (Rec. 709 luma)."""
    return "white" if np.dot([0.2126, 0.7152, 0.0722], to_rgb(face)) < 0.5 else "black"


def _limit(table: pd.DataFrame) -> float:
    greatest = table["rate"].abs().max()
    return float(greatest) if greatest > 0 else 1.0


def _text(level: Any) -> str:
    return plain(level) if isinstance(level, float | int) else str(level)


def _outer_labels_only(axes: np.ndarray[Any, np.dtype[Any]]) -> None:
    for column in axes.T:
        for ax in [ax for ax in column if ax.axison][:-1]:
            ax.set_xlabel("")
    for row in axes:
        for i, ax in enumerate([ax for ax in row if ax.axison]):
            ax.tick_params(labelleft=i == 0)
            if i:
                ax.set_ylabel("")


def _key(figure: Figure, axes: np.ndarray[Any, np.dtype[Any]], layout: Layout) -> None:
    """Give the figure its legend, or where colour is a number, its bar."""
    if layout.hue is None:
        meshes = [mesh for ax in axes.flat for mesh in ax.collections if mesh.get_array() is not None]
        if meshes:
            figure.colorbar(meshes[0], ax=axes, label="rate (nats/step)", pad=0.02, aspect=25)
        return
    found = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if len(found) > 1 and layout.hue != layout.x:
        title = axis_label(layout.hue)
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=_abreast(figure, found), title=title
        )


def _abreast(figure: Figure, labels: Iterable[str]) -> int:
    """Return how many entries of a legend fit beside each other: a line, two gaps and the longest label each."""
    em = matplotlib.font_manager.FontProperties(size=STYLE["legend.fontsize"]).get_size_in_points()
    entry = em * (4.8 + 0.65 * max(map(len, labels)))
    return max(int(0.95 * 72 * figure.get_figwidth() / entry), 1)
