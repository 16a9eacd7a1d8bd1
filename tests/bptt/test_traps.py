"""The traps of TRUTHS §2 that a pass can fall into, each as a fixture. Figures depend on the seed: inequalities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, make, states

import gradlab as gl


def per_step(logs: Any, first: int, last: int) -> float:
    """Return nats per step between two times, backward."""
    means = np.asarray(logs).mean(axis=1)
    return float((means[first] - means[last]) / (last - first))


def test_output_hook_sees_only_the_direct_gradient() -> None:
    """Two tanh layers, T 60, the lower near-orthogonal, the upper gain .6: direct dies, the total hardly decays."""
    lower = gl.RNN.init(8, 64, recurrent="orthogonal", scale=1.0, input_scale=0.3, rng=0)
    upper = gl.RNN.init(64, 64, recurrent="orthogonal", scale=0.6, rng=1)
    rng = np.random.default_rng(2)
    x, v = rng.standard_normal((60, 16, 8)), rng.standard_normal((16, 64))
    layer = gl.trace(gl.Network([lower, upper]), x, gl.projection(v)).layers[0]
    direct, total = layer.log_norm("direct"), layer.log_norm("dL/dh")
    assert per_step(direct, 1, 59) < -0.45
    assert -0.2 < per_step(total, 1, 59) < 0
    assert np.exp(direct[1] - direct[60]).max() < 1e-11
    np.testing.assert_allclose(total[60], direct[60], rtol=1e-14)


def test_product_of_forget_gates_is_not_the_lstm_gradient() -> None:
    """H 24, g 4, b_f 1, T 50: the full ‖∂c_T/∂c_0‖ is a hundred times ∏f and more (median of 9 sequences)."""
    cell = gl.LSTM.init(4, 24, scale=4.0, forget_bias=1.0, rng=0)
    trace = gl.trace(cell, np.random.default_rng(1).standard_normal((50, 9, 4)))
    product = np.eye(48)
    for t in range(1, 51):
        product = trace.jacobians.dense(t) @ product
    full = np.linalg.norm(product[:, 24:, 24:], axis=(1, 2))
    alone = np.linalg.norm(trace.gates["f"].prod(axis=0), axis=-1)
    assert np.median(full / alone) > 100


def test_dropping_the_cell_path_is_as_wrong() -> None:
    """Forget bias 3: the joint Jacobian keeps its gradient, the h-block alone loses nats every step."""
    cell = gl.LSTM.init(4, 24, forget_bias=3.0, rng=0)
    trace = gl.trace(cell, np.random.default_rng(1).standard_normal((100, 1, 4)))
    joint, block = np.eye(48)[:, :1], np.eye(24)[:, :1]
    logs = np.zeros(2)
    for t in range(1, 101):
        J = trace.jacobians.dense(t)[0]
        joint, block = J @ joint, J[:24, :24] @ block
        sizes = np.linalg.norm(joint), np.linalg.norm(block)
        logs, joint, block = logs + np.log(sizes), joint / sizes[0], block / sizes[1]
    assert logs[0] / 100 > -0.1
    assert logs[1] / 100 < -1.0


def test_carousel_keeps_its_gradient_where_the_total_of_h_is_zero() -> None:
    """f = 1, no recurrent weights: dL/dh_t is exactly 0 before T while δ_c does not lose a bit."""
    size = 3
    cell = gl.LSTM(np.zeros((4 * size, 1)), np.zeros((4 * size, size)), np.repeat([-800.0, 40.0, 0, 0], size))
    start = {"c": np.array([[0.3, -0.8, 0.5]])}
    trace = gl.trace(cell, np.ones((500, 1, 1)), gl.projection(np.ones((1, size))), state=start)
    assert np.isneginf(trace.log_norm("dL/dh")[:-1]).all()
    assert trace.grad["h"][:-1].zero.all()
    alive = np.asarray(trace.adjoint["c"])
    np.testing.assert_array_equal(alive[:-1], np.broadcast_to(alive[0], alive[:-1].shape))
    np.testing.assert_allclose(alive[0, 0], 0.5 / np.cosh(start["c"][0]) ** 2, rtol=1e-14)
    np.testing.assert_array_equal(alive[-1], 0)
    np.testing.assert_allclose(np.asarray(trace.grad["c"])[-1], alive[0], rtol=1e-14)
    assert trace.direct["c"].zero.all()
    assert trace.rate().rate == 0.0
    assert trace.rate().zeros == 0


def test_total_of_the_weights_hides_vanishing() -> None:
    """N 64, g .5, T 100: ‖∂L/∂W‖ is large, and lags of 20 and more contribute less than 1e-6 of it."""
    cell = gl.RNN.init(4, 64, scale=0.5, rng=0)
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal((100, 1, 4)), rng.standard_normal((1, 64))
    trace = gl.trace(cell, x, gl.projection(v))
    parts = trace.param_contributions()["W_hh"]
    assert trace.log_norm("dL/dW_hh") > np.log(10)
    assert np.logaddexp.reduce(parts[:80]) < np.log(1e-6)


def test_a_loss_at_every_step_must_not_hide_the_decay() -> None:
    """δ of the whole loss hardly falls, because more losses lie after earlier steps; last_adjoint tells the decay."""
    cell = gl.RNN.init(4, 32, scale=0.5, rng=0)
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal((80, 8, 4)), rng.standard_normal((80, 8, 32))
    every, last = gl.trace(cell, x, gl.projection(v)), gl.trace(cell, x, gl.projection(v[-1]))
    assert abs(per_step(every.log_norm("adjoint"), 5, 75)) < 0.03
    assert per_step(every.log_norm("last_adjoint"), 5, 75) < -0.5
    np.testing.assert_allclose(every.log_norm("last_adjoint"), last.log_norm("adjoint"), rtol=1e-12)
    np.testing.assert_allclose(every.rate().rate, last.rate().rate, rtol=1e-12)


def test_last_loss_step_is_each_sequences_own() -> None:
    cell, x = make("lstm"), np.random.default_rng(1).standard_normal((9, 3, 3))
    mask = np.zeros((9, 3), bool)
    mask[[2, 3, 5], [0, 1, 2]] = mask[1] = True
    trace = gl.trace(cell, x, gl.mse(np.ones((3, 5)), at=mask))
    gone = np.isneginf(trace.log_norm("last_adjoint"))
    np.testing.assert_array_equal(gone, np.arange(10)[:, None] > [3, 4, 6])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_float_underflows(dtype: str) -> None:
    """A float32 of rate −.31 dies after 282 steps, a float64 after 2284; scaled numbers never do."""
    steps, w = 3000, np.exp(-0.31)
    cell = gl.RNN(np.zeros((1, 1), dtype), np.array([[w]], dtype), activation="identity")
    trace = gl.trace(cell, np.zeros((steps, 1, 1), dtype), gl.projection(np.ones((1, 1), dtype)))
    assert trace.grad["h"].mantissa.dtype == dtype
    assert np.asarray(trace.grad["h"])[0, 0, 0] == 0.0
    np.testing.assert_allclose(trace.log_norm("dL/dh")[0, 0], -0.31 * steps, rtol=1e-6)
    assert not trace.grad["h"].zero.any()


@pytest.mark.parametrize("steps", [(25.0,), (40.0,), (13.5, 40.0), (1.0, 2.0, 3.0, 5.0, 40.0)])
def test_float32_keeps_saturated_derivatives_alive(steps: tuple[float, ...]) -> None:
    """tanh'(40) is 7e-35, near float32's end: whatever went before, it must neither vanish nor count as dead."""
    cell = gl.RNN(np.ones((1, 1), "float32"), np.full((1, 1), 0.5, "float32"))
    x = np.tile(np.array(steps, "float32"), 8)[:, None, None]
    trace = gl.trace(cell, x, gl.projection(np.ones((1, 1), "float32")))
    a = trace.layers[0].tape.record["a"][:, 0, 0].astype(float)
    slopes = np.log(0.5) + 2 * np.log(2) - 2 * np.logaddexp(a, -a)
    assert not trace.grad["h"].zero.any()
    np.testing.assert_allclose(np.diff(trace.log_norm("dL/dh")[:, 0]), -slopes, rtol=1e-5)


# --- overflow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize("at", ["last", "every"])
def test_a_state_that_overflows_is_a_finding_with_its_step(activation: str, at: str) -> None:
    """1e3^t leaves float64 at t = 103 (308/3); the gradient itself is 1e3^k and is still told."""
    cell = gl.RNN(np.zeros((1, 1)), np.array([[1e3]]), activation=activation)
    x, start = np.zeros((400, 2, 1)), np.array([[1.0], [0.0]])
    loss = gl.mse(np.zeros((2, 1)), at)
    trace = gl.trace(cell, x, loss, state=start, hooks=("gradients", "jacobians", "gates"))
    assert trace.overflow_step == 103
    np.testing.assert_array_equal(trace.layers[0].overflow_step, [103, 0])
    assert not np.isfinite(trace.loss[0])
    assert trace.loss[1] == 0
    runs = trace.measured()["runs"]
    assert (runs.status[0], runs.overflow_step[0]) == ("diverged", 103)
    told = gl.trace(cell, x, gl.projection(np.ones((2, 1))), state=start)
    np.testing.assert_allclose(told.log_norm("adjoint")[0, 0], 400 * np.log(1e3), rtol=1e-12)


def test_an_infinite_gradient_beside_a_finite_one() -> None:
    """One sequence overflowed, the other's gradient stands on 2^4000: put on one exponent that is inf · 0."""
    cell = gl.RNN(np.ones((1, 1)), np.array([[1e3]]), activation="identity")
    both = gl.Network([gl.Bidirectional(cell, cell), gl.RNN(np.ones((1, 2)), np.ones((1, 1)), activation="identity")])
    x = np.zeros((400, 2, 1))
    x[:, 0] = 1.0
    trace = gl.trace(both, x, gl.mse(np.ones((2, 1))))
    layer = trace.layers[0]
    logs, lag = layer.log_norm("adjoint"), np.arange(400, -1, -1)
    assert not np.isfinite(logs[1:, 0]).any()
    np.testing.assert_allclose(logs[1:, 1], np.log(2) + (lag * np.log(1e3))[1:], atol=1e-2)
    assert np.isfinite(layer.param_contributions()["W_xh"]).sum() == 0
    assert np.isnan(layer.log_norm("dL/dW_hh")) or layer.log_norm("dL/dW_hh") == np.inf
    assert not np.isfinite(trace.param_grads["layers.0.W_hh"]).any()


