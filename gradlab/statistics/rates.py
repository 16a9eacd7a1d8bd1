"""The rate of a run: mean increment of ``ln‖δ‖`` per step back in time, in nats per step, with its interval.

``ln‖δ_k‖`` over the lag k is a random walk with drift, and the mean increment estimates the drift. A least-squares
line through the walk has about the right slope, but an interval that is several times too narrow.

Two intervals answer two questions. The interval of a **run** (`rate`) is for the drift of this network on data like
these. It rests on the spread of the increments within the run. The interval of a **study** (`across_seeds`) is for the
mean drift of networks drawn like these. It rests on the spread of the rates over the runs, which includes each run's
error and the differences between networks. It does not use the intervals of the runs.

``python tests/benchmarks/intervals.py`` simulates the coverage of both (``results/coverage/``). It also shows a limit:
if the noise has a slow component below a faster one, neighbouring increments hardly correlate. The interval of a run
is then too narrow; that of a study is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import estimate, factor
from gradlab.statistics.increments import (
    BURN_IN_MOST,
    BURN_IN_SHARE,
    FIRST_LAG,
    checked,
    fit,
    increments,
    resolution,
    window,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BURN_IN_MOST", "BURN_IN_SHARE", "FEWEST_FOR_INTERVAL", "FIRST_LAG", "Rate", "across_seeds", "rate"]

#: Fewest increments that determine the spread and the autocorrelation.
FEWEST_FOR_INTERVAL = 4


@dataclass(frozen=True)
class Rate:
    """The rate of one run with its interval; nan where a number is not known.

    Attributes
    ----------
    rate, low, high : float
        Mean increment of ``ln‖δ‖`` per step back in time, and its interval within the run, nats per step.
    window : int
        Number of increments in the mean.
    first_lag, last_lag : int
        Lags at which the first increment starts and the last one ends; 0 and 0 if there are none.
    zeros : int
        Number of entries, over all lags and sequences, that are exactly zero. They are left out of the mean.
    autocorrelation : float
        Autocorrelation of neighbouring increments that the interval assumes: one standard error above the estimate,
        at least 0.
    effective : float
        Equivalent number of independent increments.
    """

    rate: float
    low: float
    high: float
    window: int
    first_lag: int
    last_lag: int
    zeros: int
    autocorrelation: float = np.nan
    effective: float = np.nan

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
            ("factor", f"{factor(self.rate)} per step"),
            ("zeros", f"{self.zeros} entries (sequence and lag) are exactly zero"),
        ]


def rate(log_norm: ArrayLike, *, burn_in: int | None = None, level: float = 0.95) -> Rate:
    """Return the mean per-step increment of ``ln‖δ‖`` with its interval.

    The window runs from lag 1 to the first lag at which more than half of the sequences are exactly zero.
    In it, ``g_k = mean_b (ln‖δ_{k+1,b}‖ − ln‖δ_{k,b}‖)`` over the sequences that are not zero, and
    ``rate = mean_k g_k``. The interval within the run is ``rate ± t s``, with the standard error s and the degrees of
    freedom of `increments.fit`. There the increments are whitened with their autocorrelation, raised by its standard
    error; the long-run variance of the whitened increments accounts for the remaining correlation. The interval widens
    with the correlation. With few, strongly correlated increments it is so wide that the verdict is UNCERTAIN.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K; -inf for exact zeros, nan where a sequence is shorter. An entry of +inf means
        that the gradient overflowed.
    burn_in : int, optional
        Steps to leave out at the start of each sequence (its largest lags). The default is a tenth of its lags, at
        most 50. At least one increment remains.
    level : float
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Rate
        The rate, its interval, and all numbers that depend on them are nan if an entry is +inf or no increment is
        known. The interval is nan with fewer than 4 increments.

    Raises
    ------
    InputError
        If ``log_norm`` is not (K+1, B), ``burn_in`` is negative, or ``level`` lies outside (0, 1).

    Examples
    --------
    >>> rate(np.log(0.5) * np.arange(9.0)[:, None]).rate
    -0.6931471805599453
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number in (0, 1), got {level!r}")
    logs = checked(log_norm, burn_in)
    zeros = int(np.isneginf(logs).sum())
    lags, series = increments(logs, window(logs, burn_in))
    if np.isposinf(logs).any() or not series.size:
        return Rate(np.nan, np.nan, np.nan, 0, 0, 0, zeros)
    mean, (half, *noise) = float(series.mean()), _half_width(series, level, resolution(logs))
    return Rate(mean, mean - half, mean + half, series.size, int(lags[0]), int(lags[-1]) + 1, zeros, *noise)


def across_seeds(runs: pd.DataFrame, by: Sequence[str], value: str = "rate", *, level: float = 0.95) -> pd.DataFrame:
    """Return the mean of ``value`` over the runs of each group, with a t-interval over the runs.

    For n runs that are done, with values r_i, the interval is ``mean ± t_{n−1} sd(r) / sqrt(n)``. Every run has the
    same weight, whatever its length and its own interval. The coverage is exact if the runs differ by their seed alone
    and their values are normal; means over many increments are approximately normal.

    Parameters
    ----------
    runs : DataFrame
        One row per run, with the columns ``by`` and ``value``. If it has a column ``status``, only runs that are done
        are averaged.
    by : sequence of str
        Columns whose combinations are the groups: everything that varies except the seed.
    value : str
        Column to average.
    level : float
        Coverage of the interval.

    Returns
    -------
    DataFrame
        ``by…``, ``value``, ``<value>_low``, ``<value>_high``, ``seeds`` (number of runs averaged) and ``excluded``
        (number of runs that diverged, failed or have no finite value). One run has no interval: its ends are nan.

    Raises
    ------
    InputError
        If a column of ``by`` or ``value`` is missing.
    """
    missing = [name for name in (*by, value) if name not in runs.columns]
    if missing:
        raise InputError(f"runs: expected the columns {[*by, value]}, missing {missing}")
    used = runs[value].where(runs["status"] == "done") if "status" in runs.columns else runs[value]
    used = used.astype("float64").where(np.isfinite(used.astype("float64")))
    keyed = runs[list(by)].assign(**{value: used})
    groups = keyed.groupby(list(by), dropna=False, observed=True)[value]
    table = groups.agg(["mean", "std", "count", "size"]).reset_index()
    quantile = special.stdtrit(np.maximum(table["count"] - 1, 1), (1 + level) / 2)
    half = quantile * table["std"] / np.sqrt(table["count"])
    return table[list(by)].assign(
        **{value: table["mean"], f"{value}_low": table["mean"] - half, f"{value}_high": table["mean"] + half},
        seeds=table["count"],
        excluded=table["size"] - table["count"],
    )


def _half_width(series: NDArray[np.float64], level: float, exact: float) -> tuple[float, float, float]:
    """Return half the width of the interval of the mean, the autocorrelation and the effective number of increments."""
    if series.size < FEWEST_FOR_INTERVAL:
        return np.nan, np.nan, np.nan
    found = fit(series, np.ones((series.size, 1)), exact)
    half = 0.0 if found.freedom == np.inf else special.stdtrit(found.freedom, (1 + level) / 2) * found.errors[0]
    return float(half), found.autocorrelation, found.effective
