"""Which word a finding gets, and at which numbers one word ends and the next begins."""

from __future__ import annotations

import math

import numpy as np

from gradlab.verdicts.evidence import Evidence

VANISHING, EXPLODING, STABLE, MIXED = "VANISHING", "EXPLODING", "STABLE", "MIXED"
DEAD, DIVERGED, UNDERFLOWS, UNCERTAIN = "DEAD", "DIVERGED", "UNDERFLOWS IN float32", "UNCERTAIN"
#: Every word, the gravest first: what no change of weights repairs, what breaks training, what slows it, what is well.
WORDS = (DIVERGED, DEAD, EXPLODING, UNDERFLOWS, VANISHING, MIXED, UNCERTAIN, STABLE)

#: Of a gradient that has less than 1 % left, a step size tuned to the recent steps sees nothing; a
#: hundredfold gradient breaks such a step size as surely. Between the two, learning is slowed, not stopped.
GONE = 0.01
#: The same in nats: within ±4.6 over the span a gradient is stable.
BAND = -math.log(GONE)
#: ``−ln`` of float32's smallest normal number, 1.2e-38: below it digits are lost, and soon everything.
FLOAT32_NATS = -math.log(float(np.finfo(np.float32).tiny))
#: ``ln`` of float32's largest number, 3.4e38.
FLOAT32_MOST = math.log(float(np.finfo(np.float32).max))
#: What three quarters of the sequences do is what the batch does; a quarter that does the opposite is no exception.
#: The same quarter, of the directions of the state, makes a spectrum one of both kinds: in a chaotic RNN 8 to 15 % of
#: the exponents are positive (TRUTHS P1), and its gradients all explode.
AGREE, OPPOSED = 0.75, 0.25
#: Three quarters of fewer than four sequences are all of them.
FEWEST = 4
#: What a word rests on where it is not the rate's interval.
MEASURED, BY_EXPONENT = "measured", "λ₁"
#: An exponent is known to twice its standard error.
ERRORS = 2.0


def word_of(e: Evidence) -> str:
    """Return the word for one layer and direction.

    In this order:

    * DIVERGED: a state, or a gradient, is not finite.
    * DEAD: more than half of the sequences' gradients are exactly zero before the span ends.
    * UNCERTAIN where the rate has no interval.
    * MIXED: directions of both kinds, `mixed`.
    * Of a gradient without a constant rate (a power law, or one that turns) what was `measured` over the span.
    * The word of `by_rate`, where the gradients that were measured over the whole span do not deny it (`denied`).
    * Where the rate's interval is too wide for a word: that of `by_exponent`, then of `by_measure`.
    """
    if e.diverged_at or e.overflowed:
        return DIVERGED
    if e.dead_at is not None and e.dead_at <= e.span:
        return DEAD
    if math.isnan(e.rate.low) or math.isnan(e.rate.high):
        return UNCERTAIN
    if mixed(e):
        return MIXED
    if e.bends:
        return measured(e)
    word = by_rate(e)
    if word == UNCERTAIN:
        return by_exponent(e) if by_exponent(e) != UNCERTAIN else by_measure(e)
    return UNCERTAIN if denied(word, e) else word


def basis(word: str, e: Evidence) -> str:
    """Return what ``word`` rests on where the rate's interval does not say it: "measured" or "λ₁"; else ""."""
    if word not in (VANISHING, EXPLODING, STABLE, UNDERFLOWS):
        return ""
    if e.bends:
        return MEASURED
    if by_rate(e) != UNCERTAIN:
        return ""
    return BY_EXPONENT if by_exponent(e) == word else MEASURED


def by_rate(e: Evidence) -> str:
    """Return the word that the rate's *whole* interval, times the span, stands for: `by_interval`."""
    return by_interval(e.rate.low * e.span, e.rate.high * e.span)


def by_interval(low: float, high: float) -> str:
    """Return the word for an interval of ln of what is left after the span, in nats.

    Less than 1 % left: VANISHING; less than float32's smallest normal number: UNDERFLOWS IN float32; more than a
    hundredfold: EXPLODING; between the two: STABLE; an interval across one of the first three lines' ends: UNCERTAIN.
    """
    if high < -FLOAT32_NATS:
        return UNDERFLOWS
    if high < -BAND:
        return VANISHING
    if low > BAND:
        return EXPLODING
    return STABLE if low >= -BAND and high <= BAND else UNCERTAIN


