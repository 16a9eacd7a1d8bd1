"""The horizon: how many steps back the gradient norm stays above a given fraction, with censored sequences.

A sequence is censored if it ends before its gradient norm falls below the fraction: its horizon is longer than the
sequence. The mean of the horizons that were reached is therefore too short. The Kaplan–Meier estimate counts a
censored sequence for as long as it was observed.

References
----------
E. L. Kaplan, P. Meier (1958), *Journal of the American Statistical Association* 53(282), 457–481.
R. Brookmeyer, J. Crowley (1982), *Biometrics* 38(1), 29–41: the interval of a median from those of the survival curve.
F. J. Dorey, E. L. Korn (1987), *Statistics in Medicine* 6(6), 679–687: intervals of the curve, Clopper–Pearson with the
effective number of sequences at risk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import compact, plain
from gradlab.statistics.increments import FIRST_LAG, checked, lengths

if TYPE_CHECKING:
    pass

#: Fractions of the norm at lag 1 that define the columns horizon_e and horizon_1pct of ``runs``.
FRACTIONS = {"horizon_e": float(np.exp(-1.0)), "horizon_1pct": 0.01}
#: Tolerance for rounding when a share is compared with one half.
ROUNDING = 1e-12


class Horizon(NamedTuple):
    """A survival estimate of horizons, in steps.

    Attributes
    ----------
    steps : float
        Kaplan–Meier median: the smallest number of steps after which at most half of the sequences are still above the
        fraction; nan if the curve never falls to one half.
    censored : float
        Share of the sequences that ended above the fraction.
    low, high : float
        95 % interval of the median, for any distribution of horizons. Both ends are nan with fewer than 6 sequences;
        the upper end is nan if too many sequences are censored.
    mean : float
        Restricted mean: the mean number of steps above the fraction within the first ``limit`` steps. It is known even
        if the median is not.
    limit : float
        Longest observation, in steps.
    number : int
        Number of sequences.
    """

    steps: float
    censored: float
    low: float
    high: float
    mean: float
    limit: float
    number: int

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        longer = f"longer than the {plain(self.limit)} steps observed"
        ends = f" [{plain(self.low)}, {'∞' if np.isnan(self.high) else plain(self.high)}]"
        text = longer if np.isnan(self.steps) else f"{plain(self.steps)}{'' if np.isnan(self.low) else ends} steps"
        rows: list[tuple[str, object]] = [
            ("observed", f"{self.number} sequences, {100 * self.censored:.0f} % of them censored"),
            ("mean", f"{compact(self.mean, 3)} steps, within the first {plain(self.limit)}"),
        ]
        return f"Horizon: {text}" if self.number else "Horizon: not known", rows if self.number else []


def first_below(log_norm: ArrayLike, fraction: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the steps beyond lag 1 after which ``‖δ‖`` is first below a fraction of its norm at lag 1, per sequence.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K, as for `rates.rate`; -inf for exact zeros, nan where a sequence is shorter.
    fraction : float
        Fraction of the norm at lag 1, in (0, 1).

    Returns
    -------
    steps : array (n,)
        Steps until ``‖δ‖`` is below; for a censored sequence, the steps that it has beyond lag 1. Sequences that are
        zero or not finite at lag 1 have no horizon and are left out, so n ≤ B.
    reached : array (n,) of bool
        Whether ``‖δ‖`` fell below before the sequence ended.

    Raises
    ------
    InputError
        If ``log_norm`` is not (K+1, B), or ``fraction`` lies outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction: expected a number in (0, 1), got {fraction!r}")
    logs = checked(log_norm)
    kept = np.isfinite(logs[FIRST_LAG]) if len(logs) > FIRST_LAG else np.zeros(logs.shape[1], bool)
    logs = logs[:, kept]
    below = logs[FIRST_LAG:] < logs[FIRST_LAG : FIRST_LAG + 1] + np.log(fraction)
    reached = below.any(axis=0)
    ends = lengths(logs) - FIRST_LAG
    first = below.argmax(axis=0) if below.size else ends
    return np.where(reached, first, ends).astype(np.float64), reached


def horizon(log_norm: ArrayLike, fraction: float) -> Horizon:
    """Return the survival estimate of the horizons of a batch.

    Parameters
    ----------
    log_norm, fraction
        As for `first_below`.

    Returns
    -------
    Horizon
        The estimate over the sequences, in steps.

    Raises
    ------
    InputError
        As for `first_below`.

    Examples
    --------
    >>> horizon(-0.41 * np.arange(101.0)[:, None], 0.01).steps
    12.0
    """
    return survival(*first_below(log_norm, fraction))


def survival(steps: ArrayLike, reached: ArrayLike, *, level: float = 0.95) -> Horizon:
    """Return the survival estimate of n durations, some of them censored.

    Parameters
    ----------
    steps : array (n,)
        Observed durations, in steps.
    reached : array (n,) of bool
        Whether the event occurred at the end of each duration; False for a censored one.
    level : float
        Coverage of the interval of the median.

    Returns
    -------
    Horizon
        The estimate; all its numbers but ``number`` are nan if n is 0.
    """
    from scipy import stats  # imported late: it takes half of the time of importing gradlab

    seen, event = np.asarray(steps, np.float64), np.asarray(reached, bool)
    if not seen.size:
        return Horizon(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    curve = stats.ecdf(stats.CensoredData(uncensored=seen[event], right=seen[~event])).sf
    times, above = np.concatenate([[0.0], curve.quantiles]), np.concatenate([[1.0], curve.probabilities])
    low, high = _bounds(above, (seen[:, None] >= times).sum(axis=0), (1 - level) / 2)
    median, least, most = (_median(times, share) for share in (above, low, high))
    limit = float(seen.max())
    mean = float(np.diff(times, append=limit) @ above)
    return Horizon(median, float((~event).mean()), least or np.nan, most, mean, limit, seen.size)


def _bounds(
    above: NDArray[np.float64], watched: NDArray[np.int64], tail: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the intervals of the survival curve ``above``, ``(m,)`` each.

    ``watched (m,)`` counts the sequences that were still observed at each time. The effective number is the number of
    all sequences before the first censoring, and smaller after it.
    """
    number = watched / np.concatenate([[1.0], above[:-1]])
    still = number * above
    low = special.betaincinv(still, number - still + 1, tail)
    high = special.betaincinv(still + 1, number - still, 1 - tail)
    return np.where(still > 0, low, 0.0), high


def _median(times: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the first time at which ``share`` is at most ½; nan if it never drops to ½."""
    half = share <= 0.5 + ROUNDING
    return float(times[half.argmax()]) if half.any() else np.nan
