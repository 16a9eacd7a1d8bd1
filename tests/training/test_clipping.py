"""Clipping where plain floats overflow, and what it refuses; that it is PyTorch's stands in test_against_torch."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab as gl
from gradlab.training.clipping import Clip, norm

VECTOR = np.array([3.0, -4.0, 0.0, 12.0])  # ‖·‖ = 13


def test_small_gradients_are_left_alone() -> None:
    clipped = Clip(norm=20.0)(VECTOR)
    assert clipped.grad is VECTOR
    assert (clipped.norm, clipped.kept) == (13.0, 1.0)


@pytest.mark.parametrize("exponent", [0, 40, 3000])
def test_by_norm_whatever_the_exponent(exponent: int) -> None:
    clipped = Clip(norm=2.0)(VECTOR, exponent)
    small = 1e-6 if exponent == 0 else 0.0  # PyTorch's ε, out of sight of a large norm
    np.testing.assert_allclose(clipped.grad, VECTOR * 2.0 / (13.0 + small), rtol=1e-15 if not exponent else 1e-12)
    assert clipped.norm == (np.inf if exponent == 3000 else 13.0 * 2.0**exponent)
    np.testing.assert_allclose(clipped.kept, 0.0 if exponent == 3000 else 2.0 / (13.0 * 2.0**exponent), rtol=1e-6)


@pytest.mark.parametrize("exponent", [0, 3000])
def test_by_value_whatever_the_exponent(exponent: int) -> None:
    clipped = Clip(value=2.0)(VECTOR, exponent)
    np.testing.assert_array_equal(clipped.grad, [2.0, -2.0, 0.0, 2.0])
    assert clipped.kept == (0.0 if exponent else pytest.approx(np.sqrt(12.0) / 13.0))


def test_zero_is_kept_whole() -> None:
    for clip in (Clip(), Clip(norm=1.0), Clip(value=1.0)):
        clipped = clip(np.zeros(3))
        assert (clipped.norm, clipped.kept) == (0.0, 1.0)
        assert not clipped.grad.any()


def test_the_norm_squares_nothing_into_zero_or_infinity() -> None:
    for unit in (1e-170, 1.0, 1e200):
        np.testing.assert_allclose(norm(unit * VECTOR), 13.0 * unit, rtol=1e-15)
    assert norm(np.array([np.inf, 1.0])) == np.inf
    assert np.isnan(norm(np.array([np.nan, 1.0])))


def test_float32_stays() -> None:
    narrow = VECTOR.astype(np.float32)
    for clip in (Clip(), Clip(norm=1.0), Clip(value=1.0)):
        for exponent in (0, 5):
            assert clip(narrow, exponent).grad.dtype == np.float32


def test_a_gradient_beyond_floats_is_trained_on_where_it_is_clipped() -> None:
    """h = 3 h + b, T = 900: dL/db_h = Σ 3^k = 10^429; clipped by norm 1 only its direction is left, exactly."""
    cell = gl.RNN(W_xh=np.zeros((2, 1)), W_hh=3.0 * np.eye(2), activation="identity")
    batch = np.zeros((900, 1, 1)), gl.projection(np.array([[3.0, 4.0]]))
    training = gl.Training(cell, lambda step: batch, optimiser=gl.SGD(1.0), clip_norm=1.0).run(1)
    np.testing.assert_allclose(training.model.parameters["b_h"], [-0.6, -0.8], rtol=1e-12)
    assert training.norms[0] == np.inf
    assert training.kept[0] == 0.0
    by_value = gl.Training(cell, lambda step: batch, optimiser=gl.SGD(1.0), clip_value=0.25).run(1)
    np.testing.assert_array_equal(by_value.model.parameters["b_h"], [-0.25, -0.25])
    left_alone = gl.Training(cell, lambda step: batch, optimiser=gl.SGD(1.0)).run(1)
    assert (left_alone.status, left_alone.reason) == ("diverged", "step 0: the gradient is not finite")


def test_what_is_refused() -> None:
    with pytest.raises(gl.InputError, match=r"give clip_norm or clip_value, not both; got 1.0 and 2.0"):
        Clip(1.0, 2.0)
    with pytest.raises(gl.InputError, match=r"clip_norm must be above 0, got 0.0; None is no clipping"):
        Clip(norm=0.0)
    with pytest.raises(gl.InputError, match="clip_value must be finite, got inf"):
        Clip(value=np.inf)
