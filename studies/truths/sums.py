"""Ground truths of the running sum: the part that a forget gate keeps, and an exact LSTM and ReLU pair.

The inputs are ones, or any numbers in [−1, 1]. The exact LSTM has one unit, no recurrent weights, open gates, b_g = 0
and W_g = ε; its output is y = h/ε.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit

from gradlab._trace.trace import Trace, trace
from gradlab.cells import LSTM, RNN
from gradlab.models.losses import projection
from gradlab.models.network import Network, Readout
from gradlab.statistics.estimators import Estimate
from truths.base import Truth, sure

OPEN = 40.0
STEPS = 1000
ONES = np.ones((STEPS, 1, 1))
SETUP, SIZE = "LSTM, W_hh = 0, other gates open, W_g = ε", f"H 1, T {STEPS}"
PRINTED = "algebra: the digits in which the number is given"


def exact(eps: float, forget_bias: float = OPEN, x: Any = ONES) -> Trace:
    """Trace the exact LSTM; its loss is its last output."""
    cell = LSTM(np.array([[0.0], [0.0], [eps], [0.0]]), np.zeros((4, 1)), np.array([OPEN, forget_bias, 0.0, OPEN]))
    model = Network([cell], readout=Readout(np.array([[1 / eps]]), np.zeros(1)))
    return trace(model, x, projection(np.ones((x.shape[1], 1))))


def bound(eps: float) -> float:
    """Return ε²(T³ + T)/3, the bound on the error of the exact LSTM's last output."""
    return eps**2 * (STEPS**3 + STEPS) / 3


def _held(forget_bias: float) -> Estimate:
    """Return the part of the sum of ones that the cell state holds."""
    eps = 1e-9
    return sure(exact(eps, forget_bias).states["c"][-1, 0, 0] / eps)


def _missing(share: float) -> Estimate:
    return sure(1 - _held(math.log(STEPS / (2 * share))).value / STEPS)


def _error(eps: float) -> Estimate:
    return sure(abs(exact(eps).outputs[-1, 0, 0] - STEPS))


def _within() -> Estimate:
    """Return the largest error over its bound, of sequences in [−1, 1], ones among them, and of ε from 1e-4 to 1e-6."""
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, 20, 1))
    x[:, 0], x[:, 1:10] = 1.0, np.sign(x[:, 1:10])
    errors = [np.abs(exact(eps, x=x).outputs[-1] - x.sum(axis=0)).max() / bound(eps) for eps in (1e-4, 1e-5, 1e-6)]
    return sure(max(errors))


def _everywhere() -> Estimate:
    """Return the largest difference, over all steps, of ∂y_T/∂c_t from sech²(c_T)/ε, relative to it."""
    eps = 1e-3
    found = exact(eps)
    wanted = 1 / (eps * math.cosh(found.states["c"][-1, 0, 0]) ** 2)
    return sure(np.abs(np.asarray(found.grad["c"]) / wanted - 1).max())


def _by_bias(forget_bias: float) -> Estimate:
    return sure(exact(1e-9, forget_bias).layers[0].param_grads["b_h"][1])


def _by_bias_exactly(forget_bias: float) -> float:
    """Return ∂y_T/∂b_f = f (1 − f) Σ k f^(k−1), the sum over k = 1 … T − 1."""
    f, k = expit(forget_bias), np.arange(1, STEPS)
    return float(f * expit(-forget_bias) * (k * f ** (k - 1)).sum())


def _pair() -> Estimate:
    """Return the largest error of two ReLU units, h₁ counting the inputs and the steps, h₂ the steps, y = h₁ − h₂."""
    cell = RNN(np.array([[1.0], [0.0]]), np.eye(2), np.ones(2), activation="relu")
    model = Network([cell], readout=Readout(np.array([[1.0, -1.0]]), np.zeros(1)))
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, 50, 1))
    return sure(np.abs(trace(model, x).outputs - np.cumsum(x, axis=0)).max())


SUMS = {
    **{
        f"sum, b_f = {bias:g}": Truth(
            f"{what}: of 1000 ones the cell holds (1 − f^T)/(1 − f)", "algebra", f"LSTM, b_f = {bias:g}", SIZE, value,
            allows, reason, partial(_held, bias),
        )
        for bias, what, value, allows, reason in (
            (1.0, "a small forget gate erases", 1 + math.e, {"absolute": 1e-5}, "ε and σ(40) are not 0 and 1"),
            (5.0, "a large forget gate keeps a part", 149.23, {"absolute": 0.01}, PRINTED),
            (10.0, "a larger one keeps more", 977.7, {"absolute": 0.1}, PRINTED),
            (20.0, "one larger yet keeps all", 999.999, {"absolute": 1e-3}, PRINTED),
        )
    },
    "sum, needed bias": Truth(
        "to miss a share of 0.01 of the sum takes b_f = ln(T/0.02): share missed", "algebra", "LSTM, b_f = 10.8", SIZE,
        0.01, {"tolerance": 0.01}, "to first order in the share", partial(_missing, 0.01),
    ),
    "sum, error": Truth(
        "the exact LSTM misses the sum of 1000 ones by ε²(T³ + T)/3", "algebra", f"{SETUP} = 1e-6", SIZE, bound(1e-6),
        {"tolerance": 1e-5}, "the next term is ε²T² smaller", partial(_error, 1e-6),
    ),
    "sum, bound": Truth(
        "it misses no sum of |x| ≤ 1 by more: largest error over ε²(T³ + T)/3", "algebra", f"{SETUP} = 1e-4 … 1e-6",
        SIZE, 1.0, {"bound": "below"}, "an inequality", _within,
    ),
    "sum, gradient of the state": Truth(
        "∂y_T/∂c_t = sech²(c_T)/ε at every t: largest relative difference", "algebra", f"{SETUP} = 1e-3", SIZE, 0.0,
        {"absolute": 1e-14}, "rounding", _everywhere,
    ),
    "sum, gradient of the gate": Truth(
        "∂y_T/∂b_f = f (1 − f) Σ k f^(k−1): a gate half open for good can be trained", "algebra", f"{SETUP}, b_f = 5",
        SIZE, _by_bias_exactly(5.0), {"tolerance": 1e-9}, "ε and σ(40) are not 0 and 1", partial(_by_bias, 5.0),
    ),
    "sum, gradient of an open gate": Truth(
        "∂y_T/∂b_f is gone where nothing is lost: a perfect carousel has untrainable gates", "algebra",
        f"{SETUP}, b_f = 40", SIZE, _by_bias_exactly(OPEN), {"tolerance": 1e-9}, "ε and σ(40) are not 0 and 1",
        partial(_by_bias, OPEN),
    ),
    "sum, relu pair": Truth(
        "h₁ = relu(h₁ + x + 1), h₂ = relu(h₂ + 1), y = h₁ − h₂ is the sum of |x| ≤ 1: largest error", "algebra",
        "relu, W_hh = I", "H 2, T 1000", 0.0, {"absolute": 1e-10}, "rounding of numbers up to 1000", _pair,
    ),
}  # fmt: skip
