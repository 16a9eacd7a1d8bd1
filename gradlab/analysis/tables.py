"""The tables of a study, from its frames ``runs`` and ``steps``: what figures draw and the page prints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradlab.analysis.factors import (
    SEED,
    Layout,
    arranged,
    control,
    longest,
    numeric_control,
    others,
    varying,
)
from gradlab.analysis.rates import FIRST_LAG, across_seeds
from gradlab.errors import InputError

#: From ``runs`` and ``steps``, the table of one figure and what its columns are in it.
Table = Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, Layout]]
#: The quantity whose increments the rate is the mean of.
QUANTITY = "last_adjoint"
#: Points that all lines of a picture share, and the fewest for one line: smooth at print size, and small.
POINTS, FEWEST_POINTS = 1500, 20


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rate of each combination of what varies, with its 95 % interval over the seeds.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, ``rate``, ``rate_low``, ``rate_high`` (nats/step), ``seeds``,
        ``diverged`` and ``failed`` (runs).
    """
    by = _by(runs)
    placed = arranged(runs)
    counts = placed[by].assign(
        diverged=(placed["status"] == "diverged").astype("int64"),
        failed=(placed["status"] == "failed").astype("int64"),
    )
    counted = counts.groupby(by, dropna=False, observed=True).sum().reset_index()
    return across_seeds(placed, by).drop(columns="excluded").merge(counted, on=by)


def crossings(runs: pd.DataFrame) -> pd.DataFrame:
    """Return where the rate turns from negative to positive as the study's control grows.

    In each seed, the first change of sign between neighbouring values of the control, interpolated linearly.
    Where some seeds do not cross there is no mean: that of the others would lie too low.

    Returns
    -------
    DataFrame
        What varies beside the control, ``crossing``, ``crossing_low``, ``crossing_high`` (mean and 95 %
        t-interval over the seeds), ``seeds`` (how many cross), ``excluded`` (how many do not).

    Raises
    ------
    InputError
        If no number varies that the rate could turn positive along.
    """
    along = numeric_control(runs)
    if along is None:
        raise InputError("runs: expected a number that varies, such as scale; there is none to cross along")
    by = [name for name in _by(runs) if name != along]
    known = arranged(runs).assign(rate=runs["rate"].where(runs["status"] == "done")).sort_values(along)
    groups = known.groupby([*by, SEED], dropna=False, observed=True, sort=False)
    each = [
        dict(zip([*by, SEED], name, strict=True)) | {"crossing": crossing(part[along], part["rate"])}
        for name, part in groups
    ]
    found = pd.DataFrame(each, columns=[*by, SEED, "crossing"])
    table = across_seeds(found.astype(known[by].dtypes.to_dict()), by, "crossing")
    means = ["crossing", "crossing_low", "crossing_high"]
    table[means] = table[means].where(table["excluded"] == 0)
    return table


def crossing(along: ArrayLike, rate: ArrayLike) -> float:
    """Return where ``rate`` first turns from negative to positive between neighbours; nan if nowhere."""
    x, y = np.asarray(along, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    turns = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not turns.size:
        return np.nan
    i = turns[0]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))


def excluded(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what diverged or failed: what varies, ``status``, ``reason`` (a line), ``seeds`` (which, as text)."""
    left = arranged(runs[runs["status"].isin(["diverged", "failed"])])
    by = [*_by(runs), "status", "reason"]
    told = left.assign(reason=[_reason(row) for _, row in left.iterrows()], seeds=left[SEED].astype(str))
    return told.groupby(by, dropna=False, observed=True)["seeds"].agg(", ".join).reset_index()


def decay_table(runs: pd.DataFrame, steps: pd.DataFrame) -> tuple[pd.DataFrame, Layout]:
    """Return ``ln‖δ_k‖ − ln‖δ_1‖`` over the lag at the longest length, with its 95 % interval over seeds."""
    layout = Layout("cell", others(runs, "cell", "length", control(runs)), "lag", "change", control(runs))
    of = ["id", "layer", "direction"]
    kept = arranged(longest(runs))
    walks = steps.loc[(steps["quantity"] == QUANTITY) & (steps["lag"] >= FIRST_LAG), [*of, "lag", "mean_log"]]
    joined = walks.merge(kept[[*of, "status", *_by(runs)]].drop_duplicates(of), on=of)
    if joined.empty:
        raise InputError(f'steps: no rows of the quantity "{QUANTITY}"; hooks = ["gradients"] records them')
    joined["change"] = joined["mean_log"] - joined.sort_values("lag").groupby(of)["mean_log"].transform("first")
    return across_seeds(joined[_drawn(joined, _by(runs))], [*_by(runs), "lag"], "change"), layout


def phase_table(runs: pd.DataFrame, steps: pd.DataFrame) -> tuple[pd.DataFrame, Layout]:
    """Return the rate over the control and the length (or, for a task of one length, another key)."""
    turned = control(runs)
    if turned is None:
        raise InputError("runs: nothing varies but the cell and the seed; there is no plane to draw")
    rest = others(runs, "cell", turned)
    across = "length" if "length" in rest else next(iter(rest), "cell")
    panel = "" if across == "cell" else "cell"
    table = rates(runs).dropna(subset=[across, turned])  # a cell without the key has no place in the plane
    return table, Layout(panel, tuple(name for name in rest if name != across), across, turned)


def rates_table(runs: pd.DataFrame, steps: pd.DataFrame) -> tuple[pd.DataFrame, Layout]:
    """Return the rate over the control, a line a cell, at the longest length."""
    turned = control(runs)
    rest = others(runs, "cell", "length", turned)
    return rates(longest(runs)), Layout(rest[0] if rest else "", rest[1:], turned or "cell", "rate", "cell")


def _by(runs: pd.DataFrame) -> list[str]:
    names = varying(runs)
    return names if "cell" in names else ["cell", *names]


def _drawn(walks: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return which rows are drawn: of each line the first lag, the last, and evenly spaced ones between."""
    lines = walks.groupby(by, observed=True, dropna=False)["lag"]
    count = max(POINTS // lines.ngroups, FEWEST_POINTS)
    return lines.transform(lambda lags: lags.isin(np.linspace(lags.min(), lags.max(), count).round()).astype(bool))


def _reason(row: pd.Series) -> str:
    if row["status"] == "diverged":
        return f"the state is not finite from t = {row['overflow_step']:g} on"
    lines = str(row["error"]).strip().splitlines()
    return lines[0] if lines else "no reason recorded"
