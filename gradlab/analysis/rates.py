"""The rate of a run: nats per step that ``ln‖δ‖`` gains on its way back, and how sure one may be of it.

``ln‖δ_k‖`` over the lag k is a random walk with drift. The drift is therefore the mean of its increments; a
least-squares line through the walk has about the right slope, and an interval several times too narrow.

References
----------
E. Lazarus, D. J. Lewis, J. H. Stock, M. W. Watson (2018), HAR inference: recommendations for practice,
*Journal of Business & Economic Statistics* 36(4), 541–559: the equal-weighted cosine variance and its ν.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.fft import dct

from gradlab.analysis import markup
from gradlab.analysis.numerals import estimate, factor
from gradlab.errors import InputError

#: Lag 0 is where the loss reads the state; from lag 1 on, every step has gone through the recurrence alone.
FIRST_LAG = 1
#: The state forgets where it started while the sequence begins: a tenth of the lags, and 50 steps at most,
#: by when the initial transient of a cell that has a stationary state at all is long over.
BURN_IN_SHARE, BURN_IN_MOST = 0.1, 50
#: The interval rests on ν ≈ 0.4 n^(2/3) averages; with fewer than 4 increments there is not even one.
FEWEST_FOR_INTERVAL = 4
#: Logs are known to a few units in the last place; increments that agree to this many of them are constant.
ULPS = 8


@dataclass(frozen=True)
class Rate:
    """The rate of one run with its interval, in nats per step; nan where it is not known.

    Attributes
    ----------
    rate, low, high : float
        Mean increment of ``ln‖δ‖`` per step back in time, and its interval within the run.
    window : int
        Increments that ``rate`` is the mean of.
    first_lag, last_lag : int
        Lags between which the increments lie; 0 and 0 if there are none.
    zeros : int
        Entries of all lags and sequences that are exactly zero; no average of logs counts them.
    """

    rate: float
    low: float
    high: float
    window: int
    first_lag: int
    last_lag: int
    zeros: int

    def __repr__(self) -> str:
        return markup.plain(f"Rate: {self}", self._rows())

    def _repr_html_(self) -> str:
        return markup.html(f"Rate: {self}", self._rows())

    def __str__(self) -> str:
        """Return the rate with its interval and unit: ``−0.41 [−0.43, −0.39] nats/step``."""
        return f"{estimate(self.rate, self.low, self.high)} nats/step"

    def _rows(self) -> list[tuple[str, object]]:
        return [
            ("mean of", f"{self.window} increments, lags {self.first_lag} to {self.last_lag}"),
            ("factor", f"{factor(self.rate)} a step"),
            ("zeros", f"{self.zeros} gradients of a sequence at a step are exactly zero"),
        ]


def rate(log_norm: ArrayLike, *, burn_in: int | None = None, level: float = 0.95) -> Rate:
    """Return the mean per-step increment of ``ln‖δ‖`` with its interval.

    The window runs from lag 1 to the first lag at which more than half of the sequences are exactly zero.
    In it, ``g_k = mean_b (ln‖δ_{k+1,b}‖ − ln‖δ_{k,b}‖)`` over the sequences that are not zero, and
    ``rate = mean_k g_k``. The interval is ``rate ± t_ν sqrt(ω² / n)`` with the equal-weighted cosine long-run
    variance ω² of g, which holds for increments that are correlated from step to step and not equally spread.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K; -inf for exact zeros, nan where a sequence is shorter. If one entry is
        +inf the gradient overflowed, and nothing is known: every number of the result is nan.
    burn_in : int, optional
        Steps at the start of each sequence (its largest lags) that are left out; a tenth of its lags and at
        most 50 unless given, and never so many that no increment remains.
    level : float
        Coverage of the interval.

    Raises
    ------
    InputError
        If ``log_norm`` is not (K+1, B), ``burn_in`` is negative, or ``level`` lies outside (0, 1).

    Examples
    --------
    >>> rate(np.log(0.5) * np.arange(9.0)[:, None]).rate
    -0.6931471805599453
    """
    logs = _checked(log_norm, burn_in, level)
    zeros = int(np.isneginf(logs).sum())
    if np.isposinf(logs).any():
        return Rate(np.nan, np.nan, np.nan, 0, 0, 0, zeros)
    lags, series = _increments(logs, burn_in)
    if not series.size:
        return Rate(np.nan, np.nan, np.nan, 0, 0, 0, zeros)
    mean = float(series.mean())
    half = _half_width(series, level, _resolution(logs))
    return Rate(mean, mean - half, mean + half, series.size, int(lags[0]), int(lags[-1]) + 1, zeros)


def horizon(log_norm: ArrayLike, fraction: float) -> tuple[float, float]:
    """Return how many steps beyond lag 1 ``‖δ‖`` first lies below ``fraction`` of its norm at lag 1.

    Parameters
    ----------
    log_norm : array (K+1, B)
        As for `rate`.
    fraction : float
        What is left of the norm at lag 1, in (0, 1).

    Returns
    -------
    steps : float
        Median over the sequences; nan if the median sequence ended before it got there.
    censored : float
        Share of the sequences that ended before. Sequences that are zero at lag 1 already have no horizon and
        count in neither number; if there is no other, both are nan.

    Raises
    ------
    InputError
        If ``log_norm`` is not (K+1, B), or ``fraction`` lies outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction: expected a number in (0, 1), got {fraction!r}")
    logs = _checked(log_norm, None, 0.5)[FIRST_LAG:]
    logs = logs[:, np.isfinite(logs[0])] if len(logs) else logs[:, :0]
    if not logs.size:
        return np.nan, np.nan
    below = logs < logs[0] + np.log(fraction)
    steps = np.where(below.any(axis=0), below.argmax(axis=0), np.inf)
    median = float(np.median(steps))
    return (median if np.isfinite(median) else np.nan), float(np.isinf(steps).mean())


