"""Gaussian products: Newman's exponents and the growth of one vector, against simulation and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradlab import theory
from gradlab.errors import InputError


def test_newman_exponents(rng: np.random.Generator) -> None:
    """E17: ln R_ii of 4000 Gaussian steps, |z| < 4.5; variances within 4 standard errors (excess kurtosis up to 4)."""
    size, steps, g = 6, 4000, 1.3
    known, Q, logs = theory.newman_exponents(size, scale=g), np.eye(size), np.empty((steps, size))
    for t in range(steps):
        Q, R = np.linalg.qr(g / math.sqrt(size) * rng.standard_normal((size, size)) @ Q)
        logs[t] = np.log(np.abs(np.diag(R)))
    z = (logs.mean(axis=0) - known.exponents) / np.sqrt(known.step_variance / steps)
    assert np.abs(z).max() < 4.5, z
    np.testing.assert_allclose(logs.var(axis=0), known.step_variance, rtol=0.15)


def test_newman_exponents_by_hand() -> None:
    """``ψ(½) = −γ − 2 ln 2`` and ``ψ'(½) = π²/2`` for N = 1; the first exponent is one vector's; a scale adds ln g."""
    known = theory.newman_exponents(1)
    np.testing.assert_allclose(known.exponents, [0.5 * (-np.euler_gamma - math.log(2))], rtol=1e-14)
    np.testing.assert_allclose(known.step_variance, [math.pi**2 / 8], rtol=1e-14)
    many = theory.newman_exponents(50, scale=2.0).exponents
    assert np.all(np.diff(many) < 0)
    np.testing.assert_allclose(many[0], theory.gaussian_growth(50, 3, scale=2.0).rate, rtol=1e-14)
    np.testing.assert_allclose(many - theory.newman_exponents(50).exponents, math.log(2), rtol=1e-14)


def test_gaussian_growth(rng: np.random.Generator) -> None:
    """E18 from 2000 products of 50 steps, 4 standard errors: the matrices themselves, and χ² steps in their place."""
    size, steps, runs = 8, 50, 2000
    known = theory.gaussian_growth(size, steps)
    logs = np.log(rng.chisquare(size, (runs, steps)) / size).sum(axis=1)
    v = np.zeros((runs, size))
    v[:, 0], walk = 1.0, np.zeros(runs)
    for _ in range(steps):
        v = np.einsum("rij,rj->ri", rng.standard_normal((runs, size, size)) / math.sqrt(size), v)
        square = (v**2).sum(axis=1)
        walk, v = walk + np.log(square), v / np.sqrt(square)[:, None]
    for found in (logs, walk):
        assert abs(found.mean() - known.mean_log_square) < 4 * math.sqrt(known.variance_log_square / runs)
        np.testing.assert_allclose(found.var(), known.variance_log_square, rtol=4 * math.sqrt(2 / runs))
    assert known.log_mean_square == 0.0
    assert known.mean_log_square < -4 * math.sqrt(known.variance_log_square / runs)
    assert known.rate == known.mean_log_square / (2 * steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.newman_exponents(0), "size must be at least 1, got 0"),
        (lambda: theory.newman_exponents(3, scale=0.0), "scale must be above 0, got 0"),
        (lambda: theory.gaussian_growth(3, 0), "steps must be at least 1, got 0"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
