"""Backward in time: the exact adjoint of every state at every step, in scaled numbers.

The cell's own ``vjp`` is the step; the loop adds what arrives from outside and keeps the mantissas in range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.bptt.forward import Tape
from gradlab.cells.base import Pair
from gradlab.scaled import LN2, add, common_exponent, ldexp, log_norm, normalise

Array = NDArray[Any]
Exponent = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns ``(…, F, B)`` with one exponent each ``(…, B)``: gradients as the passes hand them on."""

    mantissa: Array
    exponent: Exponent

    @classmethod
    def of(cls, plain: Array) -> Columns:
        """Return plain numbers as columns whose peaks are in range."""
        columns = np.array(plain)
        exponent = np.zeros((*columns.shape[:-2], columns.shape[-1]), np.int64)
        normalise(columns, exponent)
        return cls(columns, exponent)

    def plus(self, other: Columns) -> Columns:
        """Return the sum, on the larger exponent of each column."""
        with np.errstate(all="ignore"):
            return Columns(*add(self.mantissa, self.exponent, other.mantissa, other.exponent))

    def plain(self) -> Array:
        """Return plain numbers; what does not fit becomes 0 or inf."""
        with np.errstate(all="ignore"):
            return ldexp(self.mantissa, self.exponent[..., None, :])

    def log_norm(self) -> NDArray[np.float64]:
        """Return ln‖·‖ of each column, ``(…, B)``."""
        return log_norm(self.mantissa, self.exponent)


@dataclass(frozen=True, eq=False)
class Gradients:
    """What a backward pass leaves, as columns: mantissas ``(T+1 or T, F, B)`` and one exponent a sequence and t.

    ``adjoint (T+1, S, B)`` is δ_t; ``total (T+1, S, B)`` is dL/ds_t; ``pre_grad (T, kH, B)`` is dL/da_t, on the
    exponents of δ_t, ``exponent[1:]``. ``direct`` is what arrived from outside: ``(T+1, H, B)`` at the output sequence
    alone, or ``(T+1, S, B)`` at the joint state.
    """

    tape: Tape
    adjoint: Array
    total: Array
    pre_grad: Array
    exponent: Exponent
    direct: Columns

    @cached_property
    def input(self) -> Columns:
        """dL/dx_t for all steps, ``(T, D, B)``, one product."""
        with np.errstate(all="ignore"):
            return Columns(self.tape.cell.input_vjp(self.pre_grad), self.exponent[1:])

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """The factors of each parameter's gradient, on the exponents ``exponent[1:]``."""
        tape = self.tape
        before = tape.cell.split(tape.states[:-1])
        return tape.cell.parameter_pairs(tape.record, before, self.pre_grad, tape.x)


def backward(tape: Tape, direct: Columns) -> Gradients:
    """Carry ``direct``, what arrives from outside at h_t ``(T+1, H, B)`` or at s_t ``(T+1, S, B)``, back to step 0."""
    cell, T = tape.cell, tape.steps
    arriving = np.asarray(direct.mantissa.any(axis=(1, 2)))
    adjoint = np.zeros_like(tape.states)
    exponent = np.zeros((T + 1, adjoint.shape[-1]), np.int64)
    total = adjoint if _is_its_total(tape) else np.zeros_like(adjoint)
    pre_grad: Array | None = None
    with np.errstate(all="ignore"):
        _arrive(adjoint[T], exponent[T], direct, T, arriving[T])
        for stretch in reversed(tape.stretches()):
            local = tape.linearise(stretch)
            for t in range(stretch.stop, stretch.start, -1):
                step = type(local)(*(array[t - 1 - stretch.start] for array in local))
                before, at_step = cell.vjp(step, cell.split(adjoint[t]))
                if pre_grad is None:
                    pre_grad = np.empty((T, *at_step.shape), at_step.dtype)
                pre_grad[t - 1] = at_step
                for target, array in zip(cell.split(adjoint[t - 1]), before, strict=True):
                    target[...] = array
                exponent[t - 1] = exponent[t]
                _arrive(adjoint[t - 1], exponent[t - 1], direct, t - 1, arriving[t - 1])
            if total is not adjoint:
                steps = slice(stretch.start + 1, stretch.stop + 1)
                for target, array in zip(
                    cell.split(total[steps]), cell.total(local, cell.split(adjoint[steps])), strict=True
                ):
                    target[...] = array
    total[0] = adjoint[0]
    assert pre_grad is not None
    return Gradients(tape, adjoint, total, pre_grad, exponent, direct)


