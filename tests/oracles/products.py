"""Products of given matrices: a cell whose step Jacobians are its input, and their singular values in exact numbers.

``P = J_T … J_1`` is formed in whole numbers of as many bits as are asked for, and decomposed by mpmath.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import log
from typing import Any, NamedTuple

import numpy as np
from conftest import oracle
from numpy.typing import NDArray

import gradlab as gl
from gradlab.cells.base import Cell, Record, State

Array = NDArray[Any]
#: Entries of the matrices are taken in units of 2^-FRACTION, so that those above 2^-600 are exact.
FRACTION = 653


class Matrix(NamedTuple):
    """The step's matrix, ``(…, S, S, N)``."""

    J: Array


@dataclass(frozen=True, eq=False, repr=False)
class MatrixCell(Cell):
    """``h_t = J_t h_{t−1}``, J_t the input of step t: the cell of a user who only has matrices."""

    size: int

    name = "matrix"
    parameter_names = ()

    @property
    def input_size(self) -> int:
        return self.size**2

    @property
    def hidden_size(self) -> int:
        return self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("float64")

    def input_drive(self, x: Array) -> Array:
        return x

    def step(self, drive: Array, state: State) -> tuple[State, Record]:
        J = self._matrix(drive)
        return self.jvp(Matrix(J), state), {"J": J}

    def linearise(self, record: Record, before: State, after: State) -> Matrix:
        return Matrix(record["J"])

    def jvp(self, local: Any, tangent: State) -> State:
        return (np.einsum("...ijn,...jn->...in", local.J, tangent[0]),)

    def vjp(self, local: Any, adjoint: State) -> tuple[State, Array]:
        return (np.einsum("...ijn,...in->...jn", local.J, adjoint[0]),), adjoint[0]

    def _matrix(self, drive: Array) -> Array:
        return drive.reshape(*drive.shape[:-2], self.size, self.size, drive.shape[-1])

    def __repr__(self) -> str:
        return f"MatrixCell({self.size})"


def product_of(matrices: Array, *, lengths: Any = None, loss: Any = None) -> gl.Trace:
    """Return the trace whose step Jacobians are ``matrices (T, B, S, S)``; without a B axis, of one sequence."""
    J = matrices[:, None] if matrices.ndim == 3 else matrices
    T, B, S, _ = J.shape
    return gl.trace(MatrixCell(S), np.ascontiguousarray(J).reshape(T, B, S * S), loss, lengths=lengths)


def rotations(count: int, size: int, rng: np.random.Generator) -> Array:
    """Return random orthogonal matrices ``(count, S, S)``."""
    return np.linalg.qr(rng.standard_normal((count, size, size)))[0]


def prescribed(logs: Array, rng: np.random.Generator) -> Array:
    """Return ``J_t = U_t diag(e^{logs_t}) U_{t−1}ᵀ``, ``(T, S, S)``: their product has ln σ = Σ_t logs_t exactly."""
    T, S = logs.shape
    U = rotations(T + 1, S, rng)
    return U[1:] * np.exp(logs)[:, None, :] @ U[:-1].swapaxes(-1, -2)


def exact_log_singular_values(matrices: Array, digits: int) -> Array:
    """Return ln σ of ``J_T … J_1`` for ``matrices (T, S, S)``, descending, to ``digits`` digits; −inf for a 0."""
    mp = oracle("mpmath").mp
    mantissas, exponent = exact_product(matrices, int(digits * 3.33))
    if not mantissas.any():
        return np.full(len(mantissas), -np.inf)
    with mp.workdps(digits):
        values = sorted(mp.svd_r(mp.matrix(mantissas.tolist()), compute_uv=False), reverse=True)
        floor = values[0] * mp.mpf(10) ** (20 - digits)
        logs = [float(mp.log(value)) + exponent * log(2) if value > floor else -np.inf for value in values]
    known = [value for value in logs if np.isfinite(value)]
    assert known[0] - known[-1] < (digits - 30) * log(10), "more digits are needed"
    return np.array(logs)


def exact_product(matrices: Array, bits: int) -> tuple[Array, int]:
    """Return ``J_T … J_1`` as whole numbers ``(S, S)`` times 2^exponent, cut to ``bits`` bits below the largest."""
    product, exponent = np.array(np.eye(matrices.shape[-1], dtype=int), dtype=object), 0
    for J in matrices:
        product, exponent = _whole(J) @ product, exponent - FRACTION
        excess = max(int(abs(value)).bit_length() for value in product.flat) - bits
        if excess > 0:
            product, exponent = product >> excess, exponent + excess
    return product, exponent


def _whole(J: Array) -> Array:
    """Return ``J · 2^FRACTION`` as whole numbers, which are exact."""
    scaled = np.array([[Fraction(float(value)) * 2**FRACTION for value in row] for row in J], dtype=object)
    assert all(value.denominator == 1 for value in scaled.flat), "an entry is too small to be exact"
    return np.array([[int(value) for value in row] for row in scaled], dtype=object)
