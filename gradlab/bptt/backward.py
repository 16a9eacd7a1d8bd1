"""Backward in time: the exact adjoint of every state at every step, in scaled numbers.

The cell's ``vjp`` is one step. The loop adds the gradients that arrive from outside and keeps mantissas in range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import (
    LN2,
    Array,
    add,
    common_exponent,
    highest,
    in_room,
    ldexp,
    log_norm,
    normalise,
    squared,
)
from gradlab.bptt.forward import Tape
from gradlab.cells import Cell
from gradlab.cells.base import Pair
from gradlab.native import pool
from gradlab.native.loop import Loop

Exponent = NDArray[np.int64]
#: Backward steps between rescaling checks (fewer in float32, whose range is small).
BLOCK = {np.dtype("float64"): 16, np.dtype("float32"): 4}
#: Terms of the sums over steps and sequences per product, as many as stay in the cache.
LONG = 256


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns ``(…, F, B)`` with one exponent each, ``(…, B)``: the form of gradients between passes."""

    mantissa: Array
    exponent: Exponent

    @classmethod
    def of(cls, plain: Array) -> Columns:
        """Return plain numbers as columns with peaks in range."""
        columns = np.array(plain)
        exponent = np.zeros((*columns.shape[:-2], columns.shape[-1]), np.int64)
        normalise(columns, exponent)
        return cls(columns, exponent)

    def plus(self, other: Columns) -> Columns:
        """Return the sum, on the larger exponent of each column."""
        with np.errstate(all="ignore"):
            return Columns(*add(self.mantissa, self.exponent, other.mantissa, other.exponent))

    def plain(self) -> Array:
        """Return plain numbers; values out of range become 0 or inf."""
        with np.errstate(all="ignore"):
            return ldexp(self.mantissa, self.exponent[..., None, :])

    def log_norm(self) -> NDArray[np.float64]:
        """Return ln‖·‖ of each column, ``(…, B)``."""
        return log_norm(self.mantissa, self.exponent)


@dataclass(frozen=True, eq=False)
class Arriving:
    """Gradients that arrive from outside at n consecutive times, and nowhere else.

    Attributes
    ----------
    columns : Columns (n, F, B)
        The gradients at t = ``first``, …, ``first + n − 1``.
    first : int
        The first of these times.
    places : int
        T + 1, the number of times in all.
    """

    columns: Columns
    first: int
    places: int

    @classmethod
    def everywhere(cls, columns: Columns) -> Arriving:
        """Return gradients that arrive at all of t = 0 … T, ``(T+1, F, B)``."""
        return cls(columns, 0, len(columns.mantissa))

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Mask of the t at which a nonzero gradient arrives, ``(T+1,)``."""
        live = np.zeros(self.places, bool)
        live[self.first : self.first + len(self.columns.mantissa)] = self.columns.mantissa.any(axis=(1, 2))
        return live

    @cached_property
    def whole(self) -> Columns:
        """The gradients at t = 0 … T, zero where none arrives, ``(T+1, F, B)``."""
        n, F, B = self.columns.mantissa.shape
        if n == self.places:
            return self.columns
        mantissa = pool.zeros((self.places, F, B), self.columns.mantissa.dtype)
        exponent = np.zeros((self.places, B), np.int64)
        here = slice(self.first, self.first + n)
        mantissa[here], exponent[here] = self.columns.mantissa, self.columns.exponent
        return Columns(mantissa, exponent)

    def at(self, t: Any) -> Columns:
        """Return the gradients at t, an int or an array; every t must be one of the n times."""
        return Columns(self.columns.mantissa[t - self.first], self.columns.exponent[t - self.first])

    def within(self, block: slice) -> Columns:
        """Return the gradients at the t of ``block``, under the condition of :meth:`at`."""
        here = slice(block.start - self.first, block.stop - self.first)
        return Columns(self.columns.mantissa[here], self.columns.exponent[here])


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of a backward pass, as columns with one exponent per sequence and t.

    Attributes
    ----------
    tape : Tape
        The forward pass.
    adjoint : array (T+1, S, B)
        δ_t, the gradient at each state with the other states of the same step held fixed.
    total : array (T+1, S, B)
        dL/ds_t; it differs from δ_t where one state of a step feeds another.
    pre_grad : array (T, kH, B)
        dL/da_t, on the exponents ``exponent[1:]``.
    exponent : int array (T+1, B)
        The exponents of ``adjoint`` and ``total``.
    arriving : Arriving
        The gradients from outside, at the output sequence or at the joint state.
    direct : Columns
        ``arriving`` at all t, ``(T+1, H, B)`` or ``(T+1, S, B)``.
    """

    tape: Tape
    adjoint: Array
    total: Array
    pre_grad: Array
    exponent: Exponent
    arriving: Arriving

    @property
    def direct(self) -> Columns:
        return self.arriving.whole

    @cached_property
    def input(self) -> Columns:
        """dL/dx_t of all steps, ``(T, D, B)``, from one product."""
        with np.errstate(all="ignore"):
            return Columns(self.tape.cell.input_vjp(self.pre_grad), self.exponent[1:])

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """The factors of each parameter's gradient, on the exponents ``exponent[1:]``."""
        tape = self.tape
        before = tape.cell.split(tape.states[:-1])
        return tape.cell.parameter_pairs(tape.record, before, self.pre_grad, tape.x)