def _is_its_total(tape: Tape) -> bool:
    return len(tape.cell.state_names) == 1


def _arrive(joint: Array, exponent: Exponent, direct: Columns, t: int, any_arrives: np.bool_) -> None:
    """Add what arrives from outside at step t to its adjoint, in place, and bring the sum into range."""
    width = direct.mantissa.shape[1]  # h comes first in the joint state
    if any_arrives and np.array_equal(exponent, direct.exponent[t]):
        joint[:width] += direct.mantissa[t]
    elif any_arrives:
        column = np.zeros_like(joint)
        column[:width] = direct.mantissa[t]
        joint[...], exponent[...] = add(joint, exponent, column, direct.exponent[t])
    normalise(joint, exponent)


def parameter_gradient(pairs: list[Pair], exponent: Exponent) -> tuple[Array, int]:
    """Return mantissa and exponent of a parameter's gradient of the batch-mean loss, one product for each pair."""
    peaks = [common_exponent(left, exponent, (0, 1)) for left, _ in pairs]
    highest = max((int(peak.max()) for left, peak in peaks if left.any()), default=0)
    blocks = []
    with np.errstate(all="ignore"):
        for (left, peak), (_, right) in zip(peaks, pairs, strict=True):
            batch = left.shape[-1]
            product = left.sum(axis=(0, 2)) if right is None else np.tensordot(left, right, ((0, 2), (0, 2)))
            blocks.append(ldexp(product / batch, np.asarray(peak.max() - highest)))
    return np.concatenate(blocks), highest


def contribution_norms(pairs: list[Pair], exponent: Exponent) -> NDArray[np.float64]:
    """Return ln of the Frobenius norm of each step's part of a parameter's gradient (batch mean), ``(T,)``."""
    logs = [_pair_log_norms(left, right, exponent) for left, right in pairs]
    with np.errstate(all="ignore"):
        return np.asarray(0.5 * np.logaddexp.reduce([2.0 * log for log in logs], axis=0))


def sequence_norms(pairs: list[Pair], exponent: Exponent) -> NDArray[np.float64]:
    """Return ln of the Frobenius norm of each sequence's own gradient of a parameter, ``(B,)``."""
    logs = []
    for left, right in pairs:
        columns, peak = common_exponent(left, exponent, (0,))
        with np.errstate(all="ignore"):
            sums = [
                columns[..., b].sum(axis=0) if right is None else columns[..., b].T @ right[..., b]
                for b in range(columns.shape[-1])
            ]
            logs.append(np.array([log_norm(one.reshape(-1, 1), 0)[0] for one in sums]) + peak[0] * LN2)
    with np.errstate(all="ignore"):
        return np.asarray(0.5 * np.logaddexp.reduce([2.0 * log for log in logs], axis=0))


def _pair_log_norms(left: Array, right: Array | None, exponent: Exponent) -> NDArray[np.float64]:
    """One pair's; each step's matrix is formed and forgotten."""
    columns, peak = common_exponent(left, exponent, (1,))
    other = np.ones((len(left), 1, left.shape[-1]), left.dtype) if right is None else right
    logs = np.empty(len(left))
    with np.errstate(all="ignore"):
        for t in range(len(left)):
            part = columns[t] @ other[t].T / left.shape[-1]
            logs[t] = log_norm(part.reshape(-1, 1), 0)[0]
    return np.asarray(logs + peak[:, 0] * LN2)
