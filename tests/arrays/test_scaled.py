"""Mantissa × 2^exponent: exact, of any size, and never silently zero or infinite."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles.compare import assert_normwise

import gradlab as gl
from gradlab.arrays.scaled import LN2, ROOM, add, common_exponent, highest, ldexp, log_norm, normalise, reader

Array = NDArray[Any]
#: Mantissas that the passes may hold; below 2^-1000 of the largest a component is lost, so none is that small.
MANTISSAS = st.floats(-1e30, 1e30).filter(lambda m: m == 0 or abs(m) > 1e-30)
EXPONENTS = st.integers(-(10**6), 10**6)


def column(*values: float, dtype: str = "float64") -> Array:
    """Return one column ``(F, 1)``."""
    return np.array(values, dtype)[:, None]


def exponents(*values: int) -> Array:
    return np.array(values, np.int64)


def exact(mantissa: float, exponent: int) -> Fraction:
    return Fraction(mantissa) * Fraction(2) ** exponent


# --- norms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-170, 1e-308, 5e-324, 1e200, 1.7e308, 1.0])
def test_norms_neither_vanish_nor_overflow(size: float) -> None:
    """TRUTHS §2: numpy's own norm of four 1e-170 is 0, of four 1e200 inf."""
    np.testing.assert_allclose(log_norm(column(*[size] * 4), 0), [np.log(2) + np.log(size)], rtol=1e-14)


@pytest.mark.parametrize("size", [1e-30, 1e-45, 1e30, 3e38, 1.0])
def test_norms_in_float32(size: float) -> None:
    value = np.float32(size)
    found = log_norm(column(*[value] * 4, dtype="float32"), 0)
    np.testing.assert_allclose(found, [np.log(2) + np.log(float(value))], rtol=1e-6)


def test_norms_of_what_is_not_finite_or_not_there() -> None:
    columns = np.array([[0.0, np.inf, np.nan, 1.0], [0.0, 1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(log_norm(columns, exponents(5, 0, 0, 0)), [-np.inf, np.inf, np.nan, 0.0])


@given(
    mantissas=st.lists(MANTISSAS, min_size=1, max_size=5).filter(any),
    exponent=EXPONENTS,
)
def test_log_norm_is_the_exact_one(mantissas: list[float], exponent: int) -> None:
    square = sum(Fraction(m) ** 2 for m in mantissas)
    wanted = 0.5 * (np.log(float(square / 10**40)) + 40 * np.log(10)) + exponent * np.log(2)
    np.testing.assert_allclose(log_norm(column(*mantissas), exponents(exponent)), [wanted], rtol=1e-13, atol=1e-13)


# --- sums -----------------------------------------------------------------------------------------------


@given(one=MANTISSAS, two=MANTISSAS, e=st.integers(-900, 900), f=st.integers(-900, 900))
def test_add_is_the_exact_sum(one: float, two: float, e: int, f: int) -> None:
    mantissa, exponent = add(column(one), exponents(e), column(two), exponents(f))
    found, wanted = exact(float(mantissa[0, 0]), int(exponent[0])), exact(one, e) + exact(two, f)
    largest = max(abs(exact(one, e)), abs(exact(two, f)))
    assert abs(found - wanted) <= largest * Fraction(2) ** -52


@pytest.mark.parametrize("gap", [0, 1, 52, 60, 1000, 5000, 10**6, 2**40])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_add_across_any_gap(gap: int, dtype: str) -> None:
    """The larger one stays whole; beyond its last bit the smaller one is gone, and nothing warns."""
    big, small = column(1.0, dtype=dtype), column(0.5, dtype=dtype)
    for first in (True, False):
        args = (big, exponents(gap), small, exponents(0))
        mantissa, exponent = add(*(args if first else args[2:] + args[:2]))
        assert (mantissa.dtype, exponent[0]) == (dtype, gap)
        np.testing.assert_array_equal(mantissa[0, 0], np.dtype(dtype).type(1.0 + 0.5 * 2.0 ** -min(gap, 1074)))


def test_zeros_have_no_exponent() -> None:
    """A zero that stands on 2^1e6 must not swallow what is added to it."""
    tiny, nothing = column(0.75, 0.5), column(0.0, 0.0)
    for order in (
        (tiny, exponents(-(10**6)), nothing, exponents(10**6)),
        (nothing, exponents(10**6), tiny, exponents(-(10**6))),
    ):
        mantissa, exponent = add(*order)
        np.testing.assert_array_equal(mantissa, tiny)
        assert exponent[0] == -(10**6)
    mantissa, _ = add(nothing, exponents(3), nothing, exponents(-3))
    assert not mantissa.any()


def test_each_column_has_its_own_exponent() -> None:
    one, two = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 1.0]])
    mantissa, exponent = add(one, exponents(0, 10, 99), two, exponents(0, 0, -99))
    np.testing.assert_array_equal(mantissa, [[2.0, 1 + 2.0**-10, 1.0]])
    np.testing.assert_array_equal(exponent, [0, 10, -99])


# --- rescaling -------------------------------------------------------------------------------------------


