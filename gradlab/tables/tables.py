"""The tables of a study, from its frame ``runs``: what the page prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradlab.errors import InputError
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SEED, Layout, arranged, combinations, numeric_control, ran

#: A study's tables by name (`schema.TABLES`), and ``theory``, which may be missing: the lines that theory adds.
Frames = Mapping[str, pd.DataFrame]
#: From these, the table of one figure and what its columns are in it.
Table = Callable[[Frames], tuple[pd.DataFrame, Layout]]
#: Columns of ``runs`` with one number a run that a hook recorded, beside the rate; of the exponents the largest.
MEASURES = (
    *("jac_norm2_median", "jac_cond_median", "saturation", "keep_gate_mean"),
    *(f"lyapunov_{rank}" for rank in range(1, 5)),
    *("kaplan_yorke", "entropy", "positive_exponents", "mean_exponent", "path_share"),
    *("state_power", "weight_sensitivity"),
)


#: Measures that are positive and spread over decades: their logarithms are averaged, under a name that says so.
GEOMETRIC = {"jac_norm2_median": "jac_norm2_geometric", "jac_cond_median": "jac_cond_geometric"}
#: Between which bounds a measure lies: an interval does not leave them.
BOUNDS = {
    **dict.fromkeys(("saturation", "keep_gate_mean", "path_share"), (0.0, 1.0)),
    **dict.fromkeys(("kaplan_yorke", "entropy", "positive_exponents"), (0.0, np.inf)),
    **dict.fromkeys(("state_power", "weight_sensitivity"), (0.0, np.inf)),
}


class NotRecorded(InputError):
    """What a figure shows was not measured, for want of a hook."""


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rate of each combination of what varies and has run, with its 95 % interval over the seeds.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, ``rate``, ``rate_low``, ``rate_high`` (nats/step), ``seeds``,
        ``diverged`` and ``failed`` (runs).
    """
    by = combinations(runs)
    placed = ran(arranged(runs))
    counts = placed[by].assign(
        diverged=(placed["status"] == "diverged").astype("int64"),
        failed=(placed["status"] == "failed").astype("int64"),
    )
    counted = counts.groupby(by, dropna=False, observed=True).sum().reset_index()
    return across_seeds(placed, by).drop(columns="excluded").merge(counted, on=by)


def crossings(runs: pd.DataFrame) -> pd.DataFrame:
    """Return where the rate turns from negative to positive as the study's control grows.

    In each seed, the first change of sign between neighbouring values of the control, interpolated linearly.
    Where some seeds do not cross there is no mean: that of the others would lie too low. In a study that is not
    finished, values that have not run are no neighbours, and a seed counts that has run at the most values.

    Returns
    -------
    DataFrame
        What varies beside the control, ``crossing``, ``crossing_low``, ``crossing_high`` (mean and 95 %
        t-interval over the seeds), ``crossed`` (how many seeds cross), ``seeds`` (of how many), ``along`` (the
        control), ``lowest`` and ``highest`` (its first and last value that has run).

    Raises
    ------
    InputError
        If no number varies that the rate could turn positive along.
    """
    along = numeric_control(runs)
    if along is None:
        raise InputError("runs: expected a number that varies, such as scale; there is none to cross along")
    by = [name for name in combinations(runs) if name != along]
    known = arranged(runs).assign(rate=runs["rate"].where(runs["status"] == "done")).sort_values(along)
    known = _furthest(ran(known), by)
    groups = known.groupby([*by, SEED], dropna=False, observed=True, sort=False)
    each = [
        dict(zip([*by, SEED], name, strict=True)) | {"crossing": crossing(part[along], part["rate"])}
        for name, part in groups
    ]
    found = pd.DataFrame(each, columns=[*by, SEED, "crossing"])
    table = across_seeds(found.astype(known[by].dtypes.to_dict()), by, "crossing")
    means = ["crossing", "crossing_low", "crossing_high"]
    table[means] = table[means].where(table["excluded"] == 0)
    table = table.rename(columns={"seeds": "crossed"}).assign(seeds=table["seeds"] + table["excluded"], along=along)
    ends = known.groupby(by, dropna=False, observed=True)[along].agg(lowest="min", highest="max").reset_index()
    return table.drop(columns="excluded").merge(ends, on=by)


def _furthest(known: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the runs of those seeds that have run at the most values: all, where a study is finished."""
    counts = known.assign(_values=known.groupby([*by, SEED], dropna=False, observed=True)["id"].transform("size"))
    most = counts.groupby(by, dropna=False, observed=True)["_values"].transform("max")
    return known[counts["_values"] == most]


def measures(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the hooks recorded of each run (`MEASURES`, whichever are there), with 95 % intervals over the seeds.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, of each measure its mean (of `GEOMETRIC` the geometric one, under its name
        there) and ``_low`` and ``_high`` (within `BOUNDS`), and ``seeds`` (runs averaged);
        without a column beyond the keys where no hook recorded any.
    """
    by, placed = combinations(runs), ran(arranged(runs))
    names = [name for name in MEASURES if name in runs and runs[name].notna().any()]
    table = placed[by].drop_duplicates()
    for name in names:
        means = _mean(placed, by, name).drop(columns="excluded")
        table = table.merge(means.rename(columns={"seeds": f"{name}_seeds"}), on=by)
    counts = [f"{name}_seeds" for name in names]
    return table.drop(columns=counts).assign(seeds=table[counts].max(axis=1)) if names else table


def _mean(placed: pd.DataFrame, by: list[str], name: str) -> pd.DataFrame:
    """Return the mean of a measure over the seeds, of logarithms where it is one of `GEOMETRIC`, with its interval."""
    if name in GEOMETRIC:
        told = GEOMETRIC[name]
        positive = placed[name].astype("float64").where(placed[name] > 0)
        table = across_seeds(placed.assign(**{told: np.log(positive)}), by, told)
        return table.assign(**{end: np.exp(table[end]) for end in (told, f"{told}_low", f"{told}_high")})
    table = across_seeds(placed, by, name)
    least, most = BOUNDS.get(name, (-np.inf, np.inf))
    return table.assign(**table[[f"{name}_low", f"{name}_high"]].clip(least, most))


def has_rates(runs: pd.DataFrame) -> bool:
    """Return whether the study's hooks record rates, known or not."""
    return "hooks" not in runs or bool(runs["hooks"].str.split(", ").map(lambda names: "gradients" in names).any())


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
    by = [*combinations(runs), "status", "reason"]
    told = left.assign(reason=left["error"], seeds=left[SEED].astype(str))
    return told.groupby(by, dropna=False, observed=True)["seeds"].agg(", ".join).reset_index()
