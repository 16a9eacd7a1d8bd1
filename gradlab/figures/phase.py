"""The rate as a map over the control parameter and the length of a study, with the line where it is zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gradlab.errors import InputError
from gradlab.figures.data import theory_of, with_rates
from gradlab.figures.facets import Picture
from gradlab.figures.style import legible, levels, new_axes, text
from gradlab.formatting.numbers import UNKNOWN, compact, plain
from gradlab.schema import axis_label
from gradlab.tables import tables
from gradlab.tables.factors import Layout, combinations, control, numeric_control, others, placed
from gradlab.verdicts.summaries import signs

#: White edge of lines, which cross dark and light cells.
HALO = [withStroke(linewidth=2.0, foreground="white")]
#: Smallest distance between a number and a line of theory through its cell, in cell heights.
CLEAR = 0.28
DASHES = (0, (3, 1.5))
#: Legend labels of the two lines.
ZERO, CRITICAL = "rate 0, as measured", "theory's edge, χ = 1 (H → ∞)"


def tabulate(frames: tables.Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate (nats/step) over the control and the length, or over another key if the length is fixed.

    If the control is numeric, the columns of `crossings` are added.

    Raises
    ------
    NotRecorded
        If no rates were recorded.
    InputError
        If nothing varies except the cell and the seed.
    """
    runs = with_rates(frames)
    turned = control(runs)
    if turned is None:
        raise InputError("runs: nothing varies but the cell and the seed; there is no plane to draw")
    rest = others(runs, "cell", turned)
    across = "length" if "length" in rest else next(iter(rest), "cell")
    panel = "" if across == "cell" else "cell"
    table = tables.rates(runs).dropna(subset=[across, turned])  # a cell without the key has no place in the plane
    if numeric_control(runs) is not None:
        where = tables.crossings(runs).rename(columns={"seeds": "of"})
        table = table.merge(where, on=[name for name in where if name in combinations(runs)], how="left")
    table = _with_critical(table, theory_of(frames, table, turned, ()))
    return table, Layout(panel, tuple(name for name in rest if name != across), across, turned)