@given(
    mantissas=st.lists(
        st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), min_size=1, max_size=4
    ),
    exponent=EXPONENTS,
)
def test_normalise_is_exact_where_nothing_is_lost(mantissas: list[float], exponent: int) -> None:
    columns, moved = column(*mantissas), exponents(exponent)
    peak = max(abs(m) for m in mantissas)
    normalise(columns, moved)
    if peak:
        assert 2.0 ** -ROOM["float64"] < np.abs(columns).max() < 2.0 ** ROOM["float64"]
    for before, after in zip(mantissas, columns[:, 0].tolist(), strict=True):
        if before == 0 or abs(before) > peak * 2.0**-900:
            assert exact(before, exponent) == exact(after, int(moved[0]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_normalise_leaves_room_and_what_is_not_finite_alone(dtype: str) -> None:
    room = ROOM[dtype]
    limits = np.finfo(dtype)
    columns = np.array(
        [[1.0, 2.0 ** (room + 1), 2.0 ** -(room + 1), 0.0, np.inf, np.nan, limits.max, limits.tiny]], dtype
    )
    before, exponent = columns.copy(), np.zeros(8, np.int64)
    normalise(columns, exponent)
    np.testing.assert_array_equal(exponent[[3, 4, 5]], 0)
    np.testing.assert_array_equal(columns[0, [3, 4, 5]], before[0, [3, 4, 5]])
    np.testing.assert_array_equal(columns[0, [0, 1, 2]], 0.5)  # the first had room, and gets more
    np.testing.assert_array_equal(exponent[[0, 1, 2]], [1, room + 2, -room])
    assert np.all((np.abs(columns[0, 6:]) >= 0.5) & (np.abs(columns[0, 6:]) <= 1))


def test_common_exponent() -> None:
    columns = np.array([[[1.0, 1.0]], [[1.0, 0.0]]])
    exponent = np.array([[0, 5], [-3, 900]])
    together, peak = common_exponent(columns, exponent, (0, 1))
    np.testing.assert_array_equal(peak, [[5]])
    np.testing.assert_array_equal(together, [[[2.0**-5, 1.0]], [[2.0**-8, 0.0]]])
    alone, peaks = common_exponent(columns, exponent, (1,))
    np.testing.assert_array_equal(peaks, [[5], [-3]])
    np.testing.assert_array_equal(alone, [[[2.0**-5, 1.0]], [[1.0, 0.0]]])
    nothing, none = common_exponent(0 * columns, exponent, (0, 1))
    assert not nothing.any()
    assert not none.any()


# --- what the reader gets ---------------------------------------------------------------------------------


def test_asarray_gives_plain_floats_that_may_over_or_underflow() -> None:
    scaled = gl.Scaled(np.array([[1.5], [1.5], [1.5], [0.0]]), exponents(3, -(10**9), 10**9, 10**9))
    np.testing.assert_array_equal(np.asarray(scaled), [[12.0], [0.0], [np.inf], [0.0]])
    assert np.asarray(scaled, "float32").dtype == "float32"
    np.testing.assert_allclose(scaled.log_norm()[:3] / LN2, np.log2(1.5) + np.array([3, -1e9, 1e9]), rtol=1e-15)
    np.testing.assert_array_equal(scaled.zero, [False, False, False, True])


@given(value=st.floats(allow_nan=False, allow_infinity=False), exponent=st.integers(-2200, 2200))
def test_asarray_is_pythons_ldexp(value: float, exponent: int) -> None:
    found = np.asarray(gl.Scaled(np.array([[value]]), exponents(exponent)))[0, 0]
    largest = Fraction(np.finfo(float).max)
    wanted = exact(value, exponent)
    assert found == (float(wanted) if abs(wanted) <= largest else np.copysign(np.inf, value))


def test_reader_index_shape_and_repr() -> None:
    columns, exponent = np.arange(24.0).reshape(4, 3, 2), np.arange(8).reshape(4, 2)
    scaled = reader(columns, exponent)
    assert scaled.shape == (4, 2, 3)
    assert np.shares_memory(scaled.mantissa, columns)
    np.testing.assert_array_equal(scaled[2, 1].mantissa, columns[2, :, 1])
    np.testing.assert_array_equal(np.asarray(scaled[1:]), np.asarray(scaled)[1:])
    np.testing.assert_array_equal(np.asarray(scaled)[3, 1], columns[3, :, 1] * 2.0**7)
    assert_normwise(scaled.log_norm(), log_norm(columns, exponent), 1e-15, axis=None)
    assert repr(scaled) == "Scaled(4, 2, 3) float64: mantissa × 2^exponent; np.asarray(…) for plain floats"


def test_ldexp_takes_exponents_that_c_cannot() -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(ldexp(np.array([1.0, 1.0]), np.array([2**62, -(2**62)])), [np.inf, 0.0])


def test_sums_of_float32_lose_nothing_that_float32_holds(rng: np.random.Generator) -> None:
    one, two = rng.standard_normal((2, 5, 3)).astype("float32")
    mantissa, exponent = add(one, exponents(0, 7, -30), two, exponents(4, 0, -30))
    wanted = one.astype(float) * 2.0 ** np.array([0, 7, -30]) + two.astype(float) * 2.0 ** np.array([4, 0, -30])
    assert_normwise(mantissa.astype(float) * 2.0**exponent, wanted, 1e-7, axis=0)


def test_the_highest_exponent_is_of_a_column_that_is_not_zero() -> None:
    """Steps 1 and 2 of two sequences: the column of the highest exponent holds zeros alone, and does not count."""
    columns, exponent = np.zeros((2, 3, 2)), np.array([[9, 5], [7, 1]])
    assert highest(columns, exponent) is None
    columns[1, 2, 1] = 0.5
    assert highest(columns, exponent) == 1
    columns[0, 0, 1] = -0.5
    assert highest(columns, exponent) == 5
    columns[0, 1, 0] = 1.0
    assert highest(columns, exponent) == 9
