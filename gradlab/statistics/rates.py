"""The rate of a run: nats per step that ``ln‖δ‖`` gains on its way back, and how sure one may be of it.

``ln‖δ_k‖`` over the lag k is a random walk with drift. The drift is therefore the mean of its increments; a
least-squares line through the walk has about the right slope, and an interval several times too narrow.

Two intervals, which answer two questions. A **run's** interval (`rate`) is for the drift of this one network on data
like these: it rests on the spread of the increments within the run. A **study's** interval (`across_seeds`) is for the
mean drift of networks that are drawn as these were: it rests on the spread of the runs' rates, which holds each run's
own error and the differences between networks too, and does not use the runs' intervals.
How often either holds the truth is simulated: ``results/coverage/``, by ``python tests/benchmarks/intervals.py``. It
shows the limit too: a slow part under faster noise is not seen in the correlation of neighbours, and a run's interval
is then too narrow, though a study's is not.
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

#: Of fewer than 4 increments neither the spread nor the autocorrelation is known.
FEWEST_FOR_INTERVAL = 4


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
    autocorrelation : float
        Of neighbouring increments, as the interval supposes it: one standard error above the estimate, 0 or more.
    effective : float
        Independent increments that would make the mean as certain as these do.
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
            ("factor", f"{factor(self.rate)} a step"),
            ("zeros", f"{self.zeros} gradients of a sequence at a step are exactly zero"),
        ]


def rate(log_norm: ArrayLike, *, burn_in: int | None = None, level: float = 0.95) -> Rate:
    """Return the mean per-step increment of ``ln‖δ‖`` with its interval.

    The window runs from lag 1 to the first lag at which more than half of the sequences are exactly zero.
    In it, ``g_k = mean_b (ln‖δ_{k+1,b}‖ − ln‖δ_{k,b}‖)`` over the sequences that are not zero, and
    ``rate = mean_k g_k``, which is the run's walk from end to end. The interval within the run is ``rate ± t s``
    with the standard error s and the degrees of freedom of `increments.fit`: the increments are whitened with
    their autocorrelation, taken one standard error too large, and what correlation is left is caught by the
    long-run variance of the whitened ones. The more they correlate, the wider it is; of few that correlate
    strongly it is so wide that a verdict says UNCERTAIN.

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
    """Return the mean of ``value`` over the runs of each group, with a t-interval over them.

    Of n runs that are done, with values r_i: ``mean ± t_{n−1} sd(r) / sqrt(n)``. Every run counts once, however long
    it is or sure of its own value; the runs' own intervals play no part. It covers as it says where the runs differ
    by their seed alone and their values are about normal, as means over many increments are.

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
    quantile = special.stdtrit(np.maximum(table["count"] - 1, 1), (1 + level) / 2)
    half = quantile * table["std"] / np.sqrt(table["count"])
    return table[list(by)].assign(
        **{value: table["mean"], f"{value}_low": table["mean"] - half, f"{value}_high": table["mean"] + half},
        seeds=table["count"],
        excluded=table["size"] - table["count"],
    )


def _half_width(series: NDArray[np.float64], level: float, exact: float) -> tuple[float, float, float]:
    """Return half the width of the mean's interval, the autocorrelation and the effective number of increments."""
    if series.size < FEWEST_FOR_INTERVAL:
        return np.nan, np.nan, np.nan
    found = fit(series, np.ones((series.size, 1)), exact)
    half = 0.0 if found.freedom == np.inf else special.stdtrit(found.freedom, (1 + level) / 2) * found.errors[0]
    return float(half), found.autocorrelation, found.effective
