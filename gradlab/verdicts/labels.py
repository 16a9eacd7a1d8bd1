"""The words of a verdict, and the thresholds between them."""

from __future__ import annotations

import math

import numpy as np

from gradlab.verdicts.evidence import Evidence

VANISHING, EXPLODING, STABLE, MIXED = "VANISHING", "EXPLODING", "STABLE", "MIXED"
DEAD, DIVERGED, UNDERFLOWS, UNCERTAIN = "DEAD", "DIVERGED", "UNDERFLOWS IN float32", "UNCERTAIN"
#: Every word, from the most to the least severe: beyond repair by weights, breaks training, slows it, harmless.
WORDS = (DIVERGED, DEAD, EXPLODING, UNDERFLOWS, VANISHING, MIXED, UNCERTAIN, STABLE)

#: A step size tuned to the recent steps cannot use a gradient of which less than 1 % is left, and breaks at a
#: hundredfold gradient. Between the two, learning is slowed, not stopped.
GONE = 0.01
#: The same threshold in nats: a gradient that stays within ±4.6 over the span is stable.
BAND = -math.log(GONE)
#: ``−ln`` of float32's smallest normal number, 1.2e-38. Smaller numbers lose digits and soon become zero.
FLOAT32_NATS = -math.log(float(np.finfo(np.float32).tiny))
#: ``ln`` of float32's largest number, 3.4e38.
FLOAT32_MOST = math.log(float(np.finfo(np.float32).max))
#: Share of the sequences that must agree on a word, and share that makes the verdict MIXED if it does the opposite.
#: A spectrum counts as mixed at the same share of the state's directions: in a chaotic RNN 8 to 15 % of the exponents
#: are positive (Clark 2026), and all of its gradients explode.
AGREE, OPPOSED = 0.75, 0.25
#: Fewest sequences for a word by measurement: three quarters of fewer than four are all of them.
FEWEST = 4
#: The basis of a word that does not follow from the rate's interval.
MEASURED, BY_EXPONENT = "measured", "λ₁"
#: Standard errors on either side of an exponent that count as its interval.
ERRORS = 2.0


def word_of(e: Evidence) -> str:
    """Return the word for one layer and direction.

    The first rule that applies decides:

    * DIVERGED: a state, or a gradient, is not finite.
    * DEAD: more than half of the sequences' gradients are exactly zero before the span ends.
    * UNCERTAIN: the rate has no interval.
    * MIXED: some directions vanish and others explode (`mixed`).
    * The word of `measured`, if the gradient has no constant rate (a power law, or a gradient that turns).
    * The word of `by_rate`, unless the gradients measured over the whole span contradict it (`denied`).
    * The word of `by_exponent`, then of `by_measure`, if the rate's interval is too wide for a word.
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
    """Return the basis of a ``word`` that the rate's interval does not support: "measured" or "λ₁"; else ""."""
    if word not in (VANISHING, EXPLODING, STABLE, UNDERFLOWS):
        return ""
    if e.bends:
        return MEASURED
    if by_rate(e) != UNCERTAIN:
        return ""
    return BY_EXPONENT if by_exponent(e) == word else MEASURED


def by_rate(e: Evidence) -> str:
    """Return the word of the rate's whole interval times the span (`by_interval`)."""
    return by_interval(e.rate.low * e.span, e.rate.high * e.span)


def by_interval(low: float, high: float) -> str:
    """Return the word for an interval of the gradient's log change over the span, in nats.

    Less than 1 % left: VANISHING; less than float32's smallest normal number: UNDERFLOWS IN float32; more than a
    hundredfold: EXPLODING; between 1 % and a hundredfold: STABLE; an interval across a threshold: UNCERTAIN.
    """
    if high < -FLOAT32_NATS:
        return UNDERFLOWS
    if high < -BAND:
        return VANISHING
    if low > BAND:
        return EXPLODING
    return STABLE if low >= -BAND and high <= BAND else UNCERTAIN


def by_exponent(e: Evidence) -> str:
    """Return the word of the largest exponent's interval, two standard errors wide, if the gradients agree with it.

    A gradient first turns into the leading direction. The turn is part of its rate and widens the interval. It is not
    part of the exponent, whose tangents were aligned before.
    """
    if not e.left or not e.exponents:
        return UNCERTAIN
    first, error = e.exponents[0] * e.span, ERRORS * e.errors[0] * e.span
    if not math.isfinite(first) or not math.isfinite(error):
        return UNCERTAIN
    word = by_interval(first - error, first + error)
    return UNCERTAIN if denied(word, e) else word


def measured(e: Evidence) -> str:
    """Return the word on which three quarters of the sequences agree after the span; UNCERTAIN if they do not."""
    words = [by_interval(left, left) for left in e.left]
    return next((word for word in set(words) if words.count(word) >= AGREE * len(words)), UNCERTAIN)


def by_measure(e: Evidence) -> str:
    """Return the word of the gradients measured over the whole span, if they are well beyond the thresholds.

    Three quarters of at least `FEWEST` sequences must end below 1 % squared, above its inverse, or between a tenth and
    a tenfold: twice as far as the threshold, or half as far.
    """
    if len(e.left) < FEWEST:
        return UNCERTAIN
    left = np.asarray(e.left)
    for word, agrees in ((VANISHING, left < -2 * BAND), (EXPLODING, left > 2 * BAND), (STABLE, abs(left) < BAND / 2)):
        if agrees.mean() >= AGREE:
            return word
    return UNCERTAIN


def denied(word: str, e: Evidence) -> bool:
    """Return whether fewer than three quarters of the measured sequences ended where ``word`` predicts.

    A rate is a mean slope that leaves out the start of the sequence. If the slope changes, or the sequences differ, it
    does not predict how much is left.
    """
    if not e.left or word == UNCERTAIN:
        return False
    gone, stable, grown = shares(e)
    kept = {STABLE: stable, EXPLODING: grown}.get(word, gone)
    return kept < AGREE


def mixed(e: Evidence) -> bool:
    """Return whether some directions vanish and others explode over the span.

    One of three conditions suffices. A quarter of the sequences' gradients vanish and a quarter explode. The gradient
    vanishes while the largest exponent explodes: another loss would read that direction. A quarter of the state's
    exponents explode and a quarter vanish, each beyond twice its standard error.
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
    """Return the shares of sequences whose gradient vanished, stayed stable and exploded over the span."""
    left = np.asarray(e.left)
    gone, grown = float((left < -BAND).mean()), float((left > BAND).mean())
    return gone, 1 - gone - grown, grown


def _directions(e: Evidence) -> tuple[int, int]:
    """Return how many directions of the state explode, and how many vanish, beyond twice their standard error.

    Exponents are in descending order: if the last one computed vanishes, all smaller ones vanish too.
    """
    if not e.exponents:
        return 0, 0
    values, errors = np.asarray(e.exponents), ERRORS * np.asarray(e.errors)
    grown = int(((values - errors) * e.span > BAND).sum())
    gone = (values + errors) * e.span < -BAND
    return grown, int(gone.sum()) + (e.size - len(values) if gone[-1] else 0)


def gravest(words: list[str]) -> str:
    """Return one word for several: MIXED if some explode and others vanish, else the most severe of them."""
    found = set(words)
    if EXPLODING in found and found & {VANISHING, UNDERFLOWS} and not found & {DIVERGED, DEAD}:
        return MIXED
    return min(found, key=WORDS.index)
