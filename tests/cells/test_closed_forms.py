"""Cells at points where their Jacobian is known in closed form (TRUTHS E11-E14), and what their reprs say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import FAMILY, make

import gradlab as gl

N = 8


def zeros(*shape: int) -> NDArray[Any]:
    return np.zeros(shape)


def bias(*blocks: float) -> NDArray[Any]:
    return np.repeat(np.array(blocks, float), N)


def at_zero(cell: Any) -> Any:
    """Return the Jacobians of one step from the zero state with x = 0."""
    return gl.trace(cell, zeros(1, 1, cell.input_size)).jacobians


# --- LSTM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3])
def test_perfect_carousel_carries_the_cell_state_exactly(size: int) -> None:
    """E11: W_hh = 0, b_f = 40, b_i = −800: ∂c_T/∂c_0 = I with no rounding at T = 1000."""
    cell = gl.LSTM(zeros(4 * size, 1), zeros(4 * size, size), np.repeat([-800.0, 40.0, 0.3, 0.2], size))
    start = {"c": np.linspace(-2, 2, size)[None]}
    trace = gl.trace(cell, np.ones((1000, 1, 1)), state=start)
    product = np.eye(2 * size)
    for t in range(1, 1001):
        product = trace.jacobians.dense(t)[0] @ product
    np.testing.assert_array_equal(product[size:, size:], np.eye(size))
    np.testing.assert_array_equal(trace.states["c"], np.broadcast_to(start["c"], (1001, 1, size)))


@pytest.mark.parametrize("forget", [0.0, 1.0, 2.0])
def test_lstm_spectrum_at_the_zero_state(forget: float, rng: np.random.Generator) -> None:
    """E12: N zeros and σ(b_f) + ¼ λ_k(W_g), whatever the other gates' weights."""
    W = rng.standard_normal((4 * N, N)) / np.sqrt(N)
    cell = gl.LSTM(zeros(4 * N, 1), W, bias(0, forget, 0, 0))
    found = at_zero(cell).eigenvalues(1)[0]
    wanted = 1 / (1 + np.exp(-forget)) + np.linalg.eigvals(W[2 * N : 3 * N]) / 4
    np.testing.assert_allclose(np.sort_complex(found[:N]), np.sort_complex(wanted), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found[N:], 0, atol=1e-12)


@pytest.mark.parametrize(("forget", "edge"), [(0.0, 2.0), (1.0, 1.075766), (2.0, 0.476812)])
def test_lstm_edge_of_the_zero_state(forget: float, edge: float) -> None:
    """E12: at the edge the largest eigenvalue is 1; W_g = g·I has λ = g. The edges are given to six places."""
    W = zeros(4 * N, N)
    W[2 * N : 3 * N] = edge * np.eye(N)
    cell = gl.LSTM(zeros(4 * N, 1), W, bias(0, forget, 0, 0))
    np.testing.assert_allclose(np.abs(at_zero(cell).eigenvalues(1)[0, 0]), 1.0, atol=5e-7)


# --- GRU --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("update", ["replace", "keep"])
def test_gru_at_the_zero_state(reset: str, update: str, rng: np.random.Generator) -> None:
    """E13: J = ½ I + ¼ W_n in every convention; with W_n = 2·I the edge."""
    W = rng.standard_normal((3 * N, N))
    cell = gl.GRU(zeros(3 * N, 1), W, reset=reset, update=update)
    np.testing.assert_allclose(at_zero(cell).dense(1)[0], np.eye(N) / 2 + W[2 * N :] / 4, rtol=0, atol=1e-14)
    edge = gl.GRU(zeros(3 * N, 1), np.concatenate([W[: 2 * N], 2 * np.eye(N)]), reset=reset, update=update)
    np.testing.assert_allclose(at_zero(edge).eigenvalues(1)[0], np.ones(N), atol=1e-14)


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize(("update", "a_z"), [("replace", -800.0), ("keep", 800.0)])
def test_gru_that_keeps_everything_does_so_bitwise(reset: str, update: str, a_z: float) -> None:
    """E14. At ∓40 small states already differ."""
    rng = np.random.default_rng(4)
    W = rng.standard_normal((3 * N, N))
    W[N : 2 * N] = 0
    cell = gl.GRU(zeros(3 * N, 2), W, bias(0.3, a_z, 0.2), reset=reset, update=update)
    start = rng.standard_normal((3, N)) * 10.0 ** rng.integers(-12, 1, (3, N))
    trace = gl.trace(cell, rng.standard_normal((50, 3, 2)), state=start)
    np.testing.assert_array_equal(trace.states["h"], np.broadcast_to(start, (51, 3, N)))
    np.testing.assert_array_equal(trace.jacobians.dense(50), np.broadcast_to(np.eye(N), (3, N, N)))


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0, 20),
    size=st.floats(0, 5),
    name=st.sampled_from([name for name in FAMILY if name.startswith("gru")]),
)
def test_gru_never_leaves_its_box(seed: int, scale: float, size: float, name: str) -> None:
    """E14: |h_t|_∞ ≤ max(1, |h_0|_∞); the two last bits are those of 1 − z + z."""
    rng = np.random.default_rng(seed)
    cell = make(name, 2, 4, scale=scale, rng=seed)
    start = size * rng.uniform(-1, 1, (2, 4))
    h = gl.trace(cell, rng.standard_normal((12, 2, 2)), state=start).states["h"]
    assert np.abs(h).max() <= max(1.0, np.abs(start).max()) * (1 + 1e-15 * 12)


def test_the_two_update_conventions_are_mirror_images() -> None:
    """z of one is 1 − z of the other: the weights of that gate change sign, the states do not."""
    replace, H = make("gru-before-replace"), 5
    sign = np.repeat([1.0, -1.0, 1.0], H)
    keep = gl.GRU(sign[:, None] * replace.W_xh, sign[:, None] * replace.W_hh, sign * replace.b_h, update="keep")
    x = np.random.default_rng(0).standard_normal((7, 2, 3))
    assert_normwise(gl.trace(keep, x).states["h"][1:], gl.trace(replace, x).states["h"][1:], 1e-14, "h")


# --- what it is called --------------------------------------------------------------------------------


def test_repr_says_which_variant() -> None:
    assert repr(make("gru-after-keep")) == ("GRU(input_size=3, hidden_size=5, reset='after', update='keep', float64)")
    assert repr(make("rnn-relu")) == "RNN(input_size=3, hidden_size=5, activation='relu', float64)"
    assert repr(make("lstm", dtype="float32")) == "LSTM(input_size=3, hidden_size=5, float32)"


@pytest.mark.parametrize("name", FAMILY)
def test_names_and_sizes(name: str) -> None:
    cell = make(name, 3, 5)
    assert (cell.input_size, cell.hidden_size) == (3, 5)
    assert cell.state_size == 5 * len(cell.state_names)
    assert cell.input_drive(np.zeros((2, 3, 1))).shape == (2, 5 * len(cell.block_names), 1)
    trace = gl.trace(cell, np.zeros((2, 1, 3)))
    assert tuple(trace.states) == cell.state_names
    assert tuple(trace.gates) == cell.gate_names