def backward(tape: Tape, arriving: Arriving) -> Gradients:
    """Carry the gradients that arrive at h_t, or at s_t, back to step 0."""
    cell, T = tape.cell, tape.steps
    adjoint = pool.empty(tape.states.shape, tape.states.dtype)
    adjoint[T] = 0.0
    exponent = np.zeros((T + 1, adjoint.shape[-1]), np.int64)
    total = adjoint if len(cell.state_names) == 1 else pool.empty(adjoint.shape, adjoint.dtype)
    live = arriving.live
    pre_grad: Array | None = None
    loops: dict[bool, Loop] = {}
    with np.errstate(all="ignore"):
        _arrive(adjoint[T], exponent[T], arriving, T, live[T])
        for stretch in reversed(tape.stretches()):
            local = tape.linearise(stretch)
            if pre_grad is None:
                pre_grad = _room_for_pre_grad(tape, local, adjoint[T])
                loops = {arrives: _loop_back(cell, type(local), arrives) for arrives in (False, True)}
            way = _Way(loops, local, stretch.start, arriving, live, adjoint, exponent, pre_grad)
            for stop in range(stretch.stop, stretch.start, -BLOCK[adjoint.dtype]):
                block = slice(max(stop - BLOCK[adjoint.dtype], stretch.start), stop)
                if not way.together(block):
                    way.one_by_one(block)
            if total is not adjoint:
                steps = slice(stretch.start + 1, stretch.stop + 1)
                for target, array in zip(
                    cell.split(total[steps]), cell.total(local, cell.split(adjoint[steps])), strict=True
                ):
                    target[...] = array
    total[0] = adjoint[0]
    assert pre_grad is not None
    return Gradients(tape, adjoint, total, pre_grad, exponent, arriving)


def _room_for_pre_grad(tape: Tape, local: Any, last: Array) -> Array:
    """Return an array for the pre-activation gradients of all steps, with the shape that one step has."""
    cell, some = tape.cell, tape.cell.probe_columns("vjp")
    at_step = cell.vjp(type(local)(*(array[-1, ..., some] for array in local)), cell.split(last[:, some]))[1]
    return pool.empty((tape.steps, *at_step.shape[:-1], last.shape[-1]), at_step.dtype)