def by_exponent(e: Evidence) -> str:
    """Return the word that the largest exponent stands for, beyond twice its error, where the gradients agree.

    A gradient first turns into the leading direction; that turn is in its rate and makes the interval wide, and is
    not in the exponent, whose tangents were aligned before. In a network that stands still all else is constant.
    """
    if not e.left or not e.exponents:
        return UNCERTAIN
    first, error = e.exponents[0] * e.span, ERRORS * e.errors[0] * e.span
    if not math.isfinite(first) or not math.isfinite(error):
        return UNCERTAIN
    word = by_interval(first - error, first + error)
    return UNCERTAIN if denied(word, e) else word


def measured(e: Evidence) -> str:
    """Return the word of what three quarters of the sequences had left after the span; beyond it nothing is known."""
    words = [by_interval(left, left) for left in e.left]
    return next((word for word in set(words) if words.count(word) >= AGREE * len(words)), UNCERTAIN)


def by_measure(e: Evidence) -> str:
    """Return the word of the gradients that were measured over the whole span, where there can be no doubt.

    Of at least `FEWEST` sequences three quarters must end below 1 % *squared*, above its inverse, or between a tenth
    and a tenfold: twice as far as the word's border, or half as far.
    """
    if len(e.left) < FEWEST:
        return UNCERTAIN
    left = np.asarray(e.left)
    for word, said in ((VANISHING, left < -2 * BAND), (EXPLODING, left > 2 * BAND), (STABLE, abs(left) < BAND / 2)):
        if said.mean() >= AGREE:
            return word
    return UNCERTAIN


def denied(word: str, e: Evidence) -> bool:
    """Return whether fewer than three quarters of the sequences ended, when measured, where ``word`` says.

    A rate is the slope of a walk without the sequence's start. Where the walk bends, or the sequences part, it does
    not say what is left.
    """
    if not e.left or word == UNCERTAIN:
        return False
    gone, stable, grown = shares(e)
    kept = {STABLE: stable, EXPLODING: grown}.get(word, gone)
    return kept < AGREE


def mixed(e: Evidence) -> bool:
    """Return whether there are directions of both kinds over the span.

    One of three: a quarter of the sequences' gradients vanish and a quarter explode; the gradient vanishes while
    the largest exponent explodes (this loss misses a direction that another would not); a quarter of the state's
    exponents are known to explode and a quarter to vanish. Known is an exponent beyond twice its standard error. The
    exponents count where they were computed.
    """
    if e.left:
        gone, _, grown = shares(e)
        if gone >= OPPOSED and grown >= OPPOSED:
            return True
    grown_ones, gone_ones = _directions(e)
    if e.rate.high * e.span < -BAND and grown_ones:
        return True
    return e.size > 1 and min(grown_ones, gone_ones) >= OPPOSED * e.size


def shares(e: Evidence) -> tuple[float, float, float]:
    """Return the shares of the sequences whose gradient vanished, stayed and exploded over the span."""
    left = np.asarray(e.left)
    gone, grown = float((left < -BAND).mean()), float((left > BAND).mean())
    return gone, 1 - gone - grown, grown


def _directions(e: Evidence) -> tuple[int, int]:
    """Return how many directions of the state are known to explode, and to vanish, over the span.

    Exponents come in descending order: where the last one known vanishes, so do all below it.
    """
    if not e.exponents:
        return 0, 0
    values, errors = np.asarray(e.exponents), ERRORS * np.asarray(e.errors)
    grown = int(((values - errors) * e.span > BAND).sum())
    gone = (values + errors) * e.span < -BAND
    return grown, int(gone.sum()) + (e.size - len(values) if gone[-1] else 0)


def gravest(words: list[str]) -> str:
    """Return one word for several: MIXED where some explode and others vanish, else the first of `WORDS` among them."""
    found = set(words)
    if EXPLODING in found and found & {VANISHING, UNDERFLOWS} and not found & {DIVERGED, DEAD}:
        return MIXED
    return min(found, key=WORDS.index)