def across_seeds(runs: pd.DataFrame, by: Sequence[str], value: str = "rate", *, level: float = 0.95) -> pd.DataFrame:
    """Return the mean of ``value`` over the runs of each group, with a t-interval over them.

    Parameters
    ----------
    runs : DataFrame
        One row a run, with the columns ``by`` and ``value``; if it has a column ``status``, only the rows
        that are done are averaged.
    by : sequence of str
        Columns whose combinations are the groups: everything that varies but the seed.
    value : str
        Column to average.
    level : float
        Coverage of the interval.

    Returns
    -------
    DataFrame
        ``by…``, ``value``, ``<value>_low``, ``<value>_high``, ``seeds`` (runs averaged) and ``excluded``
        (runs that diverged, failed or have no value). With one run there is no interval: nan.
    """
    missing = [name for name in (*by, value) if name not in runs.columns]
    if missing:
        raise InputError(f"runs: expected the columns {[*by, value]}, missing {missing}")
    used = runs[value].where(runs["status"] == "done") if "status" in runs.columns else runs[value]
    used = used.astype("float64").where(np.isfinite(used.astype("float64")))
    keyed = runs[list(by)].assign(**{value: used})
    groups = keyed.groupby(list(by), dropna=False, observed=True)[value]
    table = groups.agg(["mean", "std", "count", "size"]).reset_index()
    quantile = stats.t.ppf((1 + level) / 2, np.maximum(table["count"] - 1, 1))
    half = quantile * table["std"] / np.sqrt(table["count"])
    return table[list(by)].assign(
        **{value: table["mean"], f"{value}_low": table["mean"] - half, f"{value}_high": table["mean"] + half},
        seeds=table["count"],
        excluded=table["size"] - table["count"],
    )


def _checked(log_norm: ArrayLike, burn_in: int | None, level: float) -> NDArray[np.float64]:
    logs = np.asarray(log_norm, dtype=np.float64)
    if logs.ndim != 2:
        raise InputError(f"log_norm: expected (K+1, B), lag 0 … K of B sequences; got shape {logs.shape}")
    if burn_in is not None and burn_in < 0:
        raise InputError(f"burn_in: expected a number of steps, 0 or more; got {burn_in!r}")
    if not 0 < level < 1:
        raise InputError(f"level: expected a number in (0, 1), got {level!r}")
    return logs


def _increments(logs: NDArray[np.float64], burn_in: int | None) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the lags at which the window's increments start, and their batch means, both ``(n,)``."""
    inside = logs[: _window_end(logs)]
    known = np.isfinite(inside) & (np.arange(len(inside))[:, None] <= _last_lags(logs, burn_in))
    known[:FIRST_LAG] = False
    both = known[1:] & known[:-1]
    steps = np.subtract(inside[1:], inside[:-1], where=both, out=np.zeros(both.shape))
    lags = np.flatnonzero(both.any(axis=1))
    return lags, steps[lags].sum(axis=1) / both[lags].sum(axis=1)


def _window_end(logs: NDArray[np.float64]) -> int:
    """Return the first lag at which more than half of the sequences that reach it are zero, else K+1."""
    mostly_zero = 2 * np.isneginf(logs).sum(axis=1) > (~np.isnan(logs)).sum(axis=1)
    return int(mostly_zero.argmax()) if mostly_zero.any() else len(logs)


def _last_lags(logs: NDArray[np.float64], burn_in: int | None) -> NDArray[np.float64]:
    """Return the last lag of each sequence ``(B,)`` that lies behind its burn-in."""
    lengths = np.where(np.isnan(logs), 0, np.arange(len(logs))[:, None]).max(axis=0, initial=0)
    default = np.minimum(np.floor(BURN_IN_SHARE * lengths), BURN_IN_MOST)
    spare = np.maximum(lengths - FIRST_LAG - 1, 0)
    last: NDArray[np.float64] = lengths - np.minimum(default if burn_in is None else burn_in, spare)
    return last


def _half_width(series: NDArray[np.float64], level: float, resolution: float) -> float:
    """Return half the width of the mean's interval: t_ν on ν cosine averages (Lazarus et al. 2018)."""
    n = series.size
    if n < FEWEST_FOR_INTERVAL:
        return np.nan
    if np.ptp(series) <= resolution:
        return 0.0
    nu = int(0.4 * n ** (2 / 3))
    averages = dct(series - series.mean(), norm="ortho")[1 : nu + 1]
    return float(stats.t.ppf((1 + level) / 2, nu) * np.sqrt(np.mean(averages**2) / n))


def _resolution(logs: NDArray[np.float64]) -> float:
    """Return the difference between increments below which rounding of the logs explains it."""
    return float(ULPS * np.finfo(np.float64).eps * np.max(np.abs(logs), where=np.isfinite(logs), initial=0))