@dataclass(frozen=True, eq=False)
class _Way:
    """The way back over a stretch of steps, whose derivatives are ``local`` from step ``first`` on.

    It writes into the arrays of the pass.
    """

    loops: Mapping[bool, Loop]
    local: Any
    first: int
    arriving: Arriving
    live: NDArray[np.bool_]
    adjoint: Array
    exponent: Exponent
    pre_grad: Array

    def together(self, block: slice) -> bool:
        """Go back on one exponent; return whether all mantissas stayed in range."""
        exponent, live = self.exponent[block.stop], self.live[block]
        if live.any() and (self.arriving.at(block.start + np.flatnonzero(live)).exponent != exponent).any():
            return False
        for steps, arrives in _runs(block, live):
            self.loops[arrives].take(*self._back(steps, arrives))
        squares = squared(self.adjoint[block])
        if not _kept(squares, self.adjoint[block.stop]):
            return False
        self.exponent[block] = exponent
        if not in_room(squares[0], self.adjoint.dtype, 0.5):
            normalise(self.adjoint[block.start], self.exponent[block.start], 0.5)
        return True

    def one_by_one(self, block: slice) -> None:
        """Go back, and rescale after every step."""
        for t, *step in zip(range(block.stop, block.start, -1), *self._back(block, False), strict=True):
            self.loops[False].act(*step)
            self.exponent[t - 1] = self.exponent[t]
            _arrive(self.adjoint[t - 1], self.exponent[t - 1], self.arriving, t - 1, self.live[t - 1])

    def _back(self, steps: slice, arrives: bool) -> list[Array]:
        """Return the arrays that the steps of the loop receive, the last step first."""
        here = slice(steps.start - self.first, steps.stop - self.first)
        after, before = self.adjoint[steps.start + 1 : steps.stop + 1], self.adjoint[steps]
        arriving = [self.arriving.within(steps).mantissa] if arrives else []
        arrays = (after, before, self.pre_grad[steps], *(array[here] for array in self.local), *arriving)
        return [array[::-1] for array in arrays]


def _loop_back(cell: Cell, factored: Callable[..., Any], arrives: bool) -> Loop:
    """Return the loop of backward steps; with ``arrives`` it adds the gradient from outside at the earlier step."""

    def act(after: Array, before: Array, pre_grad: Array, *rest: Array) -> None:
        local = rest[:-1] if arrives else rest
        cell.vjp_into(factored(*local), cell.split(after), (cell.split(before), pre_grad))
        if arrives:
            output = before[: rest[-1].shape[0]]
            np.add(output, rest[-1], out=output)

    return Loop(act, cell.constants, ("back", cell.kind, arrives))


def _runs(block: slice, arriving: NDArray[np.bool_]) -> Iterator[tuple[slice, bool]]:
    """Yield stretches of a block, the last first; in each, gradients arrive at all steps or at none."""
    edges = [0, *(np.flatnonzero(arriving[1:] != arriving[:-1]) + 1).tolist(), len(arriving)]
    for start, stop in zip(edges[-2::-1], edges[:0:-1], strict=True):
        yield slice(block.start + start, block.start + stop), bool(arriving[start])


def _kept(squares: NDArray[np.float64], start: Array) -> bool:
    """Return whether the squared norms ``(n, B)`` of n steps back from ``start`` stayed in range or at zero."""
    if in_room(squares, start.dtype):
        return True
    dead = np.logical_and.accumulate(squares[::-1] == 0)[::-1] & ~start.any(axis=0)
    return in_room(np.where(dead, 1.0, squares), start.dtype)


def _arrive(joint: Array, exponent: Exponent, arriving: Arriving, t: int, any_arrives: np.bool_) -> None:
    """Add the gradient that arrives at step t to its adjoint, in place, and rescale the sum."""
    if any_arrives:
        given = arriving.at(t)
        width = len(given.mantissa)  # h comes first in the joint state
        if np.array_equal(exponent, given.exponent):
            joint[:width] += given.mantissa
        else:
            column = np.zeros_like(joint)
            column[:width] = given.mantissa
            joint[...], exponent[...] = add(joint, exponent, column, given.exponent)
    normalise(joint, exponent)


