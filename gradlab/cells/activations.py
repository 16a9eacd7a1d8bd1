"""Elementwise activations whose derivatives keep their relative accuracy for saturated units.

``1 − tanh²`` and ``σ(1 − σ)`` cancel where a unit saturates: beyond |a| = 19 (40) they are exactly 0, although the
derivatives are not. Where the short form would lose more than six bits, ``e^{−|a|}`` replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.native.compiled import compiled

#: Below this value the short form has lost six bits to cancellation, and the exact form replaces it.
CANCELS = 2.0**-6


class Activation(NamedTuple):
    """``value(a, out=None)`` and ``derivative(a, y)`` with y = value(a), both elementwise."""

    name: str
    value: Callable[..., Array]
    derivative: Callable[[Array, Array], Array]


def logistic(a: Array, out: Array | None = None) -> Array:
    """Return σ(a) = 1/(1 + e^{−a}), right in relative terms; complex arguments continue it analytically."""
    y: Array = np.subtract(0.0, a, out=out)  # np.negative is wrong where both are strided: tests/cells/test_one_unit.py
    np.exp(y, out=y)
    y += 1.0
    np.divide(1.0, y, out=y)
    return y  # as it is, without np.asarray: a loop in C follows the arrays that formulas return


def complement(a: Array, y: Array) -> Array:
    """Return 1 − σ(a) = σ(−a) for y = σ(a), right in relative terms where y is close to 1."""
    rest = 1.0 - y
    near = rest < CANCELS
    if near.any():
        decay = np.exp(-a[near])
        rest[near] = decay / (1.0 + decay)
    return np.asarray(rest)


@compiled
def tanh_derivative(a: Array, y: Array, out: Array | None = None) -> Array:
    """Return sech²(a) for y = tanh(a), right in relative terms: 4e/(1 + e)² with e = e^{−2|a|} where 1 − y² cancels."""
    slope = np.multiply(y, y, out=out)
    np.subtract(1.0, slope, out=slope)
    near = slope < CANCELS
    if near.any():
        decay = np.exp(-2.0 * np.abs(a[near]))
        slope[near] = 4.0 * decay / (1.0 + decay) ** 2
    return np.asarray(slope)


def _relu(a: Array, out: Array | None = None) -> Array:
    if a.dtype.kind == "f":
        return np.maximum(a, 0.0, out=out)
    y = np.multiply(0.0, a, out=out)
    np.copyto(y, a, where=a.real > 0)
    return y


#: The activations by name. ReLU's derivative at 0 is 0.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation("tanh", np.tanh, tanh_derivative),
    "relu": Activation("relu", _relu, lambda a, y: (a > 0).astype(a.dtype)),
    "logistic": Activation("logistic", logistic, lambda a, y: y * complement(a, y)),
    "identity": Activation("identity", lambda a, out=None: np.add(a, 0.0, out=out), lambda a, y: np.ones_like(a)),
}
