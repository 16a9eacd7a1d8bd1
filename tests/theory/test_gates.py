"""Gated cells: edges against the cells' own Jacobians, tied against untied products, chrono against drawn biases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

import gradlab as gl
from gradlab import theory
from gradlab.cells.initialisers import chrono_bias
from gradlab.errors import InputError

#: b_f → edge g of the LSTM at its zero state (TRUTHS E12), as printed, to six decimals.
EDGES = {0.0: 2.0, 1.0: 1.075766, 2.0: 0.476812}


@pytest.mark.parametrize("forget_bias", EDGES)
def test_lstm_edge(forget_bias: float) -> None:
    edge = theory.zero_state_edge("lstm", forget_bias=forget_bias)
    assert abs(edge.scale - EDGES[forget_bias]) < 5e-7
    exponents = theory.gated_exponents(edge.carry, edge.coupling, scale=edge.scale)
    assert abs(exponents.tied) < 1e-15
    assert exponents.untied < -0.1
    assert abs(theory.gated_exponents(edge.carry, edge.coupling, scale=edge.untied_scale).untied) < 1e-15


def test_lstm_edge_under_a_large_bias() -> None:
    """``4 (1 − σ(40)) = 4 e^{−40}/(1 + e^{−40})``, where 1 − σ(40) is 0 in float64."""
    edge = theory.zero_state_edge("lstm", forget_bias=40.0)
    np.testing.assert_allclose(edge.scale, 4 * math.exp(-40), rtol=1e-15)
    np.testing.assert_allclose(edge.untied_scale, 4 * math.sqrt(2 * math.exp(-40)), rtol=1e-15)


def test_gru_edge() -> None:
    assert theory.zero_state_edge("gru") == (0.5, 0.25, 2.0, pytest.approx(math.sqrt(12), rel=1e-15))


@pytest.mark.parametrize(("name", "bias"), [("lstm", 0.0), ("lstm", 1.0), ("before", 0.0), ("after", 0.0)])
def test_carry_and_coupling_are_the_cells_own(name: str, bias: float) -> None:
    """E12, E13: the spectral radius of the traced Jacobian at the zero state, 1e-12."""
    H, lstm = 24, name == "lstm"
    cell: Any = (
        gl.LSTM.init(2, H, scale=1.7, forget_bias=bias, rng=4)
        if lstm
        else gl.GRU.init(2, H, scale=1.7, reset=name, rng=4)
    )
    edge = theory.zero_state_edge("lstm" if lstm else "gru", forget_bias=bias)
    W = cell.W_hh[2 * H : 3 * H]
    seen = np.abs(gl.trace(cell, np.zeros((1, 1, 2)), None).jacobians.eigenvalues(1)).max()
    np.testing.assert_allclose(math.log(seen), theory.gated_exponents(*edge[:2], weights=W).tied, atol=1e-12)


def assert_power_grows(J: NDArray[Any], exponent: float) -> None:
    """Assert ``(1/k) ln‖J^k v‖ → exponent``; over k = 500 … 2500 what is left is below 0.01."""
    v, total = np.ones(len(J)), 0.0
    for k in range(2500):
        v = J @ v
        size = float(np.linalg.norm(v))
        v, total = v / size, total + (math.log(size) if k >= 500 else 0.0)
    assert abs(total / 2000 - exponent) < 0.01, f"{total / 2000} against {exponent}"


def test_tied_and_untied_products(rng: np.random.Generator) -> None:
    """The same W and fresh ones: each grows at its own exponent; the one-step χ in place of the tied one fails."""
    size, a, b, g = 100, 0.5, 0.25, 2.0
    W = g / math.sqrt(size) * rng.standard_normal((size, size))
    own, limit = theory.gated_exponents(a, b, weights=W), theory.gated_exponents(a, b, scale=g)
    assert_power_grows(a * np.eye(size) + b * W, own.tied)
    with pytest.raises(AssertionError, match="against"):
        assert_power_grows(a * np.eye(size) + b * W, own.untied)
    v, logs = np.eye(size)[0], []
    for _ in range(400):
        v = a * v + b * g / math.sqrt(size) * rng.standard_normal((size, size)) @ v
        logs.append(math.log(np.linalg.norm(v)))
        v /= np.linalg.norm(v)
    # 4 standard errors, and 1/N for the finite size
    assert abs(np.mean(logs) - limit.untied) < 4 * np.std(logs) / 20 + 1 / size
    np.testing.assert_allclose([own.tied, own.untied], limit, atol=0.05)


def test_exponents_of_nothing() -> None:
    assert theory.gated_exponents(0.0, 1.0, scale=0.0) == (-math.inf, -math.inf)
    assert theory.gated_exponents(-0.5, -0.25, scale=2.0).tied == 0.0


def test_chrono_memory() -> None:
    """E25: the limit as printed, the finite T within 1e-2 of it, and drawn biases within 4 standard errors."""
    memory = theory.chrono_memory(1000, [0, 100, 500, 1000])
    np.testing.assert_allclose(memory.kept_limit, [1, 0.7225, 0.3266, 0.1485], atol=5e-5)
    np.testing.assert_allclose(memory.kept, memory.kept_limit, atol=1e-2)
    assert memory.mean_time == 501.0
    time = np.exp(chrono_bias(40_000, 1000, np.random.default_rng(1)))
    kept = (time / (1 + time)) ** memory.lags[1:, None]
    assert abs((1 + time).mean() - memory.mean_time) < 4 * time.std() / 200
    assert np.all(np.abs(kept.mean(axis=1) - memory.kept[1:]) < 4 * kept.std(axis=1) / 200)


@pytest.mark.parametrize("T", [2.5, 10.0, 1e3, 1e6])
def test_chrono_memory_by_another_quadrature(T: float) -> None:
    lags = np.array([0.0, 1.0, T / 10, T, 5 * T])
    known = [
        quad(lambda u, k=k: math.exp(-k * math.log1p(1 / u)), 1, T - 1, epsabs=0, epsrel=1e-12, limit=500)[0] / (T - 2)
        for k in lags
    ]
    np.testing.assert_allclose(theory.chrono_memory(T, lags).kept, known, rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.zero_state_edge("lsmt"), 'zero-state edge "lsmt"; did you mean "lstm"'),
        (lambda: theory.zero_state_edge("gru", forget_bias=1.0), "a GRU has no forget_bias, got 1.0; leave it out"),
        (lambda: theory.zero_state_edge(forget_bias=math.nan), "forget_bias must be finite"),
        (lambda: theory.gated_exponents(0.5, 0.25), "exactly one of scale and weights, got neither"),
        (lambda: theory.gated_exponents(0.5, 0.25, scale=1.0, weights=np.eye(2)), "got both"),
        (lambda: theory.gated_exponents(0.5, 0.25, scale=-1.0), "scale must not be negative, got -1"),
        (lambda: theory.gated_exponents(0.5, 0.25, weights=np.ones((8, 2))), r"square, \(H, H\), got \(8, 2\)"),
        (lambda: theory.gated_exponents(0.5, 0.25, weights=np.full((2, 2), np.nan)), "weights must be finite"),
        (lambda: theory.chrono_memory(2, [1.0]), "horizon must be a length above 2 steps, got 2"),
        (lambda: theory.chrono_memory(10, [1.0, -1.0]), "lags must be numbers of steps"),
        (lambda: theory.chrono_memory(10, ["1"]), "lags must be numbers of steps"),
        (lambda: theory.chrono_memory(10, [math.inf]), "lags must be finite, got inf at index"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
