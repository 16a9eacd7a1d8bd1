"""The word follows from the whole interval and the span, and the lines say by what numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradlab.errors import InputError
from gradlab.statistics.decay_shapes import Shape
from gradlab.statistics.rates import Rate, rate
from gradlab.statistics.survival import horizon
from gradlab.verdicts import Evidence, Suggestion, Verdict, judge, together
from gradlab.verdicts.labels import FLOAT32_NATS

NAN = math.nan


def known(mean: float, half: float, **others: int) -> Rate:
    return Rate(mean, mean - half, mean + half, others.get("window", 80), 1, 81, others.get("zeros", 0))


def judged(rate: Rate, span: int, **others: Any) -> Verdict:
    return judge(Evidence(rate, span, **others))


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
        (-0.05, 0.01, 100, "UNCERTAIN"),  # 1.8 % is left at one end
        (0.04, 0.02, 100, "UNCERTAIN"),
        (0.05, 0.01, 100, "UNCERTAIN"),
        (-0.9, 0.02, 100, "UNDERFLOWS IN float32"),
        (-0.88, 0.02, 100, "VANISHING"),  # e^−86 at one end is still a normal number
        (-0.88, NAN, 100, "UNCERTAIN"),
    ],
)
def test_word(mean: float, half: float, span: int, word: str) -> None:
    found = judged(known(mean, half), span)
    assert found.word == word
    assert str(found).startswith(word + "   ")


def test_the_same_rate_vanishes_on_a_long_task_and_not_on_a_short_one() -> None:
    words = [judged(known(-0.1, 0.001), span).word for span in (10, 100, 1000)]
    assert words == ["STABLE", "VANISHING", "UNDERFLOWS IN float32"]


def test_lines_of_a_vanishing_gradient() -> None:
    first, second, third = str(judged(known(-0.412, 0.019, zeros=3), 100, horizon_1pct=11.0)).splitlines()
    finding = "−0.412 ± 0.019 nats/step: 1 % of the gradient is left after 11 of the 100 steps that the task needs"
    mean = "the mean of 80 increments, lags 1 to 81, is −0.412 [−0.431, −0.393]"
    assert first == f"VANISHING   {finding}"
    assert second == f"because     {mean}: a factor of 10^−18 over 100 steps; 3 exact zeros left out"
    assert third == "try         a lag of at most 11 steps, over which 1 % is left"


def test_lines_stand_below_each_other_whatever_the_word() -> None:
    first, second, third = str(judged(known(-3.0, 0.1), 100, horizon_1pct=2.0)).splitlines()
    assert first.index("−3.00") == second.index("the mean") == third.index("a lag")


def test_a_horizon_that_was_not_reached_is_said_to_be_a_guess() -> None:
    assert "after about 46 of the 100 steps" in judged(known(-0.1, 0.001), 100).finding


def test_float32_holds_it_so_far() -> None:
    """TRUTHS §2: float32 underflows after 87.3/|rate| steps, rate −0.31 after 282 of them."""
    assert pytest.approx(87.3, abs=0.05) == FLOAT32_NATS
    assert judged(known(-0.31, 0.001), 2000).finding.endswith("float32 holds it for 282")


def test_an_exploding_gradient_says_by_how_much() -> None:
    assert "grows by a factor of 10^18 over" in judged(known(0.41, 0.01), 100).finding
    assert judged(known(0.9, 0.01), 100).finding.endswith("beyond float32's largest number")


def test_no_interval_is_uncertain_and_says_so() -> None:
    found = judged(known(-0.4, NAN, window=3), 5)
    assert (found.word, found.finding) == ("UNCERTAIN", "−0.400 nats/step, from too few steps for an interval")
    assert str(found.suggestion) == "a longer sequence"


def test_an_uncertain_rate_gives_both_ends() -> None:
    found = judged(known(-0.04, 0.05), 100)
    assert "anything from 10^−4 to 2.7 times the gradient" in found.finding
    assert found.suggestion is not None
    assert "more sequences" in found.suggestion.text


def test_nothing_known() -> None:
    found = judged(Rate(NAN, NAN, NAN, 0, 0, 0, 0), 5)
    assert (found.word, found.finding) == ("UNCERTAIN", "the rate is not known")


def test_divergence_goes_before_everything() -> None:
    found = judged(known(-0.4, 0.01), 50, dead_at=7, diverged_at=37)
    assert found.word == "DIVERGED"
    assert found.finding == "the state is not finite from t = 37 on; behind it there is no gradient"
    found = judged(known(-0.4, 0.01), 50, overflowed=True)
    assert (found.word, found.finding) == ("DIVERGED", "the loss's gradient is not finite, though every state is")


def test_death_goes_before_the_rate_where_the_span_reaches_it() -> None:
    found = judged(known(-0.01, 0.001, zeros=640), 50, dead_at=20)
    assert found.word == "DEAD"
    assert found.finding == "the gradient is exactly zero after 20 of the 50 steps that the task needs"
    assert "640 exact zeros left out" in found.evidence
    assert judged(known(-0.01, 0.001, zeros=640), 19, dead_at=20).word == "STABLE"


def test_a_loss_without_a_gradient_is_another_matter_than_dead_units() -> None:
    found = judged(Rate(NAN, NAN, NAN, 0, 0, 0, 9), 50, dead_at=0)
    assert found.word == "DEAD"
    assert found.suggestion is not None
    assert found.suggestion.text.startswith("another target")


@pytest.mark.parametrize(
    ("left", "word"),
    [
        ((-8.0, -8.5, -7.0, -9.0), "VANISHING"),
        ((-8.0, -8.5, -7.0, -4.0), "VANISHING"),  # three quarters agree
        ((-8.0, -8.5, -4.0, -4.0), "UNCERTAIN"),
        ((-8.0, -8.0, -8.0, 8.0), "MIXED"),  # a quarter explodes
        ((-8.0, -8.0, -8.0, -8.0, 8.0), "VANISHING"),  # a fifth does
    ],
)
def test_sequences_that_were_measured_over_the_span_may_deny_a_rate(left: tuple[float, ...], word: str) -> None:
    found = judged(known(-0.08, 0.01), 100, left=left)
    assert found.word == word
    if word == "UNCERTAIN":
        counts = "of 4 sequences 2 fell below 1 %, 2 stayed, 0 grew a hundredfold"
        assert found.finding.endswith(
            f"nats/step stands for VANISHING over the 100 steps that the task needs, but {counts}"
        )
    if word == "MIXED":
        assert ": of 4 sequences 3 vanish and 1 explode over" in found.finding


@pytest.mark.parametrize(
    ("rate", "exponents", "errors", "size", "word"),
    [
        (-0.1, (0.1, -0.1), (0.01, 0.01), 2, "MIXED"),  # this loss misses the direction that explodes
        (-0.1, (0.1, -0.1), (0.03, 0.01), 2, "VANISHING"),  # which is not known well enough
        (-0.1, (0.1, -0.1), (NAN, NAN), 2, "VANISHING"),  # or not at all
        (0.1, (0.1, 0.1, -0.1, -0.1), (0.01,) * 4, 4, "MIXED"),  # half and half
        (0.1, (0.1, -0.1), (0.01,) * 2, 5, "EXPLODING"),  # one of five explodes: TRUTHS P1's chaos
        (0.1, (0.1, -0.1), (0.01,) * 2, 4, "MIXED"),  # one of four, three vanish: all below the last one known do
        (-0.1, (-0.1, -0.2), (0.01,) * 2, 2, "VANISHING"),
    ],
)
def test_directions_of_both_kinds(
    rate: float, exponents: tuple[float, ...], errors: tuple[float, ...], size: int, word: str
) -> None:
    """Over 100 steps an exponent of 0.1 is 10 nats, beyond ±4.6; twice an error of 0.03 takes 6 of them."""
    assert judged(known(rate, 0.01), 100, exponents=exponents, errors=errors, size=size).word == word


def test_a_scalar_recurrence_end_to_end() -> None:
    """TRUTHS E01: ``w = 0.5`` loses ln 2 a step and 99 % within ⌈ln 100 / ln 2⌉ = 7 of them."""
    logs = np.log(0.5) * np.arange(101.0)[:, None]
    found = judged(rate(logs), 100, horizon_1pct=horizon(logs, 0.01).steps)
    assert found.word == "VANISHING"
    assert found.finding.startswith("−0.693 ± 0.000 nats/step: 1 % of the gradient is left after 7 of the 100 steps")


@pytest.mark.parametrize("span", [0, -3, 2.5, True])
def test_span_must_be_a_step_at_least(span: Any) -> None:
    with pytest.raises(InputError, match=f"span: expected a number of steps, at least 1; got {span}"):
        judged(known(-0.4, 0.01), span)


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (("VANISHING", "STABLE"), "VANISHING"),
        (("UNCERTAIN", "STABLE"), "UNCERTAIN"),
        (("EXPLODING", "STABLE"), "EXPLODING"),
        (("EXPLODING", "UNDERFLOWS IN float32"), "MIXED"),
        (("EXPLODING", "VANISHING", "DEAD"), "DEAD"),
        (("DIVERGED", "DIVERGED"), "DIVERGED"),
    ],
)
def test_the_word_of_several_layers(words: tuple[str, ...], whole: str) -> None:
    parts = [(f"layer {i}", Verdict(word, "finding", "evidence")) for i, word in enumerate(words)]
    assert together(parts).word == whole


def test_several_layers_are_listed_with_their_own_lines() -> None:
    suggestion = Suggestion({"forget_bias": 5.0}, "why", "forget_bias=5")
    parts = [("layer 0", Verdict("STABLE", "well", "a")), ("layer 1", Verdict("VANISHING", "ill", "b", suggestion))]
    assert str(together(parts)).splitlines() == [
        "VANISHING   layer 0 STABLE, layer 1 VANISHING",
        "because     the gravest word of the layers",
        "layer 0",
        "  STABLE      well",
        "  because     a",
        "layer 1",
        "  VANISHING   ill",
        "  because     b",
        "  try         forget_bias=5",
    ]


@pytest.mark.parametrize(
    ("left", "word", "told"),
    [
        ((-6.0,), "VANISHING", "1 % of the gradient is left after 60 of the 100 steps"),
        ((-2.0, -1.0), "STABLE", "between 0.14 and 0.37 times the gradient was left after the 100 steps"),
        ((5.0,), "EXPLODING", "148 times the gradient was left after"),
        ((-90.0,), "UNDERFLOWS IN float32", "1 % of the gradient is left after 60 of"),
        ((-6.0, -1.0), "UNCERTAIN", "between 0.0025 and 0.37 times"),
        ((), "UNCERTAIN", "beyond what was measured, of the 100 steps that the task needs, nothing is known"),
    ],
)
def test_without_a_constant_rate_only_what_was_measured_counts(left: tuple[float, ...], word: str, told: str) -> None:
    """Whatever the mean rate, here one of a gradient that would vanish 4 times over."""
    bent = Shape("power law", exponent=1.5, of="time")
    found = judged(known(-0.2, 0.01), 100, horizon_1pct=60.0, left=left, shape=bent)
    assert found.word == word
    assert found.finding.startswith("no constant rate, a power law of time with exponent 1.5: ")
    assert told in found.finding
    assert "nats/step" not in found.finding
    turned = judged(known(-0.2, 0.01), 100, left=left, shape=Shape("non-monotone", turning_lag=40.0))
    assert turned.finding.startswith("no constant rate, one way until lag 40 and the other from there on: ")
    straight = judged(known(-0.2, 0.01), 100, shape=Shape("exponential", rate=-0.2))
    assert (straight.word, straight.finding[:6]) == ("VANISHING", "−0.200")


@pytest.mark.parametrize(
    ("left", "word", "where"),
    [
        ((-14.0,) * 8, "VANISHING", "all 8 sequences less than 1 %"),
        ((-14.0,) * 7 + (-1.0,), "VANISHING", "7 of 8 sequences less than 1 %"),
        ((14.0,) * 8, "EXPLODING", "all 8 sequences more than a hundredfold"),
        ((1.0, -1.0) * 4, "STABLE", "all 8 sequences between 1 % and a hundredfold"),
    ],
)
def test_a_word_that_was_measured_where_the_rate_is_too_wide_says_so(
    left: tuple[float, ...], word: str, where: str
) -> None:
    found = judged(known(-0.3, 4.1), 59, left=left, horizon_1pct=14.0)
    assert found.word == word
    assert found.finding.startswith("−0.3 ± 4.1 nats/step; measured: ")
    doubt = "the interval of the rate is too wide to say it; in "
    assert found.evidence.startswith(f"{doubt}{where} is left after 59 steps; the mean of 80 increments")


def test_a_word_that_rests_on_the_largest_exponent_says_so() -> None:
    others = {"left": (-14.0,) * 8, "exponents": (-0.25,), "errors": (0.01,), "size": 8, "horizon_1pct": 14.0}
    found = judged(known(-0.3, 4.1), 59, **others)
    assert found.finding.startswith("−0.3 ± 4.1 nats/step; by λ₁: 1 % of the gradient is left after 14 of the 59 steps")
    assert found.evidence.startswith("the interval of the rate is too wide to say it; in all 8 sequences less than 1 %")
    assert "λ₁ −0.25" in found.evidence


def test_a_word_that_the_rate_says_rests_on_nothing_else() -> None:
    found = judged(known(-0.3, 0.01), 59, left=(-14.0,) * 8, horizon_1pct=14.0)
    assert found.finding.startswith("−0.300 ± 0.010 nats/step: 1 %")
    assert "too wide" not in found.evidence
