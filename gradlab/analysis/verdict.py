"""What a rate means for a task: one word, the finding in one line, the evidence in another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradlab.analysis import markup
from gradlab.analysis.numerals import estimate, factor, plain, plus_minus
from gradlab.analysis.rates import Rate
from gradlab.errors import InputError

#: Of a gradient that has less than 1 % left, a step size tuned to the recent steps sees nothing; a
#: hundredfold gradient breaks such a step size as surely. Between the two, learning is slowed, not stopped.
GONE = 0.01
#: ``−ln`` of float32's smallest normal number, 1.2e-38: below it digits are lost, and soon everything.
FLOAT32_NATS = -math.log(float(np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class Verdict:
    """A finding in words.

    Attributes
    ----------
    word : str
        VANISHING, EXPLODING, STABLE, DEAD, DIVERGED, UNDERFLOWS IN float32 or UNCERTAIN.
    finding : str
        What happens to the gradient over the span, in one line.
    evidence : str
        What that rests on, in one line.
    """

    word: str
    finding: str
    evidence: str

    def __repr__(self) -> str:
        return markup.plain("Verdict", markup.rows_of(str(self)))

    def _repr_html_(self) -> str:
        return markup.html("Verdict", markup.rows_of(str(self)))

    def __str__(self) -> str:
        """Return the two lines, their texts below each other."""
        width = max(len(self.word), 9) + 3
        return f"{self.word:<{width}}{self.finding}\n{'because':<{width}}{self.evidence}"


def judge(rate: Rate, *, span: int, horizon_1pct: float, dead: bool = False, diverged_at: int = 0) -> Verdict:
    """Return the verdict on one run.

    The word follows from the rate's whole interval times the span: VANISHING where the interval lies below 0
    and less than 1 % is left after the span, EXPLODING its mirror image, STABLE where the whole interval
    keeps between 1 % and a hundredfold, UNCERTAIN otherwise; UNDERFLOWS IN float32 where the whole interval
    ends below float32's smallest normal number, e^−87.3.

    Parameters
    ----------
    rate : Rate
        The run's rate, in nats per step.
    span : int
        Steps that the task needs the gradient to travel.
    horizon_1pct : float
        Steps after which 1 % of it was left; nan where that was not reached.
    dead : bool
        Whether every gradient is exactly zero.
    diverged_at : int
        First t at which a state was not finite; 0 if there is none.

    Raises
    ------
    InputError
        If ``span`` is less than 1.
    """
    if span < 1:
        raise InputError(f"span: expected a number of steps, at least 1; got {span!r}")
    if diverged_at:
        found = f"the state is not finite from t = {diverged_at} on"
        return Verdict("DIVERGED", found, "the forward pass overflowed; behind it there is no gradient")
    if dead:
        found = f"the gradient is exactly zero long before the {span} steps that the task needs"
        return Verdict("DEAD", found, f"{rate.zeros} gradients of a sequence at a step are exactly zero")
    if math.isnan(rate.rate):
        found = "the rate is not known"
        return Verdict("UNCERTAIN", found, "no two neighbouring lags from lag 1 on have a finite gradient")
    word = _word(rate, span)
    return Verdict(word, _finding(word, rate, span, horizon_1pct), _evidence(rate, span))


def _word(rate: Rate, span: int) -> str:
    low, mean, high = rate.low * span, rate.rate * span, rate.high * span
    gone = -math.log(GONE)
    if high < -FLOAT32_NATS:
        return "UNDERFLOWS IN float32"
    if high < 0 and mean < -gone:
        return "VANISHING"
    if low > 0 and mean > gone:
        return "EXPLODING"
    return "STABLE" if -gone <= low and high <= gone else "UNCERTAIN"


def _finding(word: str, rate: Rate, span: int, horizon_1pct: float) -> str:
    rated = f"{plus_minus(rate.rate, rate.low, rate.high)} nats/step"
    needed = f"the {span} steps that the task needs"
    if word in ("VANISHING", "UNDERFLOWS IN float32"):
        return f"{rated}: 1 % of the gradient is left after {_steps(rate, horizon_1pct)} of {needed}"
    if word == "EXPLODING":
        return f"{rated}: the gradient grows by a factor of {factor(rate.rate * span)} over {needed}"
    low, high = factor(rate.low * span), factor(rate.high * span)
    if word == "STABLE":
        return f"{rated}: between {low} and {high} times the gradient is left after {needed}"
    if math.isnan(rate.low):
        return f"{rated}, from too few steps for an interval"
    return f"{rated}: anything from {low} to {high} times the gradient may be left after {needed}"


def _steps(rate: Rate, horizon_1pct: float) -> str:
    if math.isnan(horizon_1pct):
        return f"about {math.log(GONE) / rate.rate:.0f}"
    return plain(horizon_1pct)


def _evidence(rate: Rate, span: int) -> str:
    interval = estimate(rate.rate, rate.low, rate.high)
    zeros = f"; {rate.zeros} exact zeros left out" if rate.zeros else ""
    return (
        f"the mean of {rate.window} increments, lags {rate.first_lag} to {rate.last_lag}, is {interval}: "
        f"a factor of {factor(rate.rate * span)} over {span} steps{zeros}"
    )
