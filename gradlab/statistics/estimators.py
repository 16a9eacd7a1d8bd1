"""Eight simple statistics over the runs of a study, each one number with its 95 % interval.

Runs of one seed share their data and their draw of weights, so only the seeds are independent. If runs differ in
more than the seed, the number is computed within each seed, and the interval is a t-interval over the seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from gradlab.statistics.rates import across_seeds
from gradlab.statistics.survival import Horizon, survival

Array = NDArray[Any]
LEVEL = 0.95


class Estimate(NamedTuple):
    """A number with its 95 % interval.

    Attributes
    ----------
    value : float
        The number; nan if it is not known.
    low, high : float
        Ends of the interval; nan if they are not known.
    runs : int
        Number of runs, or pairs of runs, behind it.
    """

    value: float
    low: float
    high: float
    runs: int


class Statistic(NamedTuple):
    """A statistic over runs, with its description.

    Attributes
    ----------
    of : callable
        Maps a table with the columns ``seed`` and ``value`` (and ``other`` for two samples) to an `Estimate`.
    words : str
        Name in a sentence, with the placeholders ``{column}``, ``{name}`` and ``{against}``.
    interval : str
        Kind of the interval.
    needs : str
        Key that an entry needs besides ``column`` and ``where``: "over", "against" or "" for none.
    ranks : bool
        Whether infinite values are allowed, such as the steps to an event that never occurred.
    """

    of: Callable[[pd.DataFrame], Estimate]
    words: str
    interval: str
    needs: str = ""
    ranks: bool = False


def mean(rows: pd.DataFrame) -> Estimate:
    """Return the mean of ``value`` with its t-interval over the rows.

    Parameters
    ----------
    rows : DataFrame
        With the column ``value``.

    Returns
    -------
    Estimate
        The mean and its t-interval, in the unit of ``value``.
    """
    table = across_seeds(rows.assign(all="runs"), ["all"], "value", level=LEVEL)
    if table.empty:
        return Estimate(np.nan, np.nan, np.nan, 0)
    value, low, high, runs = table[["value", "value_low", "value_high", "seeds"]].iloc[0]
    return Estimate(float(value), float(low), float(high), int(runs))


def median(rows: pd.DataFrame) -> Estimate:
    """Return the median of ``value`` with an interval that covers it with at least 95 % probability.

    The ends are the k-th smallest and the k-th largest of the n values. Here k is the largest number for which the
    binomial tail P(X < k), X ~ B(n, ½), is at most 2.5 %. Fewer than 6 values have no interval.

    Parameters
    ----------
    rows : DataFrame
        With the column ``value``; entries may be infinite.

    Returns
    -------
    Estimate
        The median and its interval, in the unit of ``value``.
    """
    values = np.sort(rows["value"].to_numpy(float))
    n = len(values)
    k = int(np.searchsorted(special.bdtr(np.arange(n), n, 0.5), (1 - LEVEL) / 2, side="right"))
    low, high = (values[k - 1], values[n - k]) if k else (np.nan, np.nan)
    return Estimate(_middle(values), float(low), float(high), n)


def share(rows: pd.DataFrame) -> Estimate:
    """Return the share of ones in ``value``, which holds zeros and ones, with Wilson's interval (1927).

    Parameters
    ----------
    rows : DataFrame
        With the column ``value``.

    Returns
    -------
    Estimate
        The share and its interval, within [0, 1].
    """
    ones, n = int(rows["value"].sum()), len(rows)
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0)
    p, z2 = ones / n, float(special.ndtri((1 + LEVEL) / 2)) ** 2
    middle, half = (p + z2 / (2 * n)), np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return Estimate(p, float(low) if ones else 0.0, float(high) if ones < n else 1.0, n)


def ratio(rows: pd.DataFrame) -> Estimate:
    """Return the geometric mean over the seeds of ``value / other``.

    The interval is the t-interval of the mean logarithm, exponentiated. All are nan unless every number is positive.

    Parameters
    ----------
    rows : DataFrame
        With the columns ``value`` and ``other``, one row per seed.

    Returns
    -------
    Estimate
        The ratio, without a unit.
    """
    pairs = rows.dropna(subset=["value", "other"])
    if not (len(pairs) and (pairs[["value", "other"]] > 0).all(axis=None)):
        return Estimate(np.nan, np.nan, np.nan, len(pairs))
    value, low, high, runs = mean(pairs.assign(value=np.log(pairs["value"] / pairs["other"])))
    return Estimate(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)), runs)


def median_ratio(rows: pd.DataFrame) -> Estimate:
    """Return the Kaplan–Meier median of ``value`` divided by that of ``other``; infinite entries count as censored.

    The interval combines the 97.5 % intervals of the two medians, which hold together with at least 95 % probability
    (Bonferroni). Its upper end is infinite if that of ``value`` is unbounded. Fewer than 7 runs have no interval.

    Parameters
    ----------
    rows : DataFrame
        With the columns ``value`` and ``other``, one row per seed.

    Returns
    -------
    Estimate
        The ratio, without a unit.
    """
    pairs = rows.dropna(subset=["value", "other"])
    value, other = (_censored(pairs[name].to_numpy(float)) for name in ("value", "other"))
    if np.isnan([value.steps, other.steps]).any() or not (pairs[["value", "other"]] > 0).all(axis=None):
        return Estimate(np.nan, np.nan, np.nan, len(pairs))
    return Estimate(value.steps / other.steps, value.low / other.high, value.high / other.low, len(pairs))


def difference(rows: pd.DataFrame) -> Estimate:
    """Return the mean over the seeds of ``value − other``, with its t-interval.

    Parameters
    ----------
    rows : DataFrame
        With the columns ``value`` and ``other``, one row per seed.

    Returns
    -------
    Estimate
        The difference, in the unit of ``value``.
    """
    return mean(rows.assign(value=rows["value"] - rows["other"]))


def slope(rows: pd.DataFrame) -> Estimate:
    """Return the least-squares slope of ``value`` on ``other`` within each seed, averaged over the seeds.

    Parameters
    ----------
    rows : DataFrame
        With the columns ``seed``, ``value`` and ``other``.

    Returns
    -------
    Estimate
        The slope, in units of ``value`` per unit of ``other``.
    """
    from scipy import stats  # imported late: every process of a study would load it otherwise

    return _within_seeds(rows, lambda x, y: float(stats.linregress(x, y).slope))


def spearman(rows: pd.DataFrame) -> Estimate:
    """Return Spearman's rank correlation within each seed, averaged over the seeds.

    The t-interval over the seeds is clipped to [−1, 1].

    Parameters
    ----------
    rows : DataFrame
        With the columns ``seed``, ``value`` and ``other``.

    Returns
    -------
    Estimate
        The correlation, within [−1, 1].
    """
    value, low, high, runs = _within_seeds(rows, _rank_correlation)
    return Estimate(value, float(np.clip(low, -1, 1)), float(np.clip(high, -1, 1)), runs)


STATISTICS: dict[str, Statistic] = {
    "mean": Statistic(mean, "mean of {column}", "t over the seeds"),
    "median": Statistic(median, "median of {column}", "exact, between order statistics", ranks=True),
    "share": Statistic(share, "share of runs {name}", "Wilson"),
    "ratio": Statistic(ratio, "ratio of {column}, paired by seed", "t over the seeds, of the logarithm", "over"),
    "median_ratio": Statistic(
        median_ratio, "ratio of the medians (Kaplan–Meier) of {column}", "exact, of both medians", "over", ranks=True
    ),
    "difference": Statistic(difference, "difference of {column}, paired by seed", "t over the seeds", "over"),
    "slope": Statistic(slope, "slope of {column} on {against} within a seed", "t over the seeds", "against"),
    "spearman": Statistic(
        spearman, "rank correlation of {column} and {against} within a seed", "t over the seeds", "against", ranks=True
    ),
}


def _within_seeds(rows: pd.DataFrame, of: Callable[[Array, Array], float]) -> Estimate:
    """Return the mean over the seeds of ``of(other, value)``; seeds with a single value of ``other`` are left out."""
    pairs = [part[["other", "value"]].to_numpy(float).T for _, part in rows.groupby("seed")]
    found = [of(x, y) for x, y in pairs if len(np.unique(x)) > 1]
    return mean(pd.DataFrame({"value": found}, dtype=float))._replace(runs=len(rows))


def _rank_correlation(x: Array, y: Array) -> float:
    from scipy import stats

    return float(stats.spearmanr(x, y).statistic) if len(np.unique(y)) > 1 else np.nan


def _censored(values: Array) -> Horizon:
    """Return the survival estimate of values, with the infinite ones censored at the largest finite value.

    ``high`` is inf if the interval has a lower end and no upper end.
    """
    reached = np.isfinite(values)
    last = values[reached].max(initial=0.0)
    found = survival(np.where(reached, values, last), reached, level=(1 + LEVEL) / 2)
    unbounded = np.isnan(found.high) and not np.isnan(found.low)
    return found._replace(high=np.inf) if unbounded else found


def _middle(values: Array) -> float:
    """Return the median of sorted values, which may be infinite."""
    n = len(values)
    if not n:
        return np.nan
    low, high = values[(n - 1) // 2], values[n // 2]
    return float(low) if low == high else float((low + high) / 2)  # the sum of two equal values may overflow
