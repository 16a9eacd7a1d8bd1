"""How a gradient decays: exponentially, by a power law, not at all, or down and up again; or that one cannot tell.

``ln‖δ_k‖`` is a random walk, and looks like whatever curve is fitted to it: R² or AIC of such a curve proves nothing.
Its increments have a noise that can be accounted for (`increments.fit`), so each shape is a profile of them:

* exponential, ``ln‖δ_k‖ ~ r k``: the same r at every lag k;
* power law in the lag, ``‖δ_k‖ ~ k^−p``: ``−p ln((k+1)/k)``;
* power law in time, ``‖δ_k‖ ~ t^p`` with t = T − k + 1: ``−p ln(t/(t−1))``, of a state that itself slows down as the
  sequence goes on (``h = tanh(h)``: p = 3/2). Such a gradient has no half-life that would hold anywhere else;
* flat: a mean that may be 0 and is known well enough to say so;
* non-monotone: first of one sign and then of the other, both beyond doubt.

A constant is fitted beside each power law, and two constants, one before and one after, for the last.
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
#: Of fewer increments two parameters and an autocorrelation are not known.
FEWEST = 8
#: A constant, a power law and a turn are looked for, so each is tested at a third of 5 % (Bonferroni) …
LEVEL = 1 - 0.05 / 3
#: … and a turn, which is looked for where it fits best, at a tenth of that: about as many places could have been it.
TURNS = 10
#: A turn leaves at least this share of the window on both sides.
SIDE = 1 / 16
#: A power law holds from some lag on; ``(k + c)^−p`` has a beginning of its own.
OFFSETS = (0, 2, 8)
#: A hundredfold change over the window: a mean that may be 0 is flat if no more than this hides in its interval.
HIDDEN = float(np.log(100.0))
#: A change of one per cent over the window is none, however surely it is there.
NOTHING = 0.01
#: A turn needs a factor of 2 on both sides of it.
LEG = float(np.log(2.0))


@dataclass(frozen=True)
class Shape:
    """How ``‖δ‖`` changes with the lag, in a word; what the word does not have is nan.

    Attributes
    ----------
    word : str
        exponential, power law, flat, non-monotone or undecided.
    rate : float
        Of an exponential, nats per step back in time: the mean increment, as `rates.rate` has it.
    half_life : float
        Of an exponential that decays, steps: ``ln 2 / −rate``.
    exponent : float
        Of a power law, p in ``‖δ‖ ~ k^−p`` or ``~ t^p``: positive where it decays going back.
    of : str
        Of a power law, what it is a power of: "lag" (k), or "time" (t, steps since the sequence began); else "".
    turning_lag : float
        Where a non-monotone one turns: the lag of the least or the greatest ``ln‖δ‖``.
    evidence : str
        What that rests on, in one line.
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
        """Return the word, and what it has."""
        known = (
            ("rate", self.rate, " nats/step"),
            ("half-life", self.half_life, " steps"),
            ("exponent", self.exponent, f", of {self.of}"),
            ("turns at", self.turning_lag, ", the lag"),
        )
        rows = [(name, f"{compact(value, 3)}{unit}") for name, value, unit in known if not np.isnan(value)]
        return f"Shape: {self.word}", [*rows, ("because", self.evidence)]


class _Profile(NamedTuple):
    """Increments and what they are compared with, all ``(n,)``: their lags, the lags each spans, and power laws."""

    lags: NDArray[np.intp]
    series: Array
    spans: Array
    powers: list[tuple[str, Array]]
    exact: float


def shape(log_norm: ArrayLike, *, burn_in: int | None = None) -> Shape:
    """Return the shape of the decay.

    Parameters
    ----------
    log_norm : array (K+1, B)
        ``ln‖δ‖`` in nats at lag 0 … K, as for `rates.rate`, whose window this uses.
    burn_in : int, optional
        As for `rates.rate`.

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
    """Return the shape of a mean over sequences, or over seeds, by lag, as the table ``steps`` has it.

    Parameters
    ----------
    mean_log : array (n,)
        Mean of ``ln‖δ‖`` in nats at each lag; lags from which on sequences are zero do not belong here.
    lag : array (n,)
        The lags, rising to the whole length T; they may be thinned out. Lag 0 and the burn-in are left out here.

    Raises
    ------
    InputError
        If the two are not equally long, the lags do not rise, or one is negative.
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
    """Yield ``ln‖δ‖`` of power laws with exponent 1, and what they are powers of."""
    for offset in OFFSETS:
        yield "lag", -np.log(np.maximum(k + offset, 1))
        yield "time", np.log(np.maximum(t + offset, 1))


