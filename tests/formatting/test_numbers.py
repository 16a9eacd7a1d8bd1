"""Numbers as text: digits that the interval supports, a true minus, nothing invented."""

from __future__ import annotations

import math

import pytest

from gradlab.formatting.numbers import compact, estimate, factor, numeral, plain, plus_minus, probability

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-0.412, -0.431, -0.393, "−0.412 [−0.431, −0.393]"),
        (-690.7755, -690.9, -690.6, "−690.78 [−690.90, −690.60]"),
        (12.3, -30.0, 54.0, "12 [−30, 54]"),
        (0.25, 0.25, 0.25, "0.250 [0.250, 0.250]"),
        (-0.6931, NAN, NAN, "−0.693"),
        (NAN, NAN, NAN, "—"),
        (1e-9, -1e-9, 3e-9, "0.000000 [0.000000, 0.000000]"),
        (1.0, -math.inf, math.inf, "1.00 [−∞, ∞]"),
    ],
)
def test_estimate(value: float, low: float, high: float, text: str) -> None:
    assert estimate(value, low, high) == text


@pytest.mark.parametrize("width", [0.0, 4e-16, 1e-14])
def test_an_interval_of_rounding_alone_lends_no_digits(width: float) -> None:
    assert estimate(-3.489608, -3.489608 - width, -3.489608 + width) == "−3.49 [−3.49, −3.49]"


def test_plus_minus() -> None:
    assert plus_minus(-0.412, -0.431, -0.393) == "−0.412 ± 0.019"
    assert plus_minus(-0.412, NAN, NAN) == "−0.412"


@pytest.mark.parametrize(
    ("nats", "text"),
    [
        (0.0, "1.0"),
        (-0.41, "0.66"),
        (-41.2, "10^−18"),
        (800.0, "10^347"),
        (-1e6, "10^−434294"),
        (4.0, "55"),
        (-math.inf, "0"),
        (math.inf, "∞"),
        (NAN, "—"),
    ],
)
def test_factor_never_over_or_underflows(nats: float, text: str) -> None:
    assert factor(nats) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-0.4123, "−0.41"), (0.0, "0.00"), (-1e-5, "0.000"), (123.4, "123"), (NAN, "—")]
)
def test_compact(value: float, text: str) -> None:
    assert compact(value) == text


def test_plain_is_as_chosen() -> None:
    assert [plain(value) for value in (0.5, 1.0, -2.0, 400)] == ["0.5", "1", "−2", "400"]


def test_a_rounded_zero_has_no_sign() -> None:
    assert numeral(-0.0004, 3) == "0.000"


def test_probability() -> None:
    assert [probability(p) for p in (0.0314159, 1.0, 0.0009, 0.0, NAN)] == ["0.031", "1.000", "< 0.001", "< 0.001", "—"]
