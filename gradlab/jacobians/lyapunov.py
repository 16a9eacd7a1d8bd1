"""Lyapunov spectra: mean growth rates of directions of the state, by repeated QR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import Array
from gradlab.bptt import Tape, continued
from gradlab.bptt.forward import STRETCH
from gradlab.cells import Cell
from gradlab.cells.base import SMALL
from gradlab.errors import InputError
from gradlab.formatting import markup
from gradlab.formatting.numbers import UNKNOWN, compact, plain, plus_minus
from gradlab.native.compiled import compiled
from gradlab.native.loop import Loop

#: Drift between columns, in nats, that is aimed at between two QRs: R then keeps twelve digits.
SPREAD = 9.0
#: A stretch that drifted further than this is repeated in halves: e^12 · eps = 4e-11.
MOST_SPREAD = 12.0
#: Most steps between two QRs: growth by e^10 per step then stays within float64.
MOST_STEPS = 64
#: Rows that differ by more than this factor are sorted before Householder's QR, which costs small rows their digits.
GRADED = 100.0
#: Number of blocks whose scatter gives the standard errors, and the fewest QRs per block. Blocks are long enough to be
#: nearly independent, and numerous enough for a standard error.
BLOCKS, QRS_A_BLOCK = 20, 2
#: From this many sequences on, each tangent has a product of its own, in the memory order of a step's derivatives.
ALONE = 16
#: Number of exponents that a repr lists.
SHOWN = 8


@dataclass(frozen=True)
class Spectrum:
    """Lyapunov exponents of one layer and direction, in nats per step, descending on average.

    Attributes
    ----------
    exponents : array (k,)
        Mean over the sequences that outlast the warm-up.
    per_sequence : array (B, k)
        Exponents per sequence; nan if the warm-up leaves no step.
    stderr : array (k,)
        Standard error of ``exponents`` from 20 blocks in time; nan below 40 QRs (steps, unless ``every`` is given).
    history : array (n, k)
        Running mean of the exponents.
    history_steps : int array (n,)
        Number of steps behind each entry of ``history``.
    kaplan_yorke : float
        Dimension j + Σ_{i≤j} λ_i/|λ_{j+1}|; nan if the sum does not turn negative within the k exponents.
    entropy : float
        Sum of the positive exponents, Pesin's bound of the entropy rate; nan if not all of them are known.
    intervals : tuple of int
        Shortest and longest number of steps between two QRs.
    """

    exponents: NDArray[np.float64]
    per_sequence: NDArray[np.float64]
    stderr: NDArray[np.float64]
    history: NDArray[np.float64]
    history_steps: NDArray[np.int64]
    kaplan_yorke: float
    entropy: float
    intervals: tuple[int, int]

    def __repr__(self) -> str:
        return markup.plain(*self._shown())

    def _repr_html_(self) -> str:
        return markup.html(*self._shown())

    def _shown(self) -> tuple[str, list[tuple[str, object]]]:
        """Return a title, and up to `SHOWN` exponents with two standard errors each."""
        named = zip(self.exponents[:SHOWN], self.stderr[:SHOWN], strict=True)
        rows: list[tuple[str, object]] = [
            (f"λ{i}", plus_minus(value, value - 2 * error, value + 2 * error))
            for i, (value, error) in enumerate(named, start=1)
        ]
        if len(self.exponents) > SHOWN:
            rows.append(("…", f"λ{len(self.exponents)} {compact(self.exponents[-1])}"))
        rows += [("dimension", f"{_known(self.kaplan_yorke)} (Kaplan–Yorke)"), ("entropy", _known(self.entropy))]
        shortest, longest = self.intervals
        between = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        rows.append(("mean over", f"B {len(self.per_sequence)}; steps between QRs: {between}"))
        count = len(self.exponents)
        return f"Spectrum: {'λ1' if count == 1 else f'λ1 … λ{count}'} in nats/step, ± two standard errors", rows


def _known(value: float) -> str:
    return UNKNOWN if np.isnan(value) else plain(float(f"{value:.3g}"))


def spectrum(
    tape: Tape, k: int = 8, *, warmup: int = 0, every: int | None = None, adjoint: bool = False, rng: int = 0
) -> Spectrum:
    """Return the k leading Lyapunov exponents of the states on ``tape``.

    k orthonormal tangents are carried forward by the cell's ``jvp``, all sequences and tangents in one product per
    step. At intervals they are decomposed, ``V = QR``, and ``ln R_ii`` is the growth of direction i. The interval
    follows from the growth so far; a stretch whose columns became nearly parallel is repeated in halves.

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    k : int
        Number of exponents, 1 … S. k = 1 is cheap: the QR of one tangent is a norm. All S exponents obey the sum rule
        Σ λ_i = mean_t ln|det J_t| exactly, at finite T.
    warmup : int
        Steps at the start that align the tangents and are not counted.
    every : int, optional
        Steps between two QRs; chosen from the growth by default.
    adjoint : bool
        Carry δ back from T by Jᵀ instead of tangents forward. The sum is the same at finite T, each exponent only in
        the limit.
    rng : int
        Seed of the first tangents.

    Returns
    -------
    Spectrum
        Exponents in nats per step, with standard errors.

    Raises
    ------
    InputError
        If k is outside 1 … S, the warm-up leaves no step, or ``every`` is below 1 or so long that the tangents become
        parallel within the cell's precision.

    References
    ----------
    Benettin et al. 1980; Shimada & Nagashima 1979; for recurrent networks Engelken, Wolf & Abbott 2023.
    """
    walk = TangentWalk(tape.cell, tape.steps, tape.ends, k, warmup=warmup, every=every, adjoint=adjoint, rng=rng)
    walk.take(tape)
    return walk.spectrum()


class TangentWalk:
    """k tangents per sequence on their way, ``(S, K·B)``, and the growth found by each QR.

    Forward in time the tape may come in pieces (:meth:`take`); results do not depend on where it is cut. Parameters are
    those of :func:`spectrum`; ``steps`` and ``ends (B,)`` are those of the whole pass.
    """

    def __init__(
        self,
        cell: Cell,
        steps: int,
        ends: NDArray[np.int64],
        k: int,
        *,
        warmup: int = 0,
        every: int | None = None,
        adjoint: bool = False,
        rng: int = 0,
    ) -> None:
        S, B = cell.state_size, len(ends)
        if not 1 <= positive("k", k) <= S:
            raise InputError(f"k must be 1 … S = {S}, got {k}")
        if every is not None:
            positive("every", every)
        longest = steps if adjoint else int(ends.max())
        if not 0 <= warmup < longest:
            raise InputError(f"warmup must leave at least one of the {longest} steps, got {warmup}")
        self.cell, self.steps, self.ends, self.k, self.adjoint = cell, steps, ends, k, adjoint
        self.first_end = int(ends.min())
        self.warmup, self.every = warmup, every
        start = np.linalg.qr(np.random.default_rng(rng).standard_normal((B, S, k)))[0].astype(cell.dtype)
        self.tangents: Array = np.moveaxis(start, 0, -1).reshape(S, -1)
        self.at, self.interval = 0, 1
        #: Drift in nats beyond which fewer than two digits of the shortest tangent are left: 30 in float64.
        self.lost = -float(np.log(400.0 * np.finfo(cell.dtype).eps))
        self._tape: Tape | None = None
        self._origin, self._known = 0, 0
        self._chunk = slice(0, 0)
        self._local: Any = None
        self._carried = _room(cell, k, B)
        self._at_each = as_strided(self._carried, (steps, *self._carried.shape), (0, *self._carried.strides))
        self._loop: Any = None
        self.forget()

    def forget(self) -> None:
        """Reset all counts."""
        self.growth: list[NDArray[np.float64]] = []
        self.lengths: list[int] = []
        self.counts: list[NDArray[np.int64]] = []

    def take(self, tape: Tape) -> None:
        """Advance as far as ``tape`` allows; it begins where the previous one ended."""
        self._tape = continued(self._tape, self.at - self._origin, tape)
        self._origin, self._known = self.at, self._known + tape.steps
        self._chunk = slice(0, 0)
        with np.errstate(all="ignore"):
            if self.at < self.warmup:
                self._go(self.warmup, self.warmup)
            if self.at == self.warmup:
                self.forget()
            if self.at >= self.warmup:
                self._go(self.steps, self.steps - self.warmup)

    def spectrum(self) -> Spectrum:
        """Return the exponents, after all steps were taken."""
        with np.errstate(all="ignore"):
            return _summary(self)

    def _go(self, end: int, steps: int) -> None:
        """Carry the tangents to ``end`` or to the end of the tape; the walk to ``end`` has ``steps`` steps in all."""
        every, most = self.every, min(MOST_STEPS, max(1, steps // (QRS_A_BLOCK * BLOCKS)))
        self.interval = min(self.interval, most)
        while self.at < end:
            count = min(self.interval if every is None else every, end - self.at)
            if self.at + count > self._known:
                return
            moved = self._advance(count)
            frame, logs = _frame(moved.reshape(len(moved), self.k, -1))
            spread = _spread(logs)
            if every is None and count > 1 and not spread <= MOST_SPREAD:
                self.interval = max(1, count // 2)
                continue
            if every is not None and count > 1:
                self._refuse_noise(every, logs)
            self.counts.append(self._live(count))
            self.tangents, self.at = frame.reshape(moved.shape), self.at + count
            self.growth.append(logs)
            self.lengths.append(count)
            self._choose_interval(count, spread, most)

    def _refuse_noise(self, every: int, logs: NDArray[np.float64]) -> None:
        known = np.where(np.isfinite(logs), logs, logs[:, :1])
        drift = float((known.max(axis=-1) - known.min(axis=-1)).max())
        if drift > self.lost:
            raise InputError(
                f"every={every} is too long: the tangents drift {drift:.0f} nats apart between two QRs, of which "
                f"{self.lost:.0f} are more than rounding; give fewer steps, or leave it out"
            )

    def _live(self, count: int) -> NDArray[np.int64]:
        """Return how many of the next ``count`` steps lie within each sequence, ``(B,)``."""
        taken = count - (self.steps - self.ends - self.at) if self.adjoint else self.ends - self.at
        return np.asarray(np.minimum(np.maximum(taken, 0), count))

    def _choose_interval(self, count: int, spread: float, most: int) -> None:
        allowed = most if spread == 0 else int(count * SPREAD / spread) if np.isfinite(spread) else 1
        self.interval = max(1, min(allowed, 2 * self.interval, most))

    def _advance(self, count: int) -> Array:
        """Carry the tangents over ``count`` steps, as views ``(K, H, B)``, so that a step's derivatives serve all K."""
        self._carried[...] = self.tangents.reshape(-1, self.k, len(self.ends)).swapaxes(0, 1)
        place, end = self.at, self.at + count
        while place < end:
            if not self._chunk.start <= place < self._chunk.stop:
                self._load(place)
            stop = min(end, self._chunk.stop)
            here = slice(place - self._chunk.start, stop - self._chunk.start)
            steps = [self._at_each[: stop - place], *(array[here] for array in self._local)]
            if max(self._index(place), self._index(stop - 1)) < self.first_end:
                self._loop.take(*steps)
            else:
                for t, *step in zip(range(place, stop), *steps, strict=True):
                    before = self._carried.copy()
                    self._loop.act(*step)
                    ended = self._index(t) >= self.ends
                    self._carried[..., ended] = before[..., ended]
            place = stop
        return np.array(self._carried.swapaxes(0, 1), order="C").reshape(self.tangents.shape)

    def _index(self, place: int) -> int:
        return self.steps - 1 - place if self.adjoint else place

    def _load(self, place: int) -> None:
        assert self._tape is not None
        length = min(max(2, STRETCH // (self.cell.state_size * len(self.ends))), self._known - place)
        self._chunk = slice(place, place + length)
        first = (self._index(place + length - 1) if self.adjoint else place) - self._origin
        local = self._tape.linearise(slice(first, first + length))
        self._local = type(local)(*(array[::-1] for array in local)) if self.adjoint else local
        if self._loop is None:
            self._loop = _loop_on(self.cell, type(local), self.k, self.adjoint)


def _room(cell: Cell, k: int, B: int) -> Array:
    """Return an array for k tangents ``(K, S, B)``.

    Tangents are contiguous, one after another, if a step of each is a small product by itself (of four blocks at most).
    Otherwise they lie side by side, for one product.
    """
    if B >= ALONE and 4 * cell.state_size * cell.hidden_size * B <= SMALL:
        return np.empty((k, cell.state_size, B), cell.dtype)
    return np.empty((cell.state_size, k, B), cell.dtype).swapaxes(0, 1)


def _loop_on(cell: Cell, factored: Callable[..., Any], k: int, adjoint: bool) -> Loop:
    """Return the loop that carries k tangents; it holds no reference to the walk, which would be a cycle."""

    def act(carried: Array, *local: Array) -> None:
        state = cell.split(carried)
        if not adjoint:
            cell.jvp_into(factored(*local), state, state)
            return
        for target, array in zip(state, cell.vjp(factored(*local), state)[0], strict=True):
            np.positive(array, out=target)

    return Loop(act, cell.constants, ("carry", cell.kind, k, adjoint))


def _frame(columns: Array) -> tuple[Array, NDArray[np.float64]]:
    """Return Q ``(S, K, B)`` and ``ln |R_ii|`` ``(B, K)`` of ``columns (S, K, B)``."""
    Q, R, lost = gram_schmidt(columns)
    if (lost < 1.0 / np.finfo(R.dtype).eps).all() and np.isfinite(R).all():
        return Q, np.log(R.T.astype(np.float64))
    frames, logs = graded_qr(np.ascontiguousarray(np.moveaxis(columns, -1, 0)))
    return np.ascontiguousarray(np.moveaxis(frames, 0, -1)), logs


@compiled
def gram_schmidt(columns: Array) -> tuple[Array, Array, Array]:
    """Decompose ``columns (S, K, B)`` by modified Gram-Schmidt.

    As soon as a column is done, its direction is subtracted from all columns behind it. ``columns`` equals QR to
    rounding in every row, tiny rows included. Columns of Q are orthogonal up to κ·eps, which costs R's diagonal a
    relative error of (κ·eps)². The error does not accumulate: A = QR and JQ = Q₂R₂ give JA = Q₂R₂R for any Q.

    Returns
    -------
    Q : array (S, K, B)
    R : array (K, B)
        R's diagonal; nan from a zero column on.
    lost : array (B,)
        Σ_i (‖column i‖/R_ii)², an upper bound of κ².

    References
    ----------
    Björck 1967; Björck & Paige 1992.
    """
    unit = np.ldexp(np.ones_like(columns[0, 0]), np.frexp(np.abs(columns).max(axis=(0, 1)))[1])  # squares are in range
    Q, R = columns / unit, np.empty_like(columns[0])
    squares, lost = np.zeros_like(R), np.zeros_like(unit)
    for k in range(len(R)):
        sums = (Q[:, k, None] * Q[:, k:]).sum(axis=0)
        parts, norm = sums / sums[0], np.sqrt(sums[0])
        squares[k:] += sums * parts
        lost += squares[k] / sums[0]
        Q[:, k + 1 :] -= parts[1:] * Q[:, k, None]
        R[k], Q[:, k] = norm * unit, Q[:, k] / norm
    return Q, R, lost


def graded_qr(columns: Array) -> tuple[Array, NDArray[np.float64]]:
    """Return Q ``(B, S, K)`` and ``ln |R_ii|`` ``(B, K)`` of ``columns (B, S, K)``, with rows sorted by size.

    A saturated unit makes a tiny row. Householder's QR keeps its digits if larger rows precede it (Cox & Higham 1998).
    Rows of similar size are not sorted.
    """
    finite = np.asarray(np.isfinite(columns).all(axis=(-2, -1)))
    safe = columns if finite.all() else np.where(finite[:, None, None], columns, np.eye(*columns.shape[-2:]))
    peaks = np.abs(safe).max(axis=-1)
    if (peaks.max(axis=-1) < GRADED * peaks.min(axis=-1)).all():
        Q, R = np.linalg.qr(safe)
        return Q, np.where(finite[:, None], _log_diagonal(R), np.nan)
    order = np.arange(len(safe))[:, None], np.argsort(-peaks, axis=-1)
    sorted_Q, R = np.linalg.qr(safe[order])
    Q = np.empty_like(sorted_Q)
    Q[order] = sorted_Q
    return Q, np.where(finite[:, None], _log_diagonal(R), np.nan)


def _log_diagonal(R: Array) -> NDArray[np.float64]:
    return np.asarray(np.log(np.abs(np.diagonal(R, axis1=-2, axis2=-1)).astype(np.float64)))


def _spread(logs: NDArray[np.float64]) -> float:
    """Return the largest drift in nats between a sequence's columns, or a 40th of their growth; nan if one is nan."""
    apart = float((logs.max(axis=-1) - logs.min(axis=-1)).max())
    return max(apart, float(np.abs(logs[:, 0]).max()) / 40.0)  # a nan, first, stays


def _summary(walk: TangentWalk) -> Spectrum:
    growth, counts = np.stack(walk.growth), np.stack(walk.counts)
    total, steps = np.cumsum(growth, axis=0), np.cumsum(counts, axis=0)[..., None]
    running = np.where(steps > 0, total / steps, np.nan)
    known = steps > 0
    history = np.where(known, running, 0.0).sum(axis=1) / known.sum(axis=1)
    return Spectrum(
        exponents=history[-1],
        per_sequence=running[-1],
        stderr=_block_errors(growth.sum(axis=1), counts.sum(axis=1)),
        history=history,
        history_steps=np.cumsum(walk.lengths),
        kaplan_yorke=kaplan_yorke(history[-1]),
        entropy=entropy(history[-1], walk.cell.state_size),
        intervals=(min(walk.lengths), max(walk.lengths)),
    )


def _block_errors(growth: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return standard errors of the rates ``Σ growth / Σ steps`` from the scatter of :data:`BLOCKS` blocks in time.

    ``growth (n, k)`` and the steps ``counts (n,)`` are sums over all sequences.
    """
    if len(growth) < QRS_A_BLOCK * BLOCKS:
        return np.full(growth.shape[1], np.nan)
    edges = np.searchsorted(np.cumsum(counts), np.linspace(0, counts.sum(), BLOCKS + 1)[1:-1])
    parts = zip(np.split(growth, edges), np.split(counts, edges), strict=True)
    rates = np.stack([part.sum(axis=0) / steps.sum() for part, steps in parts if steps.any()])
    return np.asarray(rates.std(axis=0, ddof=1) / np.sqrt(len(rates)))


def kaplan_yorke(exponents: NDArray[np.float64]) -> float:
    """Return the Kaplan–Yorke dimension of some leading exponents; nan if their sum never turns negative."""
    ordered = np.sort(exponents)[::-1]
    sums = np.cumsum(ordered)
    below = np.flatnonzero(sums < 0)
    if not below.size or np.isnan(sums).any():
        return float("nan")
    j = int(below[0])
    return float(j + (sums[j - 1] / abs(ordered[j]) if j else 0.0))


def entropy(exponents: NDArray[np.float64], size: int) -> float:
    """Return the sum of the positive exponents, in nats per step; nan if more positive ones may exist."""
    if np.isnan(exponents).any() or (len(exponents) < size and exponents.min() > 0):
        return float("nan")
    return float(exponents[exponents > 0].sum())
