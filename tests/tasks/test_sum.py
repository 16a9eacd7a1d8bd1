"""The running sum, exactly (TRUTHS §4), and the LSTM that computes it (TRUTHS §5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.tasks import Sum


def draw(length: int, batch: int, seed: int = 0, at: Any = "last") -> Any:
    return Sum().sample(length, batch, at=at, rng=np.random.default_rng(seed))


def test_inputs_and_targets() -> None:
    x, loss = draw(30, 50)
    assert np.abs(x).max() <= 1
    np.testing.assert_allclose(loss.targets, np.cumsum(x, axis=0), rtol=1e-14)
    value, _ = loss.evaluate(np.cumsum(x, axis=0))
    np.testing.assert_array_equal(value, np.zeros(50))


def test_a_shorter_sequence_is_a_prefix() -> None:
    (long, long_loss), (short, short_loss) = draw(30, 4), draw(10, 4)
    np.testing.assert_array_equal(short, long[:10])
    np.testing.assert_array_equal(short_loss.targets, long_loss.targets[:10])


def test_predicting_the_mean_costs_a_third_of_the_length() -> None:
    """MSE T·Var(x) = T/3 at the last step; at every step (T+1)/6. 20 000 sequences: 4 standard errors are 4 %."""
    x, last = draw(12, 20_000)
    every = gl.mse(last.targets, at="every")
    np.testing.assert_allclose(last.evaluate(np.zeros_like(x))[0].mean(), 12 / 3, rtol=0.04)
    np.testing.assert_allclose(every.evaluate(np.zeros_like(x))[0].mean(), 13 / 6, rtol=0.04)


# --- the cell that adds ---------------------------------------------------------------------------------------


def adder(forget_bias: float, eps: float) -> gl.Network:
    """Return the LSTM of TRUTHS §5: c_t = f c_{t−1} + ε x_t, read as h/ε."""
    cell = gl.LSTM(np.array([[0.0], [0.0], [eps], [0.0]]), np.zeros((4, 1)), np.array([40.0, forget_bias, 0.0, 40.0]))
    return gl.Network([cell], gl.Readout(np.array([[1 / eps]])))


@pytest.mark.parametrize(("eps", "error"), [(1e-6, 3.4e-4), (1e-8, 3.4e-8)])
def test_a_cell_state_sums_a_thousand_steps(eps: float, error: float) -> None:
    """|y − S| ≤ ε²(T³ + T)/3."""
    ones = np.ones((1000, 1, 1))
    trace = gl.trace(adder(40.0, eps), ones, gl.mse(np.cumsum(ones, axis=0), "every"))
    found = np.abs(trace.outputs - np.cumsum(ones, axis=0)).max()
    assert found < error
    assert found <= eps**2 * (1000**3 + 1000) / 3 * (1 + 1e-3) + 1e-9


def test_the_adders_gradient_is_flat() -> None:
    """∂y_T/∂c_t = sech²(c_T)/ε at every t: a perfect carousel."""
    x, _ = draw(300, 3)
    trace = gl.trace(adder(40.0, 1e-6), x, gl.projection(np.ones((3, 1))))
    through_c = np.asarray(trace.adjoint["c"])[:-1, :, 0]
    wanted = np.cosh(trace.states["c"][-1]) ** -2 / 1e-6
    np.testing.assert_allclose(through_c, np.broadcast_to(wanted[:, 0], through_c.shape), rtol=1e-12)


@pytest.mark.parametrize(
    ("forget", "wanted"), [(1.0, 3.72), (5.0, 149.0), (10.0, 977.7), (20.0, 999.999), (np.log(0.1 / 0.9), 1.11)]
)
def test_a_small_forget_gate_erases_the_sum(forget: float, wanted: float) -> None:
    """The tutorial's claim is false: of a thousand ones (1 − f^T)/(1 − f) is left, for f = .1 no more than 1.11."""
    trace = gl.trace(adder(forget, 1e-6), np.ones((1000, 1, 1)))
    np.testing.assert_allclose(trace.outputs[-1, 0, 0], wanted, rtol=2e-3)


def test_relu_pair_is_exact_to_rounding() -> None:
    """h₁ = relu(h₁ + x + 1), h₂ = relu(h₂ + 1), y = h₁ − h₂."""
    cell = gl.RNN(np.array([[1.0], [0.0]]), np.eye(2), np.ones(2), "relu")
    network = gl.Network([cell], gl.Readout(np.array([[1.0, -1.0]])))
    x, _ = draw(500, 8)
    np.testing.assert_allclose(gl.trace(network, x).outputs, np.cumsum(x, axis=0), atol=1e-10)
