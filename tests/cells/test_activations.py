"""Derivatives of saturated units, right in relative terms, against sixty decimal digits."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.derivatives import exact_logistic, exact_logistic_derivative, exact_tanh_derivative

from gradlab.cells.activations import ACTIVATIONS, complement, logistic, tanh_derivative

#: Both sides of every switch between the short and the exact form, and far beyond where 1 − y² is 0 (19) or 1 − σ (37).
POINTS = np.array([0.0, 1e-9, 0.3, 1.0, 2.07, 2.8, 4.1, 4.2, 8.0, 12.0, 19.1, 30.0, 40.0, 100.0, 300.0])
BOTH = np.concatenate([-POINTS[::-1], POINTS])
#: Six bits of cancellation at most, and the rounding of e^a itself, which grows with a.
ROUNDING = 64 * np.finfo(float).eps


@pytest.mark.parametrize("a", BOTH.tolist())
def test_derivatives_are_right_in_relative_terms(a: float) -> None:
    point = np.array([a])
    for name, exact in (("tanh", exact_tanh_derivative), ("logistic", exact_logistic_derivative)):
        activation = ACTIVATIONS[name]
        found = activation.derivative(point, activation.value(point))
        np.testing.assert_allclose(found, exact(a), rtol=ROUNDING, err_msg=name)
        assert found[0] > 0


@pytest.mark.parametrize("a", BOTH.tolist())
def test_logistic_and_its_complement(a: float) -> None:
    point = np.array([a])
    np.testing.assert_allclose(logistic(point), exact_logistic(a), rtol=ROUNDING)
    np.testing.assert_allclose(complement(point, logistic(point)), exact_logistic(-a), rtol=ROUNDING)


def test_short_forms_are_wrong_where_ours_is_right() -> None:
    """The traps themselves (TRUTHS §2): were the short form right, this file would prove nothing."""
    assert 1 - np.tanh(20.0) ** 2 == 0.0 < tanh_derivative(np.array([20.0]), np.tanh(np.array([20.0])))[0]
    np.testing.assert_allclose(logistic(np.array([-40.0])), 4.248354255291589e-18, rtol=1e-15)
    plain = logistic(np.array([40.0]))[0]
    assert plain * (1 - plain) == 0.0
    assert abs((1 - np.tanh(12.0) ** 2) / exact_tanh_derivative(12.0) - 1) > 1e-7


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_stays_and_arrays_are_left_alone(name: str, dtype: str) -> None:
    a = np.linspace(-50, 50, 11).astype(dtype)
    given = a.copy()
    y = ACTIVATIONS[name].value(a)
    kept = y.copy()
    assert y.dtype == ACTIVATIONS[name].derivative(a, y).dtype == dtype
    np.testing.assert_array_equal(a, given)
    np.testing.assert_array_equal(y, kept)


def test_relu_and_identity() -> None:
    a = np.array([-2.0, -0.0, 0.0, 3.0])
    np.testing.assert_array_equal(ACTIVATIONS["relu"].value(a), [0, 0, 0, 3])
    np.testing.assert_array_equal(ACTIVATIONS["relu"].derivative(a, a), [0, 0, 0, 1])
    np.testing.assert_array_equal(ACTIVATIONS["identity"].value(a), a)
    np.testing.assert_array_equal(ACTIVATIONS["identity"].derivative(a, a), np.ones(4))


def test_float32_saturates_in_relative_terms_too() -> None:
    a = np.array([12.0, 20.0, 40.0], "float32")
    found = tanh_derivative(a, np.tanh(a))
    np.testing.assert_allclose(found, [exact_tanh_derivative(float(p)) for p in a], rtol=1e-5)
