"""Ground truths of LSTM and GRU at rest, and of gates that keep the whole state."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gradlab._trace.trace import trace
from gradlab.cells import GRU, LSTM, Cell
from gradlab.cells.initialisers import chrono_bias
from gradlab.statistics.estimators import Estimate
from gradlab.theory import zero_state_edge
from truths.base import Truth, sure

ROUNDING = "algebra: rounding"
PRINTED = "algebra: the digits in which the number is given"


def _carousel() -> Estimate:
    size, steps = 8, 1000
    cell = LSTM(np.zeros((4 * size, 1)), np.zeros((4 * size, size)), np.repeat([-800.0, 40.0, 0.0, 0.0], size))
    P = trace(cell, np.zeros((steps, 1, 1))).propagator(0, steps).dense()[0]
    return sure(np.abs(P[size:, size:] - np.eye(size)).max())


def _at_rest(cell: Cell) -> NDArray[Any]:
    """Return the joint Jacobian at the zero state without input."""
    return np.asarray(trace(cell, np.zeros((1, 1, 2))).jacobians.dense(1)[0])


def _lstm_at_rest() -> Estimate:
    cell = LSTM.init(2, 24, scale=1.7, forget_bias=1.0, rng=4)
    wanted = np.abs(expit(1.0) + 0.25 * np.linalg.eigvals(cell.W_hh[48:72])).max()
    return sure(abs(np.abs(np.linalg.eigvals(_at_rest(cell))).max() - wanted))


def _gru_at_rest(reset: str) -> Estimate:
    cell = GRU.init(2, 24, scale=1.7, reset=reset, rng=4)
    return sure(np.abs(_at_rest(cell) - (0.5 * np.eye(24) + 0.25 * cell.W_hh[48:72])).max())


def _edge(cell: str, forget_bias: float = 0.0) -> Estimate:
    return sure(zero_state_edge(cell, forget_bias=forget_bias).scale)


def _kept() -> Estimate:
    drawn = GRU.init(2, 16, scale=1.5, rng=0)
    b_h = np.r_[np.zeros(16), np.full(16, -800.0), np.zeros(16)]
    rng = np.random.default_rng(0)
    state = rng.standard_normal((4, 16))
    found = trace(GRU(drawn.W_xh, drawn.W_hh, b_h), rng.standard_normal((200, 4, 2)), state=state)
    return sure(np.abs(found.states["h"] - state).max())


def _chrono() -> Estimate:
    """Return the mean over many units of f^k at k = T/2, its interval from their scatter."""
    kept = expit(chrono_bias(100_000, 1000.0, np.random.default_rng(0))) ** 500
    half = 1.96 * kept.std() / math.sqrt(kept.size)
    return Estimate(float(kept.mean()), float(kept.mean() - half), float(kept.mean() + half), kept.size)


GATED = {
    "E11": Truth(
        "constant error carousel: ∂c_T/∂c_0 = I, largest difference", "Hochreiter & Schmidhuber 1997; algebra",
        "LSTM, recurrent weights 0, b_f = 40, b_i = −800", "H 8, T 1000", 0.0, {"absolute": 0.0}, "exact", _carousel,
    ),
    "E12 Jacobian": Truth(
        "spectral radius of the joint Jacobian at rest is max|σ(b_f) + ¼ λ_k(W_g)|: difference", "algebra",
        "LSTM, zero state, x = 0, b_f = 1", "H 24, T 1", 0.0, {"absolute": 1e-12}, ROUNDING, _lstm_at_rest,
    ),
    "E12 edge": Truth(
        "init scale at which the resting LSTM is at its edge", "algebra, H → ∞", "LSTM, b_f = 1", "H → ∞", 1.075766,
        {"absolute": 1e-6}, PRINTED, partial(_edge, "lstm", 1.0),
    ),
    "E13 before": Truth(
        "Jacobian at rest is ½ I + ¼ W_n: largest difference", "algebra", "GRU, reset before, zero state", "H 24, T 1",
        0.0, {"absolute": 1e-14}, ROUNDING, partial(_gru_at_rest, "before"),
    ),
    "E13 after": Truth(
        "Jacobian at rest is ½ I + ¼ W_n: largest difference", "algebra", "GRU, reset after, zero state", "H 24, T 1",
        0.0, {"absolute": 1e-14}, ROUNDING, partial(_gru_at_rest, "after"),
    ),
    "E13 edge": Truth(
        "init scale at which the resting GRU is at its edge", "algebra, H → ∞; Kanai 2017", "GRU", "H → ∞", 2.0,
        {"absolute": 1e-12}, ROUNDING, partial(_edge, "gru"),
    ),
    "E14": Truth(
        "a GRU that keeps everything keeps h to the last bit: largest difference", "algebra",
        "GRU, update bias −800, noise", "H 16, T 200", 0.0, {"absolute": 0.0}, "exact", _kept,
    ),
    "E25": Truth(
        "chrono biases keep E f^k → E₂(k/T) after k = T/2 steps", "Tallec & Ollivier 2018; derived",
        "LSTM, T_max = 1000", "H 100000", 0.3266, {"tolerance": 0.01}, "T is finite, and units are drawn", _chrono,
        "derived",
    ),
}  # fmt: skip
