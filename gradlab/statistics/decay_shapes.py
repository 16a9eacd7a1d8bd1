"""The shape of a gradient's decay: exponential, power law, flat, non-monotone, or undecided.

``ln‖δ_k‖`` is a random walk, and many curves fit a random walk well. R² or AIC of such a fit therefore proves nothing.
The noise of its increments can be estimated (`increments.fit`), so each shape is a profile of the mean increment:

* exponential, ``ln‖δ_k‖ ~ r k``: the increment is r at every lag k.
* power law in the lag, ``‖δ_k‖ ~ k^−p``: the increment is ``−p ln((k+1)/k)``.
* power law in time, ``‖δ_k‖ ~ t^p`` with t = T − k + 1: the increment is ``−p ln(t/(t−1))``. It arises where the state
  itself slows down along the sequence (``h = tanh(h)``: p = 3/2). Its half-life depends on t.
* flat: the mean increment is not distinguishable from 0, and its interval is narrow.
* non-monotone: the increments have one sign at first and the opposite sign later, and both are significant.

Each power law is fitted together with a constant rate. For the non-monotone shape, two rates are fitted as well: one
before the turn and one after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import compact, plus_minus
from gradlab.statistics.increments import (
    FIRST_LAG,
    Fit,
    checked,
    fit,
    increments,
    last_lags,
    lengths,
    resolution,
    window,
)

Array = NDArray[np.float64]

EXPONENTIAL, POWER_LAW, FLAT, NON_MONOTONE, UNDECIDED = "exponential", "power law", "flat", "non-monotone", "undecided"
WORDS = (EXPONENTIAL, POWER_LAW, FLAT, NON_MONOTONE, UNDECIDED)
#: Fewest increments that determine two parameters and an autocorrelation.
FEWEST = 8
#: Three effects are tested (constant rate, power law, turn), so each is tested at a third of 5 % (Bonferroni).
LEVEL = 1 - 0.05 / 3
#: The place of a turn is fitted too, so its level is divided by the rough number of independent places.
TURNS = 10
#: Smallest share of the window on either side of a turn.
SIDE = 1 / 16
#: Offsets c of the power laws ``(k + c)^−p`` that are tried: a power law may hold only from some lag on.
OFFSETS = (0, 2, 8)
#: Largest change over the window, in nats, that the interval of a flat mean may include: a factor of 100.
HIDDEN = float(np.log(100.0))
#: A change over the window below one per cent counts as flat, even if it is significant.
NOTHING = 0.01
#: Smallest change on either side of a turn, in nats: a factor of 2.
LEG = float(np.log(2.0))


@dataclass(frozen=True)
class Shape:
    """The shape of ``‖δ‖`` over the lag; numbers that do not apply to the shape are nan.

    Attributes
    ----------
    word : str
        exponential, power law, flat, non-monotone or undecided.
    rate : float
        Exponential: the mean increment in nats per step back in time, as in `rates.rate`.
    half_life : float
        Decaying exponential: ``ln 2 / −rate``, in steps.
    exponent : float
        Power law: p in ``‖δ‖ ~ k^−p`` or ``~ t^p``, positive if ``‖δ‖`` decays backward in time.
    of : str
        Power law: its variable, "lag" (k) or "time" (t, steps since the sequence began). Otherwise "".
    turning_lag : float
        Non-monotone: the lag of the smallest or the largest ``ln‖δ‖``, in steps.
    evidence : str
        The estimates behind the word, in one line.
    """

    word: str
    rate: float = np.nan
    half_life: float = np.nan
    exponent: float = np.nan
    of: str = ""
    turning_lag: float = np.nan
    evidence: str = ""

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        """Return the title and the rows (name, text) of the known values."""
        known = (
            ("rate", self.rate, " nats/step"),
            ("half-life", self.half_life, " steps"),
            ("exponent", self.exponent, f", of {self.of}"),
            ("turns at", self.turning_lag, ", the lag"),
        )
        rows = [(name, f"{compact(value, 3)}{unit}") for name, value, unit in known if not np.isnan(value)]
        return f"Shape: {self.word}", [*rows, ("because", self.evidence)]


class _Profile(NamedTuple):
    """Increments and the profiles they are fitted with.

    Attributes
    ----------
    lags : (n,)
        Lag at which each increment starts.
    series : (n,)
        Increments of ``ln‖δ‖``, nats.
    spans : (n,)
        Number of lags that each increment covers: the profile of a rate of 1.
    powers : list of (str, (n,))
        Variable of each power law, and its increments for exponent 1.
    exact : float
        Differences between increments up to this size are rounding.
    """

    lags: NDArray[np.intp]
    series: Array
    spans: Array
    powers: list[tuple[str, Array]]
    exact: float


def shape(log_norm: ArrayLike, *, burn_in: int | None = None) -> Shape:
    """Return the shape of the decay of a batch of sequences.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K, as for `rates.rate`. The window is that of `rates.rate`.
    burn_in : int, optional
        Steps to leave out at the start of each sequence, as for `rates.rate`.

    Returns
    -------
    Shape
        Undecided if fewer than 8 increments are known or an entry is +inf.

    Raises
    ------
    InputError
        If ``log_norm`` is not (K+1, B) or ``burn_in`` is negative.

    Examples
    --------
    >>> shape(-0.5 * np.arange(101.0)[:, None]).half_life
    1.3862943611198906
    """
    logs = checked(log_norm, burn_in)
    counted = window(logs, burn_in)
    if np.isposinf(logs).any() or counted.any(axis=1).sum() < FEWEST:
        return Shape(UNDECIDED, evidence=f"fewer than {FEWEST} increments are known")
    lags, series = increments(logs, counted)
    k = np.arange(len(logs))[:, None] * np.ones(logs.shape[1])
    t = lengths(logs) - k + 1
    powers = [(of, increments(walk, counted)[1]) for of, walk in _power_laws(k, t)]
    return _judged(_Profile(lags, series, np.ones(len(lags)), powers, resolution(logs)))


def shape_of_means(mean_log: ArrayLike, lag: ArrayLike) -> Shape:
    """Return the shape of a mean over sequences or seeds, as in the table ``steps``.

    Parameters
    ----------
    mean_log : array (n,)
        Mean of ``ln‖δ‖`` in nats at each lag. Leave out the lags at which some sequences are exactly zero.
    lag : array (n,)
        The lags in steps, increasing up to the length T; gaps are allowed. This function drops lag 0 and the burn-in.

    Returns
    -------
    Shape
        Undecided if fewer than 8 increments are known.

    Raises
    ------
    InputError
        If the two differ in length, the lags do not increase, or one is negative.
    """
    means, k = np.asarray(mean_log, np.float64), np.asarray(lag, np.float64)
    if means.shape != k.shape or k.ndim != 1 or (np.diff(k) <= 0).any() or (k < 0).any():
        raise InputError(f"lag: expected one a mean, rising from 0 or more; got shapes {means.shape} and {k.shape}")
    last = last_lags(np.zeros((int(k.max(initial=0)) + 1, 1)), None)[0]
    kept = np.isfinite(means) & (k >= FIRST_LAG) & (k <= last)
    if kept.sum() <= FEWEST:
        return Shape(UNDECIDED, evidence=f"fewer than {FEWEST} increments are known")
    t, k, means = k.max() - k[kept] + 1, k[kept], means[kept]
    spans = np.diff(k)
    powers = [(of, np.diff(walk)) for of, walk in _power_laws(k, t)]
    return _judged(_Profile(k[:-1].astype(np.intp), np.diff(means), spans, powers, resolution(means)))


def _power_laws(k: Array, t: Array) -> Iterator[tuple[str, Array]]:
    """Yield the variable, "lag" or "time", and ``ln‖δ‖`` of each power law with exponent 1."""
    for offset in OFFSETS:
        yield "lag", -np.log(np.maximum(k + offset, 1))
        yield "time", np.log(np.maximum(t + offset, 1))


def _judged(profile: _Profile) -> Shape:
    """Return the shape of the profile, by the tests that the module docstring lists."""
    n, mean = float(profile.spans.sum()), _fit(profile, profile.spans)
    rate, half = float(profile.series.sum() / n), float(_halves(mean)[0])
    evidence = f"{_give_or_take(rate, half)} nats/step over {n:g} lags"
    if (abs(rate) + half) * n < NOTHING:
        return Shape(FLAT, evidence=f"{evidence}: a change of less than {NOTHING:.0%} in total")
    of, power = min(profile.powers, key=lambda law: _left_over(profile, law[1]))
    both = _fit(profile, profile.spans, power)
    found, halves = np.abs(both.coefficients), _halves(both)
    parts = [_give_or_take(*pair) for pair in zip(both.coefficients, halves, strict=True)]
    evidence += f"; a joint fit gives a rate of {parts[0]} and a power law of {of} with exponent {parts[1]}"
    turned, named = _turn(profile, power), _named(found, halves, np.abs([n, power.sum()]))
    if turned is not None:
        return turned
    if named[0] and abs(rate) > half:
        return Shape(EXPONENTIAL, rate, float(np.log(2) / -rate) if rate < 0 else np.nan, evidence=evidence)
    if named[1]:
        return Shape(POWER_LAW, exponent=float(_fit(profile, power).coefficients[0]), of=of, evidence=evidence)
    flat = (found <= halves).all() and abs(rate) <= half and (abs(rate) + half) * n <= HIDDEN
    return Shape(FLAT if flat else UNDECIDED, evidence=evidence)


def _named(found: Array, halves: Array, reach: Array) -> NDArray[np.bool_]:
    """Return whether the rate and the power law, ``(2,)``, may each name the shape.

    One of them may if it is significant and explains at least as large a change over the window as the other's
    interval allows. The change is the coefficient times its ``reach``, in nats.
    """
    named: NDArray[np.bool_] = (found > halves) & (found * reach >= ((found + halves) * reach)[::-1])
    return named


def _turn(profile: _Profile, power: Array) -> Shape | None:
    """Return the non-monotone shape if two parts of the profile are significant and opposite in sign, else None."""
    walk = np.concatenate([[0.0], np.cumsum(profile.series)])
    for columns, level in (
        ([profile.spans, power], LEVEL),
        (_before_and_after(profile), 1 - (1 - LEVEL) / TURNS),
    ):
        found = _fit(profile, *columns)
        if (np.abs(found.coefficients) <= _halves(found, level)).any():
            continue
        expected = found.coefficients @ columns
        place = int(walk.argmin() if expected[0] < 0 else walk.argmax())
        legs = walk[place] - walk[0], walk[-1] - walk[place]
        if expected[0] * expected[-1] < 0 and min(np.abs(legs)) > LEG:
            evidence = f"{compact(legs[0])} nats until lag {profile.lags[place]}, {compact(legs[1])} after it"
            return Shape(NON_MONOTONE, turning_lag=float(profile.lags[place]), evidence=evidence)
    return None


def _before_and_after(profile: _Profile) -> list[Array]:
    """Return the profiles of a rate before and a rate after the lag that minimises the residual sum of squares."""
    gained, gone = np.cumsum(profile.series), np.cumsum(profile.spans)
    with np.errstate(all="ignore"):
        explained = gained**2 / gone + (gained[-1] - gained) ** 2 / (gone[-1] - gone)
    inside = np.abs(gone / gone[-1] - 0.5) <= 0.5 - SIDE
    ahead = np.arange(gone.size) <= np.where(inside, explained, -1.0).argmax()
    return [np.where(ahead, profile.spans, 0.0), np.where(ahead, 0.0, profile.spans)]


def _left_over(profile: _Profile, power: Array) -> float:
    """Return the sum of squared residuals, weighted by 1/span, of a plain fit with a rate and a power law."""
    columns = np.stack([profile.spans, power], axis=1)
    rest = profile.series - columns @ np.linalg.lstsq(columns, profile.series, rcond=None)[0]
    return float((rest**2 / profile.spans).sum())


def _fit(profile: _Profile, *columns: Array) -> Fit:
    """Return the fit of increments, weighted because the variance of each grows with the lags it spans."""
    weights = 1 / np.sqrt(profile.spans)
    return fit(weights * profile.series, weights[:, None] * np.stack(columns, axis=1), profile.exact)


def _halves(found: Fit, level: float = LEVEL) -> Array:
    """Return half the width of each coefficient's interval, ``(p,)``."""
    if found.freedom == np.inf:
        return np.zeros_like(found.errors)
    return np.asarray(special.stdtrit(found.freedom, (1 + level) / 2) * found.errors)


def _give_or_take(value: float, half: float) -> str:
    return plus_minus(value, value - half, value + half)
