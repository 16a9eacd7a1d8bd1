"""Passes whose gradients are known in closed form (TRUTHS E01-E06, E09, E10, E15, E16), and scaled numbers' reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.derivatives import exact_tanh_derivative
from oracles.family import FAMILY, make, states

import gradlab as gl
from gradlab.bptt import parameter_gradients

Array = NDArray[Any]
EPS = np.finfo(float).eps


def linear(W: Any) -> gl.RNN:
    W = np.asarray(W, float)
    return gl.RNN(np.zeros((len(W), 1)), W, activation="identity")


def rows_of_propagator(cell: gl.Cell, steps: int, *, state: Any = None, x: Any = None) -> Any:
    """Return ∂h_T/∂s_t as adjoints of H sequences, the i-th of which projects on unit i: ``(T+1, H, H)``, Scaled."""
    H = cell.hidden_size
    inputs = np.zeros((steps, H, 1)) if x is None else np.repeat(x, H, axis=1)
    start = None if state is None else np.repeat(state, H, axis=0)
    return gl.trace(cell, inputs, gl.projection(np.eye(H)), state=start).adjoint["h"]


def log_singular_values(rows: Any) -> Array:
    """Return ln of the singular values of one Scaled matrix, rows each on its own exponent; well conditioned only."""
    common = rows.exponent.max()
    matrix = np.ldexp(rows.mantissa, (rows.exponent - common)[:, None].astype(np.int32))
    return np.log(np.linalg.svd(matrix, compute_uv=False)) + common * np.log(2)


@pytest.mark.parametrize("w", [0.9, -0.5, 1.1, 1.0, 1e-3, 1e3])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_scalar_linear(w: float, steps: int) -> None:
    """E01: ∂h_T/∂h_t = w^k and ∂h_T/∂w = T h_0 w^(T−1), to 1e-13·T."""
    h0 = 0.7
    trace = gl.trace(linear([[w]]), np.zeros((steps, 1, 1)), gl.projection(np.ones((1, 1))), state=np.array([[h0]]))
    powers = w ** np.arange(steps, -1, -1.0)
    np.testing.assert_allclose(np.asarray(trace.grad["h"])[:, 0, 0], powers, rtol=1e-13 * steps)
    np.testing.assert_allclose(trace.param_grads["W_hh"], [[steps * h0 * w ** (steps - 1)]], rtol=1e-13 * steps)
    np.testing.assert_allclose(trace.loss, [h0 * w**steps], rtol=1e-13 * steps)


@pytest.mark.parametrize(("w", "sign"), [(1e-3, -1), (1e3, 1)])
def test_a_hundred_thousand_steps_report_their_nats(w: float, sign: int) -> None:
    """x = 0, h_0 = 0: every state is 0, yet the gradient at t = 0 is w^100 000: ∓690 775.5 nats."""
    trace = gl.trace(linear([[w]]), np.zeros((100_000, 1, 1)), gl.projection(np.ones((1, 1))))
    logs = trace.log_norm("adjoint")[:, 0]
    np.testing.assert_allclose(logs[0], sign * 690_775.5278982137, rtol=1e-12)
    np.testing.assert_allclose(logs, sign * np.log(1e3) * np.arange(100_000, -1, -1.0), rtol=1e-11)
    np.testing.assert_array_equal(np.asarray(trace.grad["h"][0]), [[0.0 if sign < 0 else np.inf]])
    assert not trace.grad["h"].zero.any()
    assert trace.overflow_step == 0


@pytest.mark.parametrize("g", [0.5, 0.99, 1.0, 1.7])
def test_scaled_orthogonal_keeps_condition_one(g: float) -> None:
    """E02: every singular value of P is g^k, for T = 1000 too; 1e-11 relative."""
    Q = gl.RNN.init(1, 6, recurrent="orthogonal", rng=2).W_hh
    rows = rows_of_propagator(linear(g * Q), 1000)
    for t in (0, 500, 999):
        np.testing.assert_allclose(log_singular_values(rows[t]), (1000 - t) * np.log(g), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("steps", "norm"), [(1, 1.52956), (10, 3.90534), (50, 0.286414), (100, 2.95151e-3)])
def test_jordan_block_is_neither_radius_nor_norm(steps: int, norm: float) -> None:
    """E03: ‖W^T‖₂; the spectral radius' power would be .9^T, the largest singular value's 1.53^T."""
    rows = rows_of_propagator(linear([[0.9, 1.0], [0.0, 0.9]]), steps)
    np.testing.assert_allclose(np.exp(log_singular_values(rows[0])[0]), norm, rtol=1e-5)


def test_diagonal_has_its_exponents_without_bias() -> None:
    """E04: singular values |λ_i|^k; over 1000 steps they span 4000 nats, each right to 1e-12."""
    factors = np.array([1.1, 0.9, -0.5, 0.02])
    rows = rows_of_propagator(linear(np.diag(factors)), 1000)
    for t in (0, 400, 999):
        np.testing.assert_allclose(rows[t].log_norm(), (1000 - t) * np.log(np.abs(factors)), rtol=1e-12)


@pytest.mark.parametrize(
    ("w", "multiplier"), [(1.1, 0.821755855882), (1.5, 0.394313025499), (2.0, 0.166372087752), (3.0, 0.030512846045)]
)
def test_multiplier_at_the_fixed_point(w: float, multiplier: float) -> None:
    """E05: h = tanh(w h), w (1 − h*²)."""
    cell = gl.RNN(np.zeros((1, 1)), np.array([[w]]))
    trace = gl.trace(cell, np.zeros((300, 1, 1)), gl.projection(np.ones((1, 1))), state=np.ones((1, 1)))
    np.testing.assert_allclose(trace.jacobians.dense(300), [[[multiplier]]], atol=1e-10)
    logs = trace.log_norm("adjoint")[:, 0]
    np.testing.assert_allclose(logs[298] - logs[299], np.log(multiplier), atol=1e-10)


def test_power_law_at_the_edge() -> None:
    """E06: h = tanh(h) from 1: ∏(1 − h_k²) · t^(3/2) → 1.641, to 1e-3 from t = 5000; no half-life at all."""
    steps = 20_000
    cell = gl.RNN(np.zeros((1, 1)), np.ones((1, 1)))
    J = gl.trace(cell, np.zeros((steps, 1, 1)), state=np.ones((1, 1))).jacobians
    t = np.arange(1, steps + 1)
    product = np.exp(np.cumsum(J.log_abs_det()[:, 0]) + 1.5 * np.log(t))
    np.testing.assert_allclose(product[999], 1.6352, atol=5e-5)
    np.testing.assert_allclose(product[4999:], 1.641, rtol=1e-3)


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.01, 5.0),
    activation=st.sampled_from([("tanh", 1.0), ("relu", 1.0), ("logistic", 0.25), ("identity", 1.0)]),
)
def test_norm_is_bounded_by_gain_and_largest_singular_value(
    seed: int, scale: float, activation: tuple[str, float]
) -> None:
    """E09 (Pascanu 2013): ‖P‖₂ ≤ (γ σ_max(W))^k, any input, any seed; ‖row‖ ≤ ‖P‖₂ for every row of P."""
    name, gain = activation
    rng = np.random.default_rng(seed)
    cell = gl.RNN(rng.standard_normal((4, 1)), scale * rng.standard_normal((4, 4)), activation=name)
    rows = rows_of_propagator(cell, 12, x=rng.standard_normal((12, 1, 1)), state=rng.standard_normal((1, 4)))
    bound = np.log(gain * np.linalg.svd(cell.W_hh, compute_uv=False)[0])
    lag = np.arange(12, -1, -1)
    assert np.all(rows.log_norm().max(axis=1) <= lag * bound + 1e-9)


def test_relu_is_homogeneous(rng: np.random.Generator) -> None:
    """E10, no bias and no input: J_t h_{t−1} = h_t; ln‖δ‖ at scale g is that at scale 1 plus k ln g, same seed."""
    W, start, v = rng.standard_normal((8, 8)), rng.standard_normal((2, 8)), rng.standard_normal((2, 8))
    logs = {}
    for g in (1.0, 1.7):
        cell = gl.RNN(np.zeros((8, 1)), g * W, activation="relu")
        trace = gl.trace(cell, np.zeros((9, 2, 1)), gl.projection(v), state=start)
        h = trace.states["h"]
        assert_normwise((trace.jacobians @ h[:-1])[1:], h[2:], 1e-12, "J h")
        logs[g] = trace.log_norm("adjoint")
    alive = np.isfinite(logs[1.0])
    shift = np.arange(9, -1, -1.0)[:, None] * np.log(1.7) + 0 * logs[1.0]
    np.testing.assert_allclose((logs[1.7] - shift)[alive], logs[1.0][alive], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.isfinite(logs[1.7]), alive)


def test_relu_of_what_is_positive_is_linear(rng: np.random.Generator) -> None:
    """E10: W, h, x ≥ 0 gives P = W^k."""
    W = rng.uniform(0, 1, (5, 5))
    cell = gl.RNN(np.ones((5, 1)), W, activation="relu")
    rows = rows_of_propagator(cell, 7, x=np.ones((7, 1, 1)), state=np.ones((1, 5)))
    for t in (0, 3, 6):
        assert_normwise(rows[t], np.linalg.matrix_power(W, 7 - t), 1e-12)


def test_dead_units_are_exact_zeros_and_are_counted(rng: np.random.Generator) -> None:
    """E10: a dead state has norm exactly 0; −inf, counted, and in no average."""
    cell = gl.RNN(np.ones((3, 1)), 0.5 * np.eye(3), activation="relu")
    x = np.ones((6, 2, 1))
    x[2, 1] = -100.0
    trace = gl.trace(cell, x, gl.projection(np.ones((2, 3))), hooks=("gradients",))
    logs = trace.log_norm("adjoint")
    assert np.isfinite(logs[:, 0]).all()
    np.testing.assert_array_equal(np.isneginf(logs[:, 1]), np.arange(7) < 3)
    np.testing.assert_array_equal(trace.grad["h"].zero, np.isneginf(logs))
    steps = trace.measured()["steps"]
    of_h = steps[steps.quantity == "adjoint"].set_index("t")
    np.testing.assert_array_equal(of_h.zeros, [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(of_h.mean_log.loc[:2], logs[:3, 0], rtol=1e-14)
    assert trace.rate().zeros == 3


def test_diagonal_linear_variances() -> None:
    """E15 (Zucchet & Orvieto 2024): E(∂h/∂λ)² = (1+λ²)/(1−λ²)³ = 263.9 at λ = .9, though no state gradient grows."""
    steps, batch = 150, 4000
    x = np.random.default_rng(15).standard_normal((steps, batch, 1))
    cell = gl.RNN(np.ones((1, 1)), np.array([[0.9]]), activation="identity")
    trace = gl.trace(cell, x, gl.projection(np.ones((batch, 1))))
    h = trace.states["h"]
    by_w = (np.asarray(trace.pre_grad["h"]) * h[:-1]).sum(axis=0)
    np.testing.assert_allclose((h[-1] ** 2).mean(), 1 / (1 - 0.81), rtol=0.05)
    np.testing.assert_allclose((by_w**2).mean(), 1.81 / 0.19**3, rtol=0.1)
    np.testing.assert_allclose(by_w.mean(), trace.param_grads["W_hh"][0, 0], rtol=1e-12)


# --- the sum rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 4.0, 6.0])
@pytest.mark.parametrize("name", [name for name in FAMILY if name != "rnn-relu"])
def test_sum_rule(name: str, scale: float) -> None:
    """E16: Σ of ln|R_ii| of a full QR along the steps is Σ ln|det J_t|, saturated or not, to 1e-9 a step."""
    steps = 60
    cell = make(name, 2, 6, scale=scale)
    x = np.random.default_rng(1).standard_normal((steps, 1, 2))
    J = gl.trace(cell, x, state=states(cell, 1)).jacobians
    Q, total = np.eye(cell.state_size), 0.0
    for t in range(1, steps + 1):
        Q, R = np.linalg.qr(J.dense(t)[0] @ Q)
        total += np.log(np.abs(np.diag(R))).sum()
    np.testing.assert_allclose(J.log_abs_det().mean(), total / steps, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_determinant_of_tanh_is_the_exact_one(scale: float) -> None:
    """E16: ln|det J| = ln|det W| + Σ ln tanh'(a), in sixty digits; with 1 − h² it is off by 4e-6 to infinity."""
    cell = make("rnn-tanh", 2, 16, scale=scale)
    trace = gl.trace(cell, 3 * np.random.default_rng(1).standard_normal((40, 1, 2)))
    a = trace.layers[0].tape.record["a"][:, :, 0]
    exact = np.log(np.vectorize(exact_tanh_derivative)(a)).sum(axis=1) + np.linalg.slogdet(cell.W_hh)[1]
    np.testing.assert_allclose(trace.jacobians.log_abs_det()[:, 0], exact, rtol=1e-12, atol=1e-11)
    if scale == 6.0:
        with np.errstate(divide="ignore"):
            short = np.log(1 - trace.states["h"][1:, 0] ** 2).sum(axis=1) + np.linalg.slogdet(cell.W_hh)[1]
        assert np.abs(short - exact).max() > 1e-6


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_determinant_of_the_lstm(scale: float) -> None:
    """Row operations leave det J = det O · det F: Σ ln f + Σ ln|tanh(c) o'| + ln|det W_o|."""
    H, cell = 6, make("lstm", 2, 6, scale=scale)
    trace = gl.trace(cell, np.random.default_rng(1).standard_normal((30, 1, 2)))
    a_f, a_o = trace.layers[0].tape.record["a"][:, :, 0].reshape(30, 4, H)[:, [1, 3]].swapaxes(0, 1)
    ln_f, ln_o = -np.logaddexp(0, -a_f), -np.logaddexp(0, -a_o) - np.logaddexp(0, a_o)
    exact = (ln_f + ln_o + np.log(np.abs(np.tanh(trace.states["c"][1:, 0])))).sum(axis=1)
    wanted = exact + np.linalg.slogdet(cell.W_hh[3 * H :])[1]
    np.testing.assert_allclose(trace.jacobians.log_abs_det()[:, 0], wanted, atol=1e-9)


def test_a_block_of_zeros_does_not_sink_the_others() -> None:
    """One block of a parameter's rows gets no gradient at all, the other 2^-5000: it must not go down with it."""
    live, dead, h = np.ones((3, 2, 1)), np.zeros((3, 2, 1)), np.ones((3, 2, 1))
    mantissa, exponent = parameter_gradients({"W": [(dead, h), (live, h)]}, np.full((3, 1), -5000))["W"]
    assert exponent == -5000
    assert np.array_equal(mantissa, [[0, 0], [0, 0], [3, 3], [3, 3]])
