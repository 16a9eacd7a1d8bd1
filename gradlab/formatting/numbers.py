"""Numbers as text, with as many digits as their interval supports and a true minus sign."""

from __future__ import annotations

import math

#: The text of an unknown number.
UNKNOWN = "—"
#: Decimals of a number in nats per step, at most, however narrow its interval is.
MOST_DECIMALS = 6
#: An interval that is narrower than this share of its value is only rounding.
ROUNDING = 1e-12
#: An interval is uneven if its upper side is longer than its lower side by more than this factor.
UNEVEN = 1.5


def numeral(value: float, decimals: int) -> str:
    """Return ``value`` with a fixed number of decimals: ``−0.412``; ``—`` for nan."""
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _signed(f"{value:.{decimals}f}")


def compact(value: float, digits: int = 2) -> str:
    """Return ``value`` with ``digits`` significant digits but no more than 3 decimals: ``−0.41``, ``12``."""
    return numeral(value, min(_decimals(value, digits), 3))


def plain(value: float) -> str:
    """Return a chosen number in its shortest form: ``0.5``, ``1``, ``−2``."""
    return _signed(f"{value:g}")


def significant(value: float, digits: int = 2) -> str:
    """Return ``value`` with ``digits`` significant digits, however small it is; ``—`` for nan."""
    return UNKNOWN if math.isnan(value) else plain(float(f"{value:.{digits}g}"))


def counted(number: int, noun: str) -> str:
    """Return ``1 step`` or ``3 steps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def probability(p: float) -> str:
    """Return a p value with three decimals: ``0.031``, ``< 0.001``; further digits are never reliable."""
    return "< 0.001" if p < 0.001 else numeral(p, 3)


def estimate(value: float, low: float, high: float) -> str:
    """Return ``−0.412 [−0.431, −0.393]``, a value with its interval.

    The decimals show two significant digits of the interval's half width; of an uneven interval, of its shorter side.

    Parameters
    ----------
    value, low, high : float
        The estimate and the ends of its interval; nan ends leave the interval out.

    Examples
    --------
    >>> estimate(-0.41234, -0.4310, -0.3930)
    '−0.412 [−0.431, −0.393]'
    """
    decimals = _supported(value, low, high)
    if math.isnan(low) or math.isnan(high):
        return numeral(value, decimals)
    return f"{numeral(value, decimals)} [{numeral(low, decimals)}, {numeral(high, decimals)}]"


def plus_minus(value: float, low: float, high: float) -> str:
    """Return ``−0.412 ± 0.019``, for an interval that is symmetric around its value."""
    decimals = _supported(value, low, high)
    if math.isnan(low) or math.isnan(high):
        return numeral(value, decimals)
    return f"{numeral(value, decimals)} ± {numeral((high - low) / 2, decimals)}"


def factor(nats: float) -> str:
    """Return ``e^nats`` as a number, however large: ``0.43``, ``10^−18``."""
    if not math.isfinite(nats):
        return UNKNOWN if math.isnan(nats) else ("∞" if nats > 0 else "0")
    decades = nats / math.log(10)
    if abs(decades) < 3:
        return numeral(math.exp(nats), _decimals(math.exp(nats), 2))
    return f"10^{_signed(f'{decades:.0f}')}"


def _supported(value: float, low: float, high: float) -> int:
    half = (high - low) / 2
    if half < ROUNDING * abs(value):
        return _decimals(value, 3)
    if high - value > UNEVEN * (value - low) > 0:
        half = min(value - low, low) if low > 0 else value - low
    return _decimals(half, 2) if half > 0 and math.isfinite(half) else _decimals(value, 3)


def _decimals(value: float, digits: int) -> int:
    """Return the decimals that show ``digits`` significant digits of ``value``."""
    if not math.isfinite(value) or value == 0:
        return digits
    return min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), MOST_DECIMALS)


def _signed(text: str) -> str:
    """Return ``text`` with a true minus, and without a sign if rounding left only zeros."""
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "−")