def test_infinite_gradients_of_both_directions_may_cancel() -> None:
    """+inf from one direction and −inf from the other is not a number, and no warning."""

    def loss(y: Any) -> Any:
        return np.zeros(1), np.broadcast_to([np.inf, -np.inf], y.shape)

    one = gl.RNN(np.ones((1, 1)), np.ones((1, 1)), activation="identity")
    trace = gl.trace(gl.Network([one, gl.Bidirectional(one, one)]), np.ones((3, 1, 1)), loss)
    assert np.isnan(trace.layers[0].log_norm("direct")[1:]).all()


@pytest.mark.parametrize("size", [1e-300, 1e308])
def test_loss_gradients_at_the_ends_of_float64(size: float) -> None:
    """Five times 1e308 is no float64, its logarithm is one."""
    cell = gl.RNN(np.ones((1, 1)), np.ones((1, 1)), activation="identity")
    trace = gl.trace(cell, np.zeros((5, 1, 1)), gl.projection(np.full((5, 1, 1), size)))
    wanted = np.log(size) + np.log([5, 5, 4, 3, 2, 1])
    np.testing.assert_allclose(trace.log_norm("adjoint")[:, 0], wanted, rtol=1e-14)


@pytest.mark.parametrize("kind", ["mse", "cross_entropy", "projection", "nll"])
@pytest.mark.parametrize("name", FAMILY)
def test_huge_weights_never_warn(name: str, kind: str) -> None:
    """Every question after every loss, both directions, unequal lengths: no NumPy warning (they are errors here)."""
    cell = make(name, 2, 4, scale=1e200)
    network = gl.Network([gl.Bidirectional(cell, cell), make(name, 8, 4)], gl.Readout.init(4, 3, rng=0))
    x = np.random.default_rng(0).standard_normal((30, 3, 2))
    losses = {
        "mse": gl.mse(np.zeros((3, 3)), "every"),
        "cross_entropy": gl.cross_entropy(np.zeros(3, int), "every"),
        "nll": gl.nll(np.zeros(3, int)),
        "projection": gl.projection(np.ones((30, 3, 3))),
    }
    start = [(states(cell, 3), None), None]
    lengths = np.array([30, 11, 2])
    trace = gl.trace(network, x, losses[kind], state=start, lengths=lengths, hooks=("gradients", "jacobians", "gates"))
    (
        str(trace.verdict()),
        trace.frame("sequences"),
        trace.measured(),
        trace.param_grads,
        trace.param_contributions(),
        repr(trace),
    )
    for layer in trace.passes:
        layer.rate(), layer.verdict(), np.asarray(layer.grad["h"]), np.asarray(layer.input_grad)
        [layer.log_norm(f"dL/d{key}") for key in layer.cell.parameters]
