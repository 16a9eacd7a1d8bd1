"""Ground truths of scalar, orthogonal, triangular and diagonal networks, whose products have a closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradlab._trace.trace import Trace, trace
from gradlab.cells import RNN
from gradlab.models.losses import projection
from gradlab.statistics.estimators import Estimate
from truths.base import Truth, mean_of, sure

ROUNDING = "algebra: rounding of a product of T factors"
PRINTED = "algebra: the digits in which the number is given"
JORDAN = ((0.9, 1.0), (0.0, 0.9))


def _run(W: Any, steps: int, activation: str = "identity", start: float = 0.0) -> Trace:
    """Trace a network without input; its loss is the sum of the last state."""
    weights = np.array(W, float)
    H = len(weights)
    cell = RNN(np.zeros((H, 1)), weights, activation=activation)
    return trace(cell, np.zeros((steps, 1, 1)), projection(np.ones((1, H))), state=np.full((1, H), start))


def _norm(W: Any, steps: int) -> Estimate:
    return sure(math.exp(_run(W, steps).propagator(0, steps).log_norm(2)[0]))


def _by_weight() -> Estimate:
    return sure(_run([[0.9]], 100, start=2.0).param_grads["W_hh"][0, 0])


def _orthogonal() -> Estimate:
    W = RNN.init(1, 8, recurrent="orthogonal", scale=1.1, rng=0).W_hh
    logs = _run(W, 1000).propagator(0, 1000).log_singular_values()
    return sure(np.abs(np.expm1(logs - 1000 * math.log(1.1))).max())


def _fixed_point() -> Estimate:
    found = _run([[1.5]], 400, "tanh", start=1.0)
    return sure(found.jacobians.dense(400)[0, 0, 0])


def _power_law() -> Estimate:
    steps = 10_000
    found = _run([[1.0]], steps, "tanh", start=1.0)
    return sure(math.exp(found.propagator(0, steps).log_norm(2)[0]) * steps**1.5)


def _bound() -> Estimate:
    cell = RNN.init(2, 24, scale=1.4, rng=0)
    found = trace(cell, np.random.default_rng(0).standard_normal((60, 8, 2)))
    most = np.arange(60, -1, -1) * math.log(np.linalg.norm(cell.W_hh, 2))
    return sure((found.propagator_norms(2) - most[:, None])[:-1].max())


def _parameter() -> Estimate:
    steps, batch = 150, 40_000
    x = np.random.default_rng(15).standard_normal((steps, batch, 1))
    found = trace(RNN(np.ones((1, 1)), np.array([[0.9]]), activation="identity"), x, projection(np.ones((batch, 1))))
    by_weight = (np.asarray(found.pre_grad["h"]) * found.states["h"][:-1]).sum(axis=0)
    return mean_of(np.square(by_weight[:, 0]))


def _relu_shift() -> Estimate:
    W, start = RNN.init(1, 64, rng=1).W_hh, np.abs(np.random.default_rng(1).standard_normal((1, 64)))

    def largest(g: float) -> float:
        cell = RNN(np.zeros((64, 1)), g * W, activation="relu")
        return float(trace(cell, np.zeros((200, 1, 1)), state=start).spectrum(1, warmup=20).exponents[0])

    return sure(largest(1.7) - largest(1.0))


LINEAR = {
    "E01 state": Truth(
        "∂h_T/∂h_0 = w^T", "algebra", "linear, w = 0.9", "H 1, T 100", 0.9**100, {"tolerance": 1e-11}, ROUNDING,
        lambda: _norm([[0.9]], 100),
    ),
    "E01 weight": Truth(
        "∂h_T/∂w = T h_0 w^(T−1)", "algebra", "linear, w = 0.9, h_0 = 2", "H 1, T 100", 200 * 0.9**99,
        {"tolerance": 1e-11}, ROUNDING, _by_weight,
    ),
    "E02": Truth(
        "every singular value of ∂h_T/∂h_0 is g^T: largest relative difference", "algebra", "linear, W = 1.1 Q",
        "H 8, T 1000", 0.0, {"absolute": 1e-11}, ROUNDING, _orthogonal,
    ),
    "E03 early": Truth(
        "‖W^T‖₂ grows at first though ρ(W) < 1", "algebra", "linear, W = [[.9, 1], [0, .9]]", "H 2, T 10", 3.90534,
        {"absolute": 1e-5}, PRINTED, lambda: _norm(JORDAN, 10),
    ),
    "E03 late": Truth(
        "‖W^T‖₂ falls at last, slower than ρ(W)^T", "algebra", "linear, W = [[.9, 1], [0, .9]]", "H 2, T 50", 0.286414,
        {"absolute": 1e-6}, PRINTED, lambda: _norm(JORDAN, 50),
    ),
    "E05": Truth(
        "multiplier w (1 − h*²) of the fixed point h* = tanh(w h*)", "algebra", "tanh, w = 1.5", "H 1, T 400",
        0.394313025499, {"absolute": 1e-10}, PRINTED, _fixed_point,
    ),
    "E06": Truth(
        "no half-life at w = 1: T^(3/2) ∏(1 − h_t²) → 1.641, a power law", "derived", "tanh, w = 1, h_0 = 1",
        "H 1, T 10000", 1.641, {"absolute": 1e-3}, "from T = 5000 on the limit is reached to this", _power_law,
        "derived",
    ),
    "E09": Truth(
        "ln‖∂h_T/∂h_t‖₂ − (T − t) ln σ_max(W) is never above 0: the largest", "Pascanu, Mikolov & Bengio 2013",
        "tanh, scale 1.4, noise", "H 24, T 60", 0.0, {"bound": "below"}, "an inequality", _bound,
    ),
    "E10": Truth(
        "λ₁(g) − λ₁(1) = ln g, one seed", "algebra", "relu, no bias, no input, g = 1.7", "H 64, T 200", math.log(1.7),
        {"absolute": 1e-12}, "algebra: rounding", _relu_shift,
    ),
    "E15": Truth(
        "E(∂h/∂λ)² = (1 + λ²)/(1 − λ²)³: it explodes with memory though no state gradient does",
        "Zucchet & Orvieto 2024, exact", "linear, λ = 0.9, white input", "H 1, T 150", 1.81 / 0.19**3,
        {"tolerance": 0.05}, "Monte Carlo over 40 000 sequences: two standard errors are 2 %", _parameter,
    ),
}  # fmt: skip
