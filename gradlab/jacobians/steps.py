"""Every step's Jacobian J_t = ∂s_t/∂s_{t−1}, as a view of the tape: applied, not stored.

All T·B Jacobians are applied at once, as one product with the shared weights. Dense matrices are formed in chunks of
fixed size and dropped, so only ``dense`` ever holds T·B·S² numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from gradlab.arrays.checks import choice
from gradlab.arrays.scaled import Array
from gradlab.arrays.threads import share_out
from gradlab.bptt import Tape
from gradlab.errors import InputError
from gradlab.jacobians.lanczos import (
    ALONE,
    Product,
    largest_of_dense,
    largest_singular_value,
    largest_singular_values,
)

#: Numbers in one chunk of dense Jacobians or of vectors: 4 MiB in float64.
CHUNK = 2**19
#: The same where matrices are processed one by one, each while it is in the cache.
CACHED = 2**17
METHODS = ("lapack", "gram", "lanczos")
#: From this S on Lanczos is faster, for the largest value alone (results/benchmarks/jacobians.md).
LANCZOS_FROM = 32
#: Up to this S a matrix stays in the cache: Lanczos for the largest value alone then forms and processes one at a time.
FORMED = 256
#: Beyond it none is formed. Number of Jacobians iterated together for the largest value alone, and for several values,
#: whose Krylov bases are kept; more would not stay in the cache. For small S the first is raised to this many numbers.
LANCZOS_COLUMNS, LANCZOS_BASES, LANCZOS_NUMBERS = 512, 64, 2**15
#: Lanczos leaves the rest to LAPACK once S times the remaining Jacobians is below this: a step would cost too much.
LEFT = 512
#: Squares of a value this far below the largest keep 1e-16/DIGITS_LOST² = 1e-11 relative; beyond HUGE they overflow.
DIGITS_LOST, HUGE = 3e-3, 1e140
#: A sum of squares is rejected if cancellation leaves less than this share, or if it is out of this range.
CANCELLED, SAFE = 1e-2, (1e-200, 1e200)


@dataclass(frozen=True, eq=False)
class Jacobians:
    """The Jacobians of one layer and direction, of the joint state (blocks ``h, c`` in an LSTM).

    ``J @ V`` and ``J.T @ U`` take ``(T, B, S)`` or ``(T, B, S, K)``. Results for steps beyond a sequence's own end are
    nan. ``t`` counts from 1 in the order in which the cell ran.
    """

    tape: Tape
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, B, S, S)``."""
        S = self.tape.cell.state_size
        return self.tape.steps, self.tape.x.shape[-1], S, S

    @property
    def T(self) -> Jacobians:
        """The transposed Jacobians, which carry an adjoint back."""
        return Jacobians(self.tape, not self.transposed)

    def __matmul__(self, vectors: Array) -> Array:
        """Return J_t v for every step and sequence, same shape as ``vectors``, ``(T, B, S)`` or ``(T, B, S, K)``."""
        given = np.asarray(vectors, self.tape.cell.dtype)
        if given.ndim not in (3, 4) or given.shape[:3] != self.shape[:3]:
            raise InputError(f"J @ V needs V of shape (T, B, S[, K]) = {self.shape[:3]}, got {given.shape}")
        wide = given if given.ndim == 4 else given[..., None]
        answer = np.empty_like(wide)
        per_step = max(1, wide[0].size)
        for stretch in _chunks(np.arange(self.shape[0]), max(1, CHUNK // per_step)):
            columns = np.ascontiguousarray(np.moveaxis(wide[stretch], (3, 2), (0, 1)))
            flat = columns.reshape(*columns.shape[:2], -1)
            answer[stretch] = np.moveaxis(self._apply(stretch, flat).reshape(columns.shape), (0, 1), (3, 2))
        return answer.reshape(given.shape)

    def _apply(self, steps: NDArray[np.int64], columns: Array) -> Array:
        """Return J v for ``columns (K, S, n·B)`` of the n ``steps`` (0-based)."""
        cell = self.tape.cell
        with np.errstate(all="ignore"):
            local = self._local(steps)
            state = cell.split(columns)
            after = cell.vjp(local, state)[0] if self.transposed else cell.jvp(local, state)
        return np.asarray(np.concatenate(after, axis=-2))

    def _local(self, steps: NDArray[np.int64]) -> Any:
        """Return the factored derivatives of some steps side by side, ``(F, n·B)``, for one product."""
        tape = self.tape
        record = {name: array[steps] for name, array in tape.record.items()}
        before, after = tape.cell.split(tape.states[steps]), tape.cell.split(tape.states[steps + 1])
        local = tape.cell.linearise(record, before, after)
        return type(local)(*(_side_by_side(array) for array in local))

    def dense(self, t: int | None = None) -> Array:
        """Return J_t of every sequence for t = 1 … T, ``(B, S, S)``; without t of all steps, ``(T, B, S, S)``."""
        if t is None:
            return self._dense(np.arange(self.shape[0]))
        return np.asarray(self._dense(np.array([self._index(t)]))[0])

    def _index(self, t: int) -> int:
        if not 1 <= t <= self.shape[0]:
            raise InputError(f"t must be a step 1 … {self.shape[0]}, got {t}")
        return int(t) - 1

    def _dense(self, steps: NDArray[np.int64]) -> Array:
        """Return ``(n, B, S, S)`` of the n ``steps`` (0-based)."""
        _, B, S, _ = self.shape
        with np.errstate(all="ignore"):
            J = self.tape.cell.dense(self._local(steps)).reshape(len(steps), B, S, S)
        return np.swapaxes(J, -1, -2) if self.transposed else J

    def norm(self, ord: int | str = 2, *, steps: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Return ‖J_t‖ of every step and sequence, ``(T, B)``: ``2``, the largest singular value, or ``"fro"``."""
        choice("norm", str(ord), ("2", "fro"))
        if str(ord) == "2":
            return np.asarray(self.singular_values(1, steps=steps)[..., 0])
        return self._collect(self._frobenius, (), steps)

    def _frobenius(self, steps: NDArray[np.int64]) -> Array:
        """Return ``(n, B)``, in closed form if the cell has one that is accurate here, else from dense matrices."""
        closed = self.tape.cell.frobenius_squared(self._local(steps))
        if closed is None:
            return _frobenius(self._dense(steps))
        square, parts = (np.asarray(part, np.float64).reshape(len(steps), -1) for part in closed)
        good = ((square > CANCELLED * parts) & (square > SAFE[0]) & (parts < SAFE[1])).all(axis=-1)
        norms = np.sqrt(square)
        if not good.all():
            norms[~good] = _frobenius(self._dense(steps[~good]))
        return norms

    def singular_values(
        self, k: int | None = None, *, steps: Sequence[int] | None = None, method: str = "auto"
    ) -> NDArray[np.float64]:
        """Return the k largest singular values (all where None), descending, ``(T, B, k)``.

        Parameters
        ----------
        k : int, optional
            Number of values, 1 … S; all by default.
        steps : sequence of int, optional
            The t wanted, 1 … T; all by default.
        method : str
            "lapack" is the SVD of each dense J. "gram" takes the eigenvalues of JᵀJ; the largest value is exact to
            3e-15. "lanczos" runs once per value, until a residual bounds the error by 5e-11; it forms no matrix, unless
            the largest value alone is wanted and a matrix stays in the cache (S up to 256, compiled). "auto" takes
            "lapack" for all values, "lanczos" for the largest alone from S = 32 on, else "gram". LAPACK's value
            replaces one that did not converge, or whose square lost digits because it is far below the largest.

        Returns
        -------
        array (T, B, k)
            Singular values, descending; nan beyond a sequence's own end.

        Notes
        -----
        Chunks of steps are distributed over the cores that BLAS may use. ``python tests/benchmarks/jacobians.py``
        measures costs: results/benchmarks/jacobians.md.
        """
        S = self.shape[-1]
        if k is not None and not 1 <= k <= S:
            raise InputError(f"k must be 1 … S = {S}, got {k}")
        chosen, count = choice("method", method, ("auto", *METHODS)), S if k is None else k
        if chosen == "auto":
            largest = "lanczos" if S >= LANCZOS_FROM else "gram"
            chosen = "lapack" if k is None else largest if k == 1 else "gram"
        together = self._together(count) if chosen == "lanczos" else CHUNK // S**2
        return self._collect(lambda chunk: self._singular_values(chunk, count, chosen), (count,), steps, together)

    def _formed(self, k: int) -> bool:
        """Return whether Lanczos forms the matrices."""
        return k == 1 and self.shape[-1] <= FORMED and ALONE

    def _together(self, k: int) -> int:
        """Return the number of Jacobians that Lanczos processes at a time."""
        S = self.shape[-1]
        if self._formed(k):
            return CACHED // S**2
        return max(LANCZOS_COLUMNS, LANCZOS_NUMBERS // S) if k == 1 else LANCZOS_BASES

    def _singular_values(self, steps: NDArray[np.int64], k: int, method: str) -> Array:
        if method == "lapack":
            return _lapack(self._dense(steps))[..., :k]
        values = self._by_lanczos(steps, k) if method == "lanczos" else _gram(self._dense(steps))[..., :k]
        first, last = values[..., 0], values[..., -1]
        lost = ~((last > DIGITS_LOST * first) & (first > 1.0 / HUGE) & (first < HUGE))
        some = lost.any(axis=-1)
        if some.any():
            values[lost] = _lapack(self._dense(steps[some])[lost[some]])[..., :k]
        return values

    def _by_lanczos(self, steps: NDArray[np.int64], k: int) -> Array:
        """Return ``(n, B, k)`` for the n ``steps`` (0-based), computed side by side or one after another."""
        if self._formed(k):
            return largest_of_dense(self._dense(steps))[..., None]
        cell, local, (_, B, S, _) = self.tape.cell, self._local(steps), self.shape
        columns = len(steps) * B

        def square(local: Any) -> Product:
            return lambda v: _joint(cell.vjp(local, cell.jvp(local, cell.split(v)))[0])

        if k == 1:
            values = largest_singular_value(
                lambda live: square(type(local)(*(array[..., live] for array in local))), S, columns, fewest=LEFT // S
            )
        else:
            values = largest_singular_values(square(local), S, columns, k)
        return values.reshape(len(steps), B, k)

    def log_abs_det(self, *, dense: bool = True) -> NDArray[np.float64]:
        """Return ln|det J_t| of every step and sequence, ``(T, B)``, in nats; −inf where J_t is singular.

        Without a closed form of the cell, dense matrices are formed; with ``dense=False`` all values are nan instead.
        """
        form = self.tape.cell.log_abs_det
        with np.errstate(all="ignore"):
            if form(self._local(np.arange(1))) is not None:  # probed with one step, because all take much memory
                closed = np.asarray(form(self._local(np.arange(self.shape[0])))).reshape(self.shape[:2])
                return self._collect(lambda chosen: closed[chosen], (), None)
        if not dense:
            return np.full(self.shape[:2], np.nan)
        return self._collect(lambda chosen: _log_abs_det(self._dense(chosen)), (), None)

    def _collect(
        self,
        question: Callable[[NDArray[np.int64]], Array],
        tail: tuple[int, ...],
        steps: Sequence[int] | None,
        together: int | None = None,
    ) -> NDArray[np.float64]:
        """Return the results of ``question`` for some steps (1 … T; all if None), ``together`` Jacobians at a time."""
        T, B, S, _ = self.shape
        wanted = np.arange(T) if steps is None else np.array([self._index(t) for t in steps])
        answer = np.empty((len(wanted), B, *tail))
        length = max(1, (together or CHUNK // S**2) // B)

        def ask(places: NDArray[np.int64]) -> None:
            answer[places] = question(wanted[places])

        with np.errstate(all="ignore"):
            share_out(ask, _chunks(np.arange(len(wanted)), length))
        answer[wanted[:, None] >= self.tape.ends] = np.nan
        return answer

    def eigenvalues(self, t: int) -> NDArray[np.complex128]:
        """Return the eigenvalues of J_t of every sequence, ``(B, S)``, by descending modulus."""
        dense = self.dense(t)
        if not np.isfinite(dense).all():
            return np.full(dense.shape[:-1], np.nan, complex)
        values = np.linalg.eigvals(dense).astype(complex)
        return np.take_along_axis(values, np.argsort(-np.abs(values), axis=-1), axis=-1)

    def linear_operator(self, t: int, b: int) -> LinearOperator:
        """Return J_t of sequence b as a scipy ``LinearOperator``; no matrix is formed."""
        _, B, S, _ = self.shape
        if not 0 <= b < B:
            raise InputError(f"b must be a sequence 0 … {B - 1}, got {b}")
        with np.errstate(all="ignore"):
            local = self._local(np.array([self._index(t)]))
        one = type(local)(*(array[..., b : b + 1] for array in local))
        cell = self.tape.cell

        def product(vectors: Array, back: bool) -> Array:
            columns = cell.split(np.asarray(vectors).reshape(S, -1).astype(cell.dtype))
            with np.errstate(all="ignore"):
                after = cell.vjp(one, columns)[0] if back else cell.jvp(one, columns)
            return np.concatenate(after).reshape(np.shape(vectors))

        return LinearOperator(
            (S, S),
            matvec=lambda v: product(v, self.transposed),
            rmatvec=lambda u: product(u, not self.transposed),
            matmat=lambda V: product(V, self.transposed),
            rmatmat=lambda U: product(U, not self.transposed),
            dtype=cell.dtype,
        )

    def __repr__(self) -> str:
        T, B, S, _ = self.shape
        of = "transposed " if self.transposed else ""
        return f"Jacobians: {of}∂s_t/∂s_{{t−1}} of {self.tape.cell!r}, T {T}, B {B}, S {S}"


def _chunks(indices: NDArray[np.int64], length: int) -> list[NDArray[np.int64]]:
    return [indices[start : start + length] for start in range(0, len(indices), length)]


def _joint(state: tuple[Array, ...]) -> Array:
    """Return the states ``(H, N)`` as one array ``(S, N)``."""
    return state[0] if len(state) == 1 else np.concatenate(state)


def _side_by_side(array: Array) -> Array:
    """Return ``(n, …, B)`` as ``(…, n·B)``, contiguous."""
    moved = np.moveaxis(array, 0, -2)
    return np.ascontiguousarray(moved).reshape(*moved.shape[:-2], -1)


def _frobenius(dense: Array) -> Array:
    """Return Frobenius norms, scaled by the peak so that no square overflows."""
    peak = np.abs(dense).max(axis=(-2, -1), keepdims=True)
    unit = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    return np.asarray(np.sqrt(((dense / unit) ** 2).sum(axis=(-2, -1))) * unit[..., 0, 0])


def of_finite(question: Callable[[Array], Array], matrices: Array) -> NDArray[np.float64]:
    """Return the results of ``question`` for matrices ``(…, S, S)``; nan for a matrix that is not finite.

    ``question`` takes the finite matrices, ``(n, S, S)``, and returns n numbers, or n rows of numbers.
    """
    finite = np.isfinite(matrices).all(axis=(-2, -1))
    found = question(matrices[finite])
    values = np.full((*finite.shape, *found.shape[1:]), np.nan)
    values[finite] = found
    return values


def _lapack(dense: Array) -> Array:
    return of_finite(lambda J: np.linalg.svd(J, compute_uv=False), dense)


def _gram(dense: Array) -> Array:
    def roots(finite: Array) -> Array:
        J = finite.astype(np.float64)
        exponent = np.frexp(np.abs(J).max(axis=(-2, -1)))[1]
        J = np.ldexp(J, -exponent[:, None, None])
        squares = np.linalg.eigvalsh(np.matmul(np.swapaxes(J, -1, -2), J))
        return np.asarray(np.ldexp(np.sqrt(np.maximum(squares[..., ::-1], 0.0)), exponent[:, None]))

    return of_finite(roots, dense)


def _log_abs_det(dense: Array) -> Array:
    """Return ln|det|, computed after rows and then columns are scaled to peaks of 1, so that pivots are comparable."""
    total = np.zeros(dense.shape[:-2])
    for axis in (-1, -2):
        peak = np.abs(dense).max(axis=axis, keepdims=True)
        total = total + np.log(peak.astype(np.float64)).sum(axis=(-2, -1))
        dense = dense / np.where(peak > 0, peak, 1.0)
    return np.where(np.isneginf(total), -np.inf, total + np.linalg.slogdet(dense)[1])
