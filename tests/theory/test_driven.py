"""The rate of an RNN under its task's own input: against quadrature, the closed form, and wide networks that ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate

import gradlab as gl
from gradlab.errors import InputError
from gradlab.theory.driven import driven_rates, rate_of

SLOPES = {"tanh": lambda a: np.cosh(a) ** -2.0, "logistic": lambda a: np.exp(-a) / (1.0 + np.exp(-a)) ** 2}
ACTIVATIONS = {"tanh": np.tanh, "logistic": lambda a: 1.0 / (1.0 + np.exp(-a))}


def average(function: Any, q: float) -> float:
    """Return ⟨function⟩ over a ~ N(0, q) by adaptive quadrature."""
    if q == 0.0:
        return float(function(0.0))
    gauss = lambda z: function(np.sqrt(q) * z) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    return float(integrate.quad(gauss, -12, 12, epsabs=1e-12, limit=200)[0])


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("g", [0.6, 1.7])
def test_the_recursion_against_quadrature_step_by_step(activation: str, g: float) -> None:
    """1e-6: the averages are splines of 300 knots. T = 9 has no burn-in."""
    variances = np.array([0.0, 0.3, 0.01, 2.0, 0.0, 0.0, 0.5, 1.0, 1e-4])
    q, logs = 0.0, []
    for s2 in variances:
        passed = average(lambda a: ACTIVATIONS[activation](a) ** 2, q) if logs else 0.0
        q = g * g * passed + s2
        logs.append(0.5 * np.log(g * g * average(lambda a: SLOPES[activation](a) ** 2, q)))
    (found,) = driven_rates(activation, scales=[g], input_vars=variances[:, None])
    np.testing.assert_allclose(found, np.mean(logs), atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
def test_with_the_same_input_variance_at_every_step_it_is_mean_fields_rate(activation: str) -> None:
    scales = [0.5, 1.3, 2.0]
    found = driven_rates(activation, scales=scales, input_vars=np.full((400, 1), 0.3))
    expected = [gl.theory.mean_field(activation, scale=g, input_var=0.3).rate for g in scales]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_burn_in_is_left_out_and_so_is_what_lies_beyond_an_end() -> None:
    variances = np.full((100, 2), 0.3)
    variances[:2] = 50.0
    still = driven_rates("tanh", scales=[1.0], input_vars=np.full((100, 2), 0.3))
    np.testing.assert_allclose(driven_rates("tanh", scales=[1.0], input_vars=variances), still, atol=1e-6)
    short = variances.copy()
    short[60:, 1] = np.nan
    np.testing.assert_allclose(driven_rates("tanh", scales=[1.0], input_vars=short), still, atol=1e-6)


@pytest.mark.parametrize("g", [0.5, 1.5])
def test_wide_networks_that_ran_on_one_input(g: float) -> None:
    """H = 700, D = 1: .01, four standard errors of four networks' mean; s² held at its mean is off by .03 at .5."""
    rates, expected = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, v = rng.uniform(-1, 1, (120, 4, 1)), rng.standard_normal((4, 700))
        trace = gl.trace(gl.RNN.init(1, 700, scale=g, rng=rng), x, gl.projection(v))
        rates.append(trace.rate().rate)
        expected.append(rate_of(trace.layers[0].tape))
    held = gl.theory.mean_field(scale=g, input_var=1 / 3, size=700)
    assert abs(np.mean(rates) - np.mean(expected) - held.shift) < 0.01
    if g < 1:
        assert abs(np.mean(rates) - held.rate - held.shift) > 0.015


def test_of_a_pass_it_reads_the_scale_off_the_weights_and_the_variance_off_the_drive() -> None:
    rng = np.random.default_rng(0)
    cell = gl.RNN(W_xh=rng.standard_normal((64, 3)), W_hh=rng.standard_normal((64, 64)) / 8 * 1.4)
    x = rng.standard_normal((50, 4, 3))
    trace = gl.trace(cell, x, lengths=[50, 50, 20, 50])
    g = np.sqrt(np.square(cell.W_hh).sum() / 64)
    variances = np.square(x @ cell.W_xh.T).mean(axis=-1)
    variances[20:, 2] = np.nan
    (expected,) = driven_rates("tanh", scales=[g], input_vars=variances)
    np.testing.assert_allclose(rate_of(trace.layers[0].tape), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (gl.LSTM.init(1, 8, rng=0), "LSTM has gates"),
        (gl.GRU.init(1, 8, rng=0), "GRU has gates"),
        (gl.RNN.init(1, 32, recurrent="identity", rng=0), "not as if drawn at random"),
        (gl.RNN(W_xh=np.ones((4, 1)), W_hh=np.zeros((4, 4))), "not as if drawn at random"),
        (gl.RNN(W_xh=np.ones((32, 1)), W_hh=np.ones((32, 32)) - np.eye(32)), "not as if drawn at random"),
        (gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=2, input_size=2), "it is of an RNN, not of CustomCell"),
    ],
)
def test_where_there_is_no_line_it_says_why(cell: Any, reason: str) -> None:
    trace = gl.trace(cell, np.ones((3, 1, cell.input_size)))
    with pytest.raises(InputError, match=f"no line of theory: .*{reason}"):
        rate_of(trace.layers[0].tape)


@pytest.mark.parametrize(
    ("scales", "variances", "reason"),
    [([1.0], np.ones(3), "shape"), ([1.0], -np.ones((3, 1)), "variances"), ([0.0], np.ones((3, 1)), "positive")],
)
def test_bad_input(scales: list[float], variances: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        driven_rates("tanh", scales=scales, input_vars=variances)
