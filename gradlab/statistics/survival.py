"""How many steps back the gradient keeps a share of itself, where many sequences end before it is lost.

A sequence of T steps that still has more than 1 % at its first input says only that its horizon is longer: it is
censored. The mean of the horizons that were reached is too short, and the more so the longer they are. Kaplan and
Meier's estimate counts a censored sequence for as long as it was seen.

References
----------
E. L. Kaplan, P. Meier (1958), *Journal of the American Statistical Association* 53(282), 457–481.
R. Brookmeyer, J. Crowley (1982), *Biometrics* 38(1), 29–41: a median's interval, from those of the survival curve.
F. J. Dorey, E. L. Korn (1987), *Statistics in Medicine* 6(6), 679–687: the curve's intervals, Clopper and Pearson's
with the effective number that were watched.
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

#: What the columns horizon_e and horizon_1pct of ``runs`` have left of the norm at lag 1.
FRACTIONS = {"horizon_e": float(np.exp(-1.0)), "horizon_1pct": 0.01}
#: A share that is a half but for rounding is a half.
ROUNDING = 1e-12


class Horizon(NamedTuple):
    """A survival estimate of horizons, in steps; nan where the sequences ended too soon to tell.

    Attributes
    ----------
    steps : float
        Kaplan–Meier median: the least number of steps after which half of them or fewer are still above.
    censored : float
        Share that ended before they were below.
    low, high : float
        95 % interval of the median. It supposes nothing of how horizons are distributed, and so has no ends (nan)
        where fewer than 6 were watched, and no upper one where too many ended too soon.
    mean : float
        Restricted mean: of the steps above during the first ``limit`` ones. It is known where the median is not.
    limit : float
        The longest that any was seen.
    number : int
        How many were watched.
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
        longer = f"longer than the {plain(self.limit)} steps that were seen"
        ends = f" [{plain(self.low)}, {'∞' if np.isnan(self.high) else plain(self.high)}]"
        told = longer if np.isnan(self.steps) else f"{plain(self.steps)}{'' if np.isnan(self.low) else ends} steps"
        rows: list[tuple[str, object]] = [
            ("watched", f"{self.number} sequences, {100 * self.censored:.0f} % of which ended before"),
            ("mean", f"{compact(self.mean, 3)} steps, of the first {plain(self.limit)}"),
        ]
        return f"Horizon: {told}" if self.number else "Horizon: not known", rows if self.number else []


def first_below(log_norm: ArrayLike, fraction: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return of each sequence how many steps beyond lag 1 ``‖δ‖`` first lies below a fraction of its norm there.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K, as for `rates.rate`; -inf for exact zeros, nan where a sequence is shorter.
    fraction : float
        What is left of the norm at lag 1, in (0, 1).

    Returns
    -------
    steps : (n,)
        Steps until then, or, where the sequence ended before, the steps that it has beyond lag 1. Sequences that
        are zero at lag 1 already have no horizon and are left out, n ≤ B.
    reached : (n,)
        Whether it lay below before its sequence ended.

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
    """Return the survival estimate over the sequences of `first_below`; see there for what goes in.

    Examples
    --------
    >>> horizon(-0.41 * np.arange(101.0)[:, None], 0.01).steps
    12.0
    """
    return survival(*first_below(log_norm, fraction))


def survival(steps: ArrayLike, reached: ArrayLike, *, level: float = 0.95) -> Horizon:
    """Return the estimate from how long each was seen, ``(n,)``, and whether it was below by then, ``(n,)``.

    ``level`` is that of the median's interval.
    """
    from scipy import stats  # half of the time in which all of gradlab is loaded

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
    """Return the interval of the shares that are still above; ``watched`` are those seen until each time.

    Until the first one is censored the effective number is that of all; later it is smaller.
    """
    number = watched / np.concatenate([[1.0], above[:-1]])
    still = number * above
    low = special.betaincinv(still, number - still + 1, tail)
    high = special.betaincinv(still + 1, number - still, 1 - tail)
    return np.where(still > 0, low, 0.0), high


def _median(times: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the first time at which a half or less is left; nan if that does not come."""
    half = share <= 0.5 + ROUNDING
    return float(times[half.argmax()]) if half.any() else np.nan