def parameter_gradients(pairs: Mapping[str, list[Pair]], exponent: Exponent) -> dict[str, tuple[Array, int]]:
    """Return mantissa and exponent of each parameter's gradient of the batch-mean loss.

    One product serves all right factors of one left factor: ``dL/da [h; x; 1]ᵀ`` is the gradient of weights and bias.
    """
    rights: dict[int, list[Array | None]] = {}
    lefts = {id(left): left for factors in pairs.values() for left, _ in factors}
    for left, right in (factor for factors in pairs.values() for factor in factors):
        rights.setdefault(id(left), []).append(right)
    with np.errstate(all="ignore"):
        found = {key: _products(left, rights[key], exponent) for key, left in lefts.items()}
        return {name: _stacked([found[id(left)] for left, _ in factors]) for name, factors in pairs.items()}


def _stacked(blocks: list[tuple[Iterator[Array], int | None]]) -> tuple[Array, int]:
    """Return the next product of each block of rows, stacked, on the highest exponent of the nonzero ones."""
    highest = max((level for _, level in blocks if level is not None), default=0)
    parts = [ldexp(next(products), np.asarray((level or 0) - highest)) for products, level in blocks]
    return np.concatenate(parts), highest


def _products(left: Array, rights: list[Array | None], exponent: Exponent) -> tuple[Iterator[Array], int | None]:
    """Return the batch means ``Σ_t left_t right_tᵀ``, one per right factor, and their exponent; None if all are zero.

    A few steps at a time are transposed, so that steps and sequences form one axis that stays in the cache.
    """
    level = highest(left, exponent)
    weight = np.exp2(np.clip(exponent - (level or 0), -3000, 0).astype(left.dtype))
    T, F, B = left.shape
    widths = [1 if right is None else right.shape[1] for right in rights]
    ends, steps = np.cumsum(widths), -(-LONG // B)
    bands = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
    total = np.zeros((sum(widths), F), left.dtype)
    for start in range(0, T, steps):
        part = slice(start, min(start + steps, T))
        if not weight[part].any():
            continue
        wide = pool.empty((len(total), part.stop - part.start, B), left.dtype)
        for band, right in zip(bands, rights, strict=True):
            wide[band] = 1.0 if right is None else right[part].swapaxes(0, 1)
        if (weight[part] != 1.0).any():
            wide *= weight[part]
        total += wide.reshape(len(total), -1) @ _turned(left[part]).T
    total /= B
    blocks = [total[band].T for band in bands]
    return iter([b[:, 0] if right is None else b for b, right in zip(blocks, rights, strict=True)]), level


def _turned(columns: Array) -> Array:
    """Return ``(n, F, B)`` as ``(F, n·B)``; a copy, except for one sequence."""
    n, F, B = columns.shape
    if B == 1:
        return columns[..., 0].T
    turned = pool.empty((F, n, B), columns.dtype)
    turned[...] = columns.swapaxes(0, 1)
    return turned.reshape(F, n * B)


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
            sums = (
                columns[..., b].sum(axis=0) if right is None else columns[..., b].T @ right[..., b]
                for b in range(columns.shape[-1])
            )
            logs.append(np.array([log_norm(one.reshape(-1, 1), 0)[0] for one in sums]) + peak[0] * LN2)
    with np.errstate(all="ignore"):
        return np.asarray(0.5 * np.logaddexp.reduce([2.0 * log for log in logs], axis=0))


def _pair_log_norms(left: Array, right: Array | None, exponent: Exponent) -> NDArray[np.float64]:
    """Return the norms of one pair, ``(T,)``; one step's matrix is formed at a time."""
    columns, peak = common_exponent(left, exponent, (1,))
    other = np.ones((len(left), 1, left.shape[-1]), left.dtype) if right is None else right
    logs = np.empty(len(left))
    with np.errstate(all="ignore"):
        for t in range(len(left)):
            part = columns[t] @ other[t].T / left.shape[-1]
            logs[t] = log_norm(part.reshape(-1, 1), 0)[0]
    return np.asarray(logs + peak[:, 0] * LN2)
