"""The tables that a study's report prints, computed from its table ``runs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradlab.errors import InputError
from gradlab.statistics.rates import across_seeds
from gradlab.tables.factors import SEED, Layout, arranged, combinations, numeric_control, ran

#: The tables of a study by name (`schema.TABLES`), and optionally ``theory``, the theoretical lines.
Frames = Mapping[str, pd.DataFrame]
#: Function from these to the table of one figure and the roles of its columns.
Table = Callable[[Frames], tuple[pd.DataFrame, Layout]]
#: Columns of ``runs`` with one number per run that a hook records, besides the rate; the four largest exponents.
MEASURES = (
    *("jac_norm2_median", "jac_cond_median", "saturation", "keep_gate_mean"),
    *(f"lyapunov_{rank}" for rank in range(1, 5)),
    *("kaplan_yorke", "entropy", "positive_exponents", "mean_exponent", "path_share"),
    *("state_power", "weight_sensitivity"),
)


#: Positive measures that span decades, and the column names of their geometric means.
GEOMETRIC = {"jac_norm2_median": "jac_norm2_geometric", "jac_cond_median": "jac_cond_geometric"}
#: Bounds of measures; intervals are clipped to them.
BOUNDS = {
    **dict.fromkeys(("saturation", "keep_gate_mean", "path_share"), (0.0, 1.0)),
    **dict.fromkeys(("kaplan_yorke", "entropy", "positive_exponents"), (0.0, np.inf)),
    **dict.fromkeys(("state_power", "weight_sensitivity"), (0.0, np.inf)),
}


class NotRecorded(InputError):
    """The quantity was not recorded; a hook is missing."""


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean rate over the seeds for each combination of the varying keys, with its 95 % interval.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, ``rate``, ``rate_low``, ``rate_high`` (nats/step), ``seeds``,
        ``diverged`` and ``failed`` (numbers of runs).
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
    """Return the value of the control at which the rate turns from negative to positive.

    In each seed it is the first such change of sign between neighbouring values of the control, interpolated linearly.
    If some seeds do not cross, the mean is nan, because the mean of the others would be too low. In an unfinished
    study, values that have not run are skipped, and only the seeds that have run at the most values count.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.

    Returns
    -------
    DataFrame
        The varying keys other than the control, ``crossing``, ``crossing_low``, ``crossing_high`` (mean and 95 %
        t-interval over the seeds, in the unit of the control), ``crossed`` (number of seeds that cross), ``seeds``
        (number of seeds), ``along`` (the control), ``lowest`` and ``highest`` (smallest and largest value of the
        control that has run).

    Raises
    ------
    InputError
        If no numeric key varies.
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
    """Return the runs of the seeds that have run at the most values; in a finished study these are all runs."""
    counts = known.assign(_values=known.groupby([*by, SEED], dropna=False, observed=True)["id"].transform("size"))
    most = counts.groupby(by, dropna=False, observed=True)["_values"].transform("max")
    return known[counts["_values"] == most]


def measures(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the means of the measures that hooks recorded (`MEASURES`), with 95 % intervals over the seeds.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys; the mean of each recorded measure with ``_low`` and ``_high``, clipped to
        `BOUNDS`; and ``seeds`` (number of runs averaged). Measures in `GEOMETRIC` have their geometric mean, under its
        own name. If no measure was recorded, there are only the keys.
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
    """Return the mean of a measure over the seeds with its interval; the geometric mean for those in `GEOMETRIC`."""
    if name in GEOMETRIC:
        geometric = GEOMETRIC[name]
        positive = placed[name].astype("float64").where(placed[name] > 0)
        table = across_seeds(placed.assign(**{geometric: np.log(positive)}), by, geometric)
        return table.assign(**{end: np.exp(table[end]) for end in (geometric, f"{geometric}_low", f"{geometric}_high")})
    table = across_seeds(placed, by, name)
    least, most = BOUNDS.get(name, (-np.inf, np.inf))
    return table.assign(**table[[f"{name}_low", f"{name}_high"]].clip(least, most))


def has_rates(runs: pd.DataFrame) -> bool:
    """Return whether the hooks of the study record rates, even if no rate is known."""
    return "hooks" not in runs or bool(runs["hooks"].str.split(", ").map(lambda names: "gradients" in names).any())


def crossing(along: ArrayLike, rate: ArrayLike) -> float:
    """Return where ``rate`` first turns from negative to positive, interpolated linearly; nan if it never does.

    Parameters
    ----------
    along : array (n,)
        Values of the control, in increasing order.
    rate : array (n,)
        Rates at these values, nats per step.
    """
    x, y = np.asarray(along, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    turns = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not turns.size:
        return np.nan
    i = turns[0]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))


def excluded(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that diverged or failed, one row per combination, status and reason.

    Parameters
    ----------
    runs : DataFrame
        The table ``runs`` of a study.

    Returns
    -------
    DataFrame
        ``cell`` and the other varying keys, ``status``, ``reason`` (one line) and ``seeds`` (their list, as text).
    """
    left = arranged(runs[runs["status"].isin(["diverged", "failed"])])
    by = [*combinations(runs), "status", "reason"]
    reasons = left.assign(reason=left["error"], seeds=left[SEED].astype(str))
    return reasons.groupby(by, dropna=False, observed=True)["seeds"].agg(", ".join).reset_index()
