"""The share of trainings that met their criterion, and their number of steps until then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from gradlab.figures.facets import Picture
from gradlab.figures.style import dodged, lines, new_axes, places
from gradlab.formatting.numbers import plain
from gradlab.schema import axis_label
from gradlab.tables.factors import MEASURE, PLACES, SETTING, Layout, control, numeric_control, placed, varying
from gradlab.tables.outcomes import criterion_table, has_criterion
from gradlab.tables.tables import Frames, NotRecorded

#: The columns of `criterion_table` that are drawn, each in one row of panels.
SHARE, STEPS = "solved", "steps_to_criterion"
#: Most settings drawn as lines of one panel; more settings get one panel each.
TOGETHER = 6
#: Legend label of a median that is not reached.
BEYOND = "more than half unsolved"


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the share solved and the median steps to the criterion over the control, both in the column ``value``.

    There is one line per cell or setting. A median that is not reached is placed at the last allowed step and has 1 in
    ``beyond``.

    Raises
    ------
    NotRecorded
        If the trainings have no criterion.
    """
    runs = frames["runs"]
    if not has_criterion(runs):
        raise NotRecorded('runs: no criterion; [train] until = "loss" or "score" sets one')
    found = criterion_table(runs)
    runs = runs.drop(columns=[name for name in PLACES if name != "layer"], errors="ignore").assign(layer=0)
    turned = numeric_control(runs) or ("length" if "length" in varying(runs) else control(runs) or "cell")
    rest = tuple(name for name in varying(runs) if name not in ("cell", turned, *PLACES))
    known = found.dropna(subset=[turned])
    words = known.apply(lambda row: _words(row, [name for name in ("cell", *rest) if name in varying(runs)]), axis=1)
    known = known.assign(**{SETTING: pd.Categorical(words, list(dict.fromkeys(words)))})
    parts = [
        known.assign(
            **{MEASURE: axis_label(name), "column": name},
            value=known[name].fillna(known["limit"]),
            value_low=known[f"{name}_low"],
            value_high=known[f"{name}_high"],
            beyond=known[name].isna().astype("int64"),
        )
        for name in (SHARE, STEPS)
    ]
    table = pd.concat(parts, ignore_index=True)
    table[MEASURE] = pd.Categorical(table[MEASURE], [axis_label(SHARE), axis_label(STEPS)])
    if rest and known[SETTING].nunique() <= TOGETHER:
        return table, Layout("", (MEASURE,), turned, "value", SETTING)
    return table, Layout(rest[0] if rest else "", (MEASURE, *rest[1:]), turned, "value", "cell")


def _words(row: pd.Series, by: list[str]) -> str:
    """Return the keys and values of a line as text; keys that its cell does not have are left out."""
    return placed(row, [name for name in by if not pd.isna(row[name])])


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw the share or the steps over the control, one line per cell or setting; a triangle marks no median."""
    ax = ax if ax is not None else new_axes()
    everything = table if whole is None else whole
    where = places(everything, layout.x)
    found = list(lines(table, layout, everything))
    for (line, look), at in zip(found, dodged([line for line, _ in found], where, layout.x), strict=True):
        _line(ax, line, at, look)
    if table["column"].iloc[0] == SHARE:
        ax.set_ylim(-0.04, 1.04)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        steps = everything.loc[everything["column"] == STEPS, ["value", "value_high"]]
        ax.set_ylim(0.0, 1.08 * np.nanmax(steps.to_numpy(dtype=np.float64)))
    ax.set(xlabel=axis_label(layout.x), ylabel=str(table[MEASURE].iloc[0]))
    if not pd.api.types.is_numeric_dtype(everything[layout.x]):
        ax.set_xticks(list(where.values()), list(where))
        ax.set_xlim(-0.5, len(where) - 0.5)
    return ax


def _line(ax: Axes, line: pd.DataFrame, at: pd.Series, look: dict[str, Any]) -> None:
    """Draw one line; an unknown bound ends its bar at the point, and a median not reached is drawn at the last step."""
    met = line["beyond"] == 0
    shown, low, high = (line[name][met] for name in ("value", "value_low", "value_high"))
    bars = np.stack([shown - low.fillna(shown), high.fillna(shown) - shown])
    ax.errorbar(at[met], shown, yerr=bars, elinewidth=0.8, capsize=1.5, **look)
    hollow = {"ls": "", "marker": "^", "ms": 5.5, "mfc": "white", "mec": look["color"], "zorder": look["zorder"]}
    ax.plot(at[~met], line["value"][~met], label=None if met.all() else BEYOND, **hollow)


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return the number of trainings that met their criterion, and the setting with the shortest median."""
    share, steps = (table[table["column"] == name] for name in (SHARE, STEPS))
    count = f"{round((share['value'] * share['seeds']).sum())} of {share['seeds'].sum()} trainings met their criterion"
    reached = steps[steps["beyond"] == 0]
    if reached.empty:
        return f"{count}; in no setting did half of them."
    where = (layout.hue, layout.panel, *layout.rows, layout.x)
    by = dict.fromkeys(name for name in where if name and name != MEASURE)
    least = reached.sort_values("value").iloc[0]
    return f"{count}; fastest: {placed(least, tuple(by))}, in {plain(float(least['value']))} steps (median)."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Share of the trainings that met their criterion, with Clopper and Pearson's 95 % intervals over the seeds; and "
    "the number of steps until then, as Kaplan and Meier's median with its 95 % interval, which ends at the point if a "
    "bound is not known; hollow triangles: more than half of the trainings had not met the criterion at the last "
    "allowed step",
    lambda table, layout: 2.2,
)
