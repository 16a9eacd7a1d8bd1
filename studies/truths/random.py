"""Ground truths of random matrices and wide random networks: Newman's exponents, the sum rule, mean field."""

from __future__ import annotations

import math

import numpy as np

from gradlab._selfcheck import selfcheck
from gradlab._trace.trace import trace
from gradlab.cells import CELLS, LSTM, RNN, Cell
from gradlab.cells.variants import variants
from gradlab.statistics.estimators import Estimate
from gradlab.theory import critical_scale, mean_field, newman_exponents
from truths.base import Truth, mean_of, sure

PRINTED = "quadrature: the digits in which the number is given"
SIZE = 256


def _derivative() -> Estimate:
    """Return the largest error of a Jacobian by the complex step, over all cells and their options."""
    reports = [selfcheck(cell) for name in CELLS for _, cell in variants(name)]
    return sure(max(check.error for report in reports for check in report.checks if check.name == "complex step"))


def _sum_rule() -> Estimate:
    cell: Cell = LSTM.init(2, 6, scale=4.0, rng=0)
    found = trace(cell, np.random.default_rng(0).standard_normal((200, 2, 2)))
    return sure(np.abs(found.spectrum(12).per_sequence.sum(axis=1) - found.jacobians.log_abs_det().mean(axis=0)).max())


def _newman() -> Estimate:
    """Return the largest |z| of the exponents of a product of Gaussian matrices, by QR, against Newman's."""
    N, steps, rng = 8, 4000, np.random.default_rng(0)
    Q, logs = np.eye(N), np.zeros(N)
    for _ in range(steps):
        Q, R = np.linalg.qr(rng.standard_normal((N, N)) / math.sqrt(N) @ Q)
        logs += np.log(np.abs(np.diag(R)))
    law = newman_exponents(N)
    return sure(np.abs((logs / steps - law.exponents) / np.sqrt(law.step_variance / steps)).max())


def _largest(scale: float, seed: int) -> float:
    """Return λ₁ of a network that is kicked once and then left alone."""
    cell = RNN.init(1, SIZE, scale=scale, rng=seed)
    x = np.zeros((1000, 1, 1))
    start = np.random.default_rng(seed).standard_normal((1, SIZE))
    return float(trace(cell, x, state=start).spectrum(1, warmup=200).exponents[0])


def _chaos() -> Estimate:
    return mean_of([_largest(3.0, seed) for seed in range(6)])


def _driven() -> Estimate:
    """Return the mean share that tanh lets pass of units that N(0, 1) drives, from J_t = diag(tanh'(a_t)) W."""
    units, W = 16, 1e-9  # so weak that the input alone is a_t
    x = np.random.default_rng(0).standard_normal((100, 64, units))
    found = trace(RNN(np.eye(units), W * np.eye(units), np.zeros(units)), x)
    passed = found.jacobians @ np.full((*x.shape, 1), 1 / W)
    return mean_of(passed.mean(axis=(0, 2, 3)))


_FINITE = mean_field(scale=3.0, size=SIZE)

RANDOM = {
    "E28": Truth(
        "Jacobians of every cell and option are those of its step: largest relative error, by the complex step",
        "algebra", "every cell and option", "H 5, T 6", 1e-13, {"bound": "below"}, "no cancellation: rounding only",
        _derivative,
    ),
    "E16": Truth(
        "Σ λ_i = mean ln|det J_t|, saturated gates included: largest difference", "algebra", "LSTM, scale 4",
        "H 6, T 200", 0.0, {"absolute": 1e-9}, "rounding of 200 QR decompositions", _sum_rule,
    ),
    "E17": Truth(
        "exponents of i.i.d. Gaussian matrices: largest |z| against the exact law", "Newman 1986", "N = 8",
        "N 8, T 4000", 4.5, {"bound": "below"}, "an exact z-test of 8 exponents", _newman,
    ),
    "E20 theory": Truth(
        "λ₁ of x_t = W tanh x_(t−1) as H → ∞", "mean field; derived", "tanh, scale 3, no input", "H → ∞", 0.310249,
        {"absolute": 1e-6}, PRINTED, lambda: sure(mean_field(scale=3.0).rate), "derived",
    ),
    "E20 network": Truth(
        "λ₁ of a network of that law, its mean-field value less the shift of its size", "mean field; derived",
        "tanh, scale 3, no input", f"H {SIZE}, T 1000", _FINITE.rate + _FINITE.shift, {"absolute": 0.01},
        "networks of 256 units scatter by 0.003", _chaos, "derived",
    ),
    "E21": Truth(
        "input moves the edge above 1: critical scale under noise of variance 0.1", "mean field; derived",
        "tanh, driven", "H → ∞", 1.409281, {"absolute": 1e-6}, PRINTED,
        lambda: sure(critical_scale("tanh", input_var=0.1).scale), "derived",
    ),
    "P11": Truth(
        "of a gradient, tanh under input N(0, 1) lets pass E tanh'(a) at a step", "Cooijmans et al. 2017, Fig. 1",
        "tanh, x ~ N(0, 1) at every unit", "H 16, T 100", 0.605706, {"tolerance": 0.01},
        "Monte Carlo over 100 000 inputs: two standard errors are 0.3 %", _driven, "derived",
    ),
    "E23": Truth(
        "critical scale of ReLU networks is √2", "mean field; algebra", "relu", "H → ∞", math.sqrt(2),
        {"absolute": 1e-12}, "rounding", lambda: sure(critical_scale("relu").scale),
    ),
}  # fmt: skip
