"""The regression of increments: against dense generalised least squares, and how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, signal, stats

from gradlab.statistics.increments import MOST_CORRELATED, correlation, fit, whitened

N = 120


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_whitening_makes_an_autoregression_white(phi: float) -> None:
    """Innovations of variance 1 give the covariance ``φ^|i−j| / (1 − φ²)``, and whitening must give 1 back."""
    covariance = linalg.toeplitz(phi ** np.arange(N)) / (1 - phi**2)
    white = whitened(np.eye(N), phi)
    np.testing.assert_allclose(white @ covariance @ white.T, np.eye(N), atol=1e-12 / (1 - phi**2))


def test_estimates_are_those_of_dense_generalised_least_squares() -> None:
    rng = np.random.default_rng(0)
    design = np.stack([np.ones(N), 1 / np.arange(1.0, N + 1)], axis=1)
    series = design @ [0.2, -3.0] + signal.lfilter([0.1], [1, -0.6], rng.normal(size=N))
    found = fit(series, design, 0.0)
    weights = linalg.inv(linalg.toeplitz(found.autocorrelation ** np.arange(N)))
    expected = linalg.solve(design.T @ weights @ design, design.T @ weights @ series)
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-10)
    np.testing.assert_allclose(found.effective, N * (1 - found.autocorrelation) / (1 + found.autocorrelation))


def test_the_autocorrelation_is_one_standard_error_above_its_mean() -> None:
    rng = np.random.default_rng(1)
    walks = signal.lfilter([1.0], [1, -0.5], rng.normal(size=(1000, N + 200)), axis=1)[:, 200:]
    found = np.mean([correlation(one - one.mean()) for one in walks])
    np.testing.assert_allclose(found, 0.5 + np.sqrt(0.75 / N), atol=3 * np.sqrt(0.75 / N / 1000))
    assert correlation(np.cumsum(walks[0])) == MOST_CORRELATED
    assert correlation(np.array([1.0, -1.0] * 50)) == 0


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_both_intervals_cover_beside_each_other(phi: float) -> None:
    """A constant and a power law at once; 1000 repeats know a share of 95 % to 0.7 %."""
    rng, truth, held = np.random.default_rng(2), np.array([-0.1, 1.5]), []
    design = np.stack([np.ones(N), -np.diff(np.log(np.arange(1.0, N + 2)))], axis=1)
    for _ in range(1000):
        noise = signal.lfilter([0.3], [1, -phi], rng.normal(size=N + 200))[200:]
        found = fit(design @ truth + noise, design, 0.0)
        half = stats.t.ppf(0.975, found.freedom) * found.errors
        held.append(np.abs(found.coefficients - truth) <= half)
    assert (np.abs(np.mean(held, axis=0) - 0.95) <= 0.02 + 3 * 0.007).all(), np.mean(held, axis=0)


def test_two_rates_cover_though_they_take_part_of_the_slowest_cosines() -> None:
    """Rates before and after are what those cosines measure noise with: uncorrected, 92 % are covered."""
    rng, held = np.random.default_rng(4), []
    ahead = np.arange(44) < 22
    for _ in range(2000):
        found = fit(rng.normal(size=44), np.stack([ahead, ~ahead], axis=1).astype(float), 0.0)
        held.append(np.abs(found.coefficients) <= stats.t.ppf(0.975, found.freedom) * found.errors)
    assert np.mean(held) > 0.95 - 0.01  # both rates of 2000: the standard error is 0.4 %


def test_where_few_increments_are_effective_the_freedom_is_theirs() -> None:
    """With 44 increments at φ = 0.95 the cosines' own degrees of freedom cover 90 %."""
    rng, held, cosines = np.random.default_rng(3), [], []
    for _ in range(2000):
        noise = signal.lfilter([1.0], [1, -0.95], rng.normal(size=44 + 400))[400:]
        found = fit(noise, np.ones((44, 1)), 0.0)
        held.append(abs(noise.mean()) <= stats.t.ppf(0.975, found.freedom) * found.errors[0])
        cosines.append(abs(noise.mean()) <= stats.t.ppf(0.975, 4) * found.errors[0])
    assert np.mean(held) > 0.92
    assert np.mean(cosines) < 0.91


def test_what_is_left_over_by_rounding_has_no_error() -> None:
    lags = np.arange(50.0)[:, None]
    found = fit(3.0 * lags[:, 0] + 1e-15, lags, 1e-12)
    assert (found.errors[0], found.freedom, found.effective) == (0, np.inf, 50)
    np.testing.assert_allclose(found.coefficients, 3.0)