def _with_critical(table: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``critical``, the scale at which the rate of theory turns positive; nan without such a line."""
    if "scale" not in lines:
        return table.assign(critical=np.nan)
    by = [name for name in lines if name not in ("scale", "theory")]
    found = [
        [*(name if isinstance(name, tuple) else (name,)), tables.crossing(part["scale"], part["theory"])]
        for name, part in lines.groupby(by, observed=True, dropna=False)
    ]
    critical = pd.DataFrame(found, columns=[*by, "critical"]).astype(lines[by].dtypes.to_dict())
    return table.merge(critical, on=by, how="left")


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the rate as a map over x and y, with its numbers and its zero line; a row without a rate is hatched."""
    ax = ax if ax is not None else new_axes()
    everything = table if whole is None else whole
    x, y = levels(everything, layout.x), levels(everything, layout.y)
    grid = table.pivot(index=layout.y, columns=layout.x, values="rate").reindex(index=y, columns=x)
    rate = grid.to_numpy(dtype=np.float64)
    norm = CenteredNorm(0, _limit(everything))
    mesh = ax.pcolormesh(np.ma.masked_invalid(rate), cmap="RdBu_r", norm=norm, ec="white", lw=0.5)
    _zero_line(ax, rate, joined=pd.api.types.is_numeric_dtype(table[layout.x]))
    edges: dict[int, float] = {}
    for column, part in table.dropna(subset="critical").groupby(layout.x, observed=True):
        at = np.interp(part["critical"].iloc[0], y, np.arange(len(y)) + 0.5, left=np.nan, right=np.nan)
        if np.isnan(at):  # outside of the values that have run
            continue
        i = x.index(column)
        edges[i] = float(at)
        ax.plot([i, i + 1], [at, at], color="black", ls=DASHES, path_effects=HALO, label=CRITICAL, zorder=5)
    for _, row in table.iterrows():
        i, j = x.index(row[layout.x]), y.index(row[layout.y])
        _cell(ax, row, (i, j), mesh, edge=edges.get(i, np.inf))
    ax.set(xlabel=axis_label(layout.x), ylabel=axis_label(layout.y))
    ax.set_xticks(np.arange(len(x)) + 0.5, [text(level) for level in x])
    ax.set_yticks(np.arange(len(y)) + 0.5, [text(level) for level in y])
    ax.grid(False)
    return ax


def _zero_line(ax: Axes, rate: np.ndarray[Any, np.dtype[np.float64]], *, joined: bool) -> None:
    """Draw the line at rate zero; ``joined`` connects the columns, otherwise each column has its own line."""
    height, width = rate.shape
    for left, right in [(0, width)] if joined else [(i, i + 1) for i in range(width)]:
        part = rate[:, left:right]
        if height < 2 or not (np.nanmin(part, initial=0) < 0 < np.nanmax(part, initial=0)):
            continue
        edges = np.r_[left, np.arange(left, right) + 0.5, right]
        padded = np.ma.masked_invalid(np.c_[part[:, :1], part, part[:, -1:]])
        ax.contour(edges, np.arange(height) + 0.5, padded, levels=[0.0], colors="black", linewidths=1.2)
        ax.plot([], [], color="black", lw=1.2, label=ZERO)


def _cell(ax: Axes, row: pd.Series, place: tuple[int, int], colours: ScalarMappable, *, edge: float) -> None:
    """Write a rate into its cell, clear of the line of theory; hatch and label the cell if runs diverged or failed."""
    i, j = place
    lost = bool(row["diverged"] or row["failed"] or not row["seeds"])
    if lost:
        ground = "none" if row["seeds"] else "0.9"
        ax.add_patch(Rectangle((i, j), 1, 1, hatch="////", ec="0.4", lw=0, fc=ground))
    word = "div." if row["diverged"] else "fail" if row["failed"] else UNKNOWN
    face = "white" if lost else colours.to_rgba(row["rate"])
    # A positive rate gets a sign, because a line next to a bare number could be read as a minus.
    signed = f"+{compact(row['rate'])}" if row["rate"] > 0 else compact(row["rate"])
    label = signed if row["seeds"] else word
    written = ax.text(i + 0.5, _free(j + 0.5, edge), label, ha="center", va="center", fontsize=6, color=legible(face))
    written.set(bbox={"fc": face, "ec": "none", "pad": 1.2}, zorder=4)


def _free(middle: float, line: float) -> float:
    """Return the height of a number that is clear of a line and as near to the middle of its cell as possible."""
    away = middle - line
    return middle if abs(away) >= CLEAR else line + float(np.copysign(CLEAR, away))


def _limit(table: pd.DataFrame) -> float:
    greatest = table["rate"].abs().max()
    return float(greatest) if greatest > 0 else 1.0


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the value of y at which the rate turns positive in each panel, as the mean of the seeds' crossings."""
    if not pd.api.types.is_numeric_dtype(table[layout.y]):
        return signs(table, "rate", "Rates")
    groups = table.groupby(["cell", *layout.rows], observed=True, dropna=False)
    places = [f"{placed(part.iloc[0], ('cell', *layout.rows))} {_turns(part, layout)}" for _, part in groups]
    theory = sorted(table["critical"].dropna().unique())
    edge = f" Theory's edge for the RNN as H → ∞ is at scale {_span(theory[0], theory[-1])}." if theory else ""
    return f"The rate turns positive (mean of the seeds' crossings): {'; '.join(places)}.{edge}"


def _turns(part: pd.DataFrame, layout: Layout) -> str:
    """Return as text where all seeds cross zero, where only some do (with the zero of the mean), or that none does."""
    found = part.drop_duplicates(layout.x)
    every = found[found["crossing"].notna()]
    some = found[(found["crossed"] > 0) & found["crossing"].isna()]
    parts = []
    if len(every):
        span = _span(every["crossing"].min(), every["crossing"].max())
        parts.append(f"at {layout.y} {span}{_share(every, found, layout.x)}")
    if len(some):
        counts = sorted({(int(row["crossed"]), int(row["of"])) for _, row in some.iterrows()})
        seeds = " to ".join(f"{crossed} of {of}" for crossed, of in dict.fromkeys([counts[0], counts[-1]]))
        parts.append(f"in {seeds} seeds only{_share(some, found, layout.x)}, {_zero_of_mean(part, some, layout)}")
    return " and ".join(parts) or f"not {_studied(part['lowest'].min(), part['highest'].max(), layout.y)}"


def _studied(lowest: float, highest: float, name: str) -> str:
    if lowest == highest:
        return f"at {name} {plain(lowest)}, the only one run"
    return f"from {name} {plain(lowest)} to {plain(highest)}"


def _zero_of_mean(part: pd.DataFrame, some: pd.DataFrame, layout: Layout) -> str:
    """Return where the mean rate turns positive in the columns of ``some``, as text."""
    kept = part[part[layout.x].isin(some[layout.x])].sort_values(layout.y)
    columns = kept.groupby(layout.x, observed=True)
    zeros = [tables.crossing(column[layout.y], column["rate"]) for _, column in columns]
    known = [zero for zero in zeros if not np.isnan(zero)]
    if not known:
        return "not in the mean over all seeds"
    return f"the mean's zero lies at {layout.y} {_span(min(known), max(known))}"


def _share(these: pd.DataFrame, found: pd.DataFrame, name: str) -> str:
    return "" if len(these) == len(found) else f", at {len(these)} of {len(found)} values of {name}"


def _span(low: float, high: float) -> str:
    least, most = compact(low, 4), compact(high, 4)
    return least if least == most else f"{least} to {most}"


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Rate of ln‖δ‖ in nats per step; red: growth; blue: decay; black line: zero of the mean over the seeds, "
    "interpolated between the studied values; dashed: the zero in mean-field theory of infinitely wide RNNs with the "
    "task's input, which has no such line for gated cells, because a one-step χ does not describe weights that are the "
    "same at every step; hatched: runs diverged or failed",
    lambda table, layout: max(0.5 + 0.22 * table[layout.y].nunique(), 1.3),
    bar="rate (nats/step)",
)
