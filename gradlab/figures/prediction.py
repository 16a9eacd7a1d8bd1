"""The rate of each run before training against its training steps, to test whether the rate predicts the steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradlab.figures.criterion import STEPS, TOGETHER
from gradlab.figures.data import settings, with_rates
from gradlab.figures.facets import PAPER, Picture
from gradlab.figures.style import lines, new_axes
from gradlab.formatting.numbers import estimate
from gradlab.schema import axis_label
from gradlab.statistics.estimators import spearman
from gradlab.tables.factors import SETTING, TRAINED, Layout, arranged, control, named, untrained, varying
from gradlab.tables.outcomes import has_criterion
from gradlab.tables.tables import Frames, NotRecorded

#: Legend label of a training that ended before it met its criterion.
UNMET = "criterion not met"
#: The rank correlation of a panel and the ends of its interval.
RANKS = ("rank", "rank_low", "rank_high")
#: Upper end of the y axis relative to the largest number of steps, which leaves room for a line of text.
HEADROOM = 1.25


def tabulate(frames: Frames) -> tuple[pd.DataFrame, Layout]:
    """Return the rate (nats/step) before training and the steps to the criterion of every run.

    There is one panel per length, layer and direction. Colours stand for the settings, or for the cell or the control
    if there are many settings. A run that did not meet its criterion is placed at the last allowed step and has 1 in
    ``beyond``. ``rank``, with ``rank_low`` and ``rank_high``, is the rank correlation of the run's panel; runs that did
    not meet the criterion rank last.

    Raises
    ------
    NotRecorded
        If there are no rates, no criterion, or no rates before training.
    """
    if not has_criterion(frames["runs"]):
        raise NotRecorded('runs: no criterion; [train] until = "loss" or "score" sets one')
    runs = arranged(untrained(with_rates(frames)))
    found = runs[runs["status"] == "done"].dropna(subset=["rate", STEPS])
    if found.empty:
        raise NotRecorded("runs: no rate before training; measure_at = [0, …] records it")
    places: list[str] = [name for name in ("length", "layer", "direction") if name in varying(runs)]
    found = found.assign(beyond=np.isinf(found[STEPS]).astype("int64"), **_ranks(found, places))
    found[STEPS] = found[STEPS].where(found["beyond"] == 0, found["train.steps"]).astype("float64")
    by = [name for name in varying(runs) if name not in places]
    if len(by) > 1 and (words := settings(found, by)).nunique() <= TOGETHER:
        found, by = found.assign(**{SETTING: words}), [SETTING]
    hue = "cell" if "cell" in by else by[0] if len(by) == 1 else control(runs)
    return found, Layout(places[0] if places else "", tuple(places[1:]), "rate", STEPS, hue)


def _ranks(runs: pd.DataFrame, places: list[str]) -> dict[str, pd.Series]:
    """Return, for each run, the rank correlation of its panel and the ends of the interval."""
    pairs = runs.assign(value=runs[STEPS], other=runs["rate"])
    groups = pairs.groupby(places, observed=True) if places else [((), pairs)]
    each = pd.concat([pd.DataFrame([spearman(part)[:3]] * len(part), part.index, RANKS) for _, part in groups])
    return {name: each[name] for name in RANKS}


def draw(table: pd.DataFrame, layout: Layout, *, ax: Axes | None = None, whole: pd.DataFrame | None = None) -> Axes:
    """Draw one point per run, hollow if the criterion was not met, and write the rank correlation above them."""
    ax = ax if ax is not None else new_axes()
    everything = table if whole is None else whole
    for line, look in lines(table, layout, everything):
        met = line["beyond"] == 0
        look = {"marker": "o", **look, "ls": "", "mew": 0.8}
        ax.plot(line[layout.x][met], line[layout.y][met], **look)
        ax.plot(line[layout.x][~met], line[layout.y][~met], **look | {"mfc": "none", "label": None})
    if table["beyond"].any():
        ax.plot([], [], ls="", marker="o", color="0.3", mfc="none", mew=0.8, label=UNMET)
    ax.axvline(0, color="0.3", lw=0.6, zorder=1)
    ax.set_ylim(0.0, HEADROOM * everything[layout.y].max())
    ax.text(0.03, 0.97, _correlation(table.iloc[0]), transform=ax.transAxes, va="top", bbox=PAPER)
    ax.set(xlabel=f"{axis_label(layout.x)}\n{named(TRAINED, 0)}", ylabel=axis_label(layout.y))
    return ax


def _correlation(row: pd.Series) -> str:
    """Return a panel's rank correlation with its interval as text; "" if too little varies for a correlation."""
    return "" if np.isnan(row["rank"]) else f"ρ = {estimate(*row[list(RANKS)])}"


def finding(table: pd.DataFrame, layout: Layout) -> str:
    """Return each panel's rank correlation, and the number of runs that met the criterion."""
    places = [name for name in (layout.panel, *layout.rows) if name]
    panels = table.drop_duplicates(places) if places else table.head(1)
    each = [
        ", ".join([*(named(name, row[name]) for name in places), _correlation(row) or "no rank correlation"])
        for _, row in panels.sort_values(places).iterrows()
    ]
    met = int((table["beyond"] == 0).sum())
    return f"Rate before training and steps to the criterion: {'; '.join(each)}. {met} of {len(table)} runs met it."


PICTURE = Picture(
    tabulate,
    draw,
    finding,
    "Training steps until the criterion was met against the rate of ln‖δ‖ before training, one point per run; hollow "
    "points at the last allowed step: runs that did not meet it; ρ: Spearman's rank correlation of the two within a "
    "seed, in which the hollow points rank last, as the mean over the seeds with its 95 % t-interval",
    lambda table, layout: 2.8,
)