def _judged(profile: _Profile) -> Shape:
    n, mean = float(profile.spans.sum()), _fit(profile, profile.spans)
    rate, half = float(profile.series.sum() / n), float(_halves(mean)[0])
    told = f"{_give_or_take(rate, half)} nats/step over {n:g} lags"
    if (abs(rate) + half) * n < NOTHING:
        return Shape(FLAT, evidence=f"{told}: less than {NOTHING:.0%} in all")
    of, power = min(profile.powers, key=lambda law: _left_over(profile, law[1]))
    both = _fit(profile, profile.spans, power)
    found, halves = np.abs(both.coefficients), _halves(both)
    parts = [_give_or_take(*pair) for pair in zip(both.coefficients, halves, strict=True)]
    told += f"; beside each other a rate of {parts[0]} and a power law of {of} with exponent {parts[1]}"
    turned, named = _turn(profile, power), _named(found, halves, np.abs([n, power.sum()]))
    if turned is not None:
        return turned
    if named[0] and abs(rate) > half:
        return Shape(EXPONENTIAL, rate, float(np.log(2) / -rate) if rate < 0 else np.nan, evidence=told)
    if named[1]:
        return Shape(POWER_LAW, exponent=float(_fit(profile, power).coefficients[0]), of=of, evidence=told)
    flat = (found <= halves).all() and abs(rate) <= half and (abs(rate) + half) * n <= HIDDEN
    return Shape(FLAT if flat else UNDECIDED, evidence=told)


def _named(found: Array, halves: Array, reach: Array) -> NDArray[np.bool_]:
    """Return whether the rate and the power law, ``(2,)``, may each name the shape.

    It is significant, and changes ``ln‖δ‖`` over the window, its size times its ``reach``, by no less than the
    other's interval still allows.
    """
    named: NDArray[np.bool_] = (found > halves) & (found * reach >= ((found + halves) * reach)[::-1])
    return named


def _turn(profile: _Profile, power: Array) -> Shape | None:
    """Return the non-monotone shape, if two parts of the profile are significant and have opposite signs."""
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
            told = f"{compact(legs[0])} nats until lag {profile.lags[place]}, {compact(legs[1])} from there on"
            return Shape(NON_MONOTONE, turning_lag=float(profile.lags[place]), evidence=told)
    return None


def _before_and_after(profile: _Profile) -> list[Array]:
    """Return the profiles of one rate before and another after the lag at which two rates leave least."""
    gained, gone = np.cumsum(profile.series), np.cumsum(profile.spans)
    with np.errstate(all="ignore"):
        explained = gained**2 / gone + (gained[-1] - gained) ** 2 / (gone[-1] - gone)
    inside = np.abs(gone / gone[-1] - 0.5) <= 0.5 - SIDE
    ahead = np.arange(gone.size) <= np.where(inside, explained, -1.0).argmax()
    return [np.where(ahead, profile.spans, 0.0), np.where(ahead, 0.0, profile.spans)]


def _left_over(profile: _Profile, power: Array) -> float:
    """Return the sum of squares that a rate and a power law leave."""
    columns = np.stack([profile.spans, power], axis=1)
    rest = profile.series - columns @ np.linalg.lstsq(columns, profile.series, rcond=None)[0]
    return float((rest**2 / profile.spans).sum())


def _fit(profile: _Profile, *columns: Array) -> Fit:
    """Return the fit of increments over several lags each, whose noise grows with their number."""
    weights = 1 / np.sqrt(profile.spans)
    return fit(weights * profile.series, weights[:, None] * np.stack(columns, axis=1), profile.exact)


def _halves(found: Fit, level: float = LEVEL) -> Array:
    if found.freedom == np.inf:
        return np.zeros_like(found.errors)
    return np.asarray(special.stdtrit(found.freedom, (1 + level) / 2) * found.errors)


def _give_or_take(value: float, half: float) -> str:
    return plus_minus(value, value - half, value + half)
