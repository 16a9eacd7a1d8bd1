"""The word follows from the whole interval and the span, and the lines say by what numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradlab.analysis.horizons import horizon
from gradlab.analysis.rates import Rate, rate
from gradlab.analysis.verdict import judge
from gradlab.errors import InputError

NAN = math.nan


def known(mean: float, half: float, **others: int) -> Rate:
    return Rate(mean, mean - half, mean + half, others.get("window", 80), 1, 81, others.get("zeros", 0))


@pytest.mark.parametrize(
    ("mean", "half", "span", "word"),
    [
        (-0.41, 0.02, 100, "VANISHING"),
        (0.41, 0.02, 100, "EXPLODING"),
        (-0.01, 0.02, 100, "STABLE"),
        (0.0, 0.0, 100, "STABLE"),
        (-0.41, 0.5, 100, "UNCERTAIN"),  # the interval holds 0
        (-0.04, 0.02, 100, "UNCERTAIN"),  # 1.8 % may be left, or 0.2 %
        (-0.04, 0.001, 100, "STABLE"),  # 1.8 % is left
        (-0.05, 0.001, 100, "VANISHING"),  # 0.7 % is left
        (0.04, 0.02, 100, "UNCERTAIN"),
        (-0.9, 0.02, 100, "UNDERFLOWS IN float32"),
        (-0.88, 0.02, 100, "VANISHING"),  # e^−86 at one end is still a normal number
        (-0.88, NAN, 100, "UNCERTAIN"),
    ],
)
def test_word(mean: float, half: float, span: int, word: str) -> None:
    found = judge(known(mean, half), span=span, horizon_1pct=11.0)
    assert found.word == word
    assert str(found).startswith(word + "   ")


def test_the_same_rate_vanishes_on_a_long_task_and_not_on_a_short_one() -> None:
    words = [judge(known(-0.1, 0.001), span=span, horizon_1pct=NAN).word for span in (10, 100, 1000)]
    assert words == ["STABLE", "VANISHING", "UNDERFLOWS IN float32"]


def test_lines_of_a_vanishing_gradient() -> None:
    first, second = str(judge(known(-0.412, 0.019, zeros=3), span=100, horizon_1pct=11.0)).splitlines()
    finding = "−0.412 ± 0.019 nats/step: 1 % of the gradient is left after 11 of the 100 steps that the task needs"
    mean = "the mean of 80 increments, lags 1 to 81, is −0.412 [−0.431, −0.393]"
    assert first == f"VANISHING   {finding}"
    assert second == f"because     {mean}: a factor of 10^−18 over 100 steps; 3 exact zeros left out"


def test_lines_stand_below_each_other_whatever_the_word() -> None:
    first, second = str(judge(known(-3.0, 0.1), span=100, horizon_1pct=2.0)).splitlines()
    assert first.index("−3.00") == second.index("the mean")


def test_a_horizon_that_was_not_reached_is_said_to_be_a_guess() -> None:
    assert "after about 46 of the 100 steps" in judge(known(-0.1, 0.001), span=100, horizon_1pct=NAN).finding


def test_an_exploding_gradient_says_by_how_much() -> None:
    assert "grows by a factor of 10^18 over" in judge(known(0.41, 0.01), span=100, horizon_1pct=NAN).finding


def test_no_interval_is_uncertain_and_says_so() -> None:
    found = judge(known(-0.4, NAN, window=3), span=5, horizon_1pct=NAN)
    assert (found.word, found.finding) == ("UNCERTAIN", "−0.400 nats/step, from too few steps for an interval")


def test_an_uncertain_rate_gives_both_ends() -> None:
    found = judge(known(-0.04, 0.05), span=100, horizon_1pct=NAN)
    assert "anything from 10^−4 to 2.7 times the gradient" in found.finding


def test_nothing_known() -> None:
    found = judge(Rate(NAN, NAN, NAN, 0, 0, 0, 0), span=5, horizon_1pct=NAN)
    assert (found.word, found.finding) == ("UNCERTAIN", "the rate is not known")


def test_divergence_goes_before_everything() -> None:
    found = judge(known(-0.4, 0.01), span=50, horizon_1pct=11.0, dead=True, diverged_at=37)
    assert (found.word, found.finding) == ("DIVERGED", "the state is not finite from t = 37 on")


def test_death_goes_before_the_rate() -> None:
    found = judge(known(-0.4, 0.01, zeros=640), span=50, horizon_1pct=11.0, dead=True)
    assert found.word == "DEAD"
    assert "640 gradients" in found.evidence


def test_a_scalar_recurrence_end_to_end() -> None:
    """TRUTHS E01: ``w = 0.5`` loses ln 2 a step and 99 % within ⌈ln 100 / ln 2⌉ = 7 of them."""
    logs = np.log(0.5) * np.arange(101.0)[:, None]
    found = judge(rate(logs), span=100, horizon_1pct=horizon(logs, 0.01)[0])
    assert found.word == "VANISHING"
    assert found.finding.startswith("−0.693 ± 0.000 nats/step: 1 % of the gradient is left after 7 of the 100 steps")


def test_span_must_be_a_step_at_least() -> None:
    with pytest.raises(InputError, match="span: expected a number of steps, at least 1; got 0"):
        judge(known(-0.4, 0.01), span=0, horizon_1pct=NAN)
