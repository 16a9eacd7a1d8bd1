"""Long products of Jacobians, ``P_{T,t} = J_T … J_{t+1}``: norms and singular values, accurate at any length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from gradlab.arrays.checks import choice
from gradlab.arrays.scaled import LN2, Array, in_room, ldexp, normalise
from gradlab.arrays.threads import cores, share_out
from gradlab.bptt import Tape
from gradlab.errors import InputError
from gradlab.jacobians.lanczos import ALONE, largest_of_dense
from gradlab.jacobians.lyapunov import graded_qr
from gradlab.jacobians.steps import CACHED, CHUNK, LANCZOS_FROM, Jacobians, of_finite
from gradlab.native.pool import empty

#: Most sweeps of Jacobi rotations: a graded matrix needs two or three, equal singular values about ten.
MOST_SWEEPS = 60
#: Most sequences whose products are carried back together; groups are distributed over the cores.
TOGETHER = 8


class Isometry(NamedTuple):
    """Deviation of P from a rotation, arrays ``(B,)``.

    Attributes
    ----------
    mean_log, var_log
        Mean and variance of ln σ over the S singular values, in nats and nats².
    log_condition
        ln σ_max − ln σ_min, in nats.
    participation_ratio
        (Σσ²)²/Σσ⁴, the number of directions that carry the energy, 1 … S.
    stable_rank
        ‖P‖_F²/‖P‖₂², 1 … S.
    """

    mean_log: NDArray[np.float64]
    var_log: NDArray[np.float64]
    log_condition: NDArray[np.float64]
    participation_ratio: NDArray[np.float64]
    stable_rank: NDArray[np.float64]


class Bounds(NamedTuple):
    """The norm of a product and two numbers that are often taken for it, arrays ``(B,)`` in nats.

    Attributes
    ----------
    log_norm
        ln‖J_T … J_{t+1}‖₂, the norm itself.
    log_norm_product
        Σ ln‖J_s‖₂, an upper bound of it (Pascanu, Mikolov & Bengio 2013).
    log_spectral_radius
        Σ ln ρ(J_s). For matrices that are not normal it is neither a bound nor an estimate.
    """

    log_norm: NDArray[np.float64]
    log_norm_product: NDArray[np.float64]
    log_spectral_radius: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Propagator:
    """``∂s_{t1}/∂s_{t0} = J_{t1} … J_{t0+1}`` of every sequence; steps beyond a sequence's own end are identities.

    Parameters
    ----------
    tape : Tape
        The forward pass of one layer and direction.
    t0, t1 : int
        First and last state, 0 ≤ t0 ≤ t1 ≤ T.
    """

    tape: Tape
    t0: int
    t1: int

    def __post_init__(self) -> None:
        T = self.tape.steps
        if not 0 <= self.t0 <= self.t1 <= T:
            raise InputError(f"a propagator needs 0 ≤ t0 ≤ t1 ≤ T = {T}, got t0 {self.t0}, t1 {self.t1}")

    def dense(self) -> Array:
        """Return ``(B, S, S)`` as plain floats, which may over- or underflow."""
        mantissa, exponent = self._scaled
        with np.errstate(all="ignore"):
            return ldexp(mantissa, exponent[:, None, None])

    @cached_property
    def _scaled(self) -> tuple[Array, NDArray[np.int64]]:
        S, B = self.tape.cell.state_size, self.tape.x.shape[-1]
        product = np.broadcast_to(np.eye(S, dtype=self.tape.cell.dtype), (B, S, S)).copy()
        exponent = np.zeros(B, np.int64)
        with np.errstate(all="ignore"):
            for J in _forward(self.tape, self.t0, self.t1):
                product = _in_range(J @ product, exponent)
        return product, exponent

    def log_norm(self, ord: int | str = 2) -> NDArray[np.float64]:
        """Return ln‖P‖ of each sequence, ``(B,)``, in nats; ``ord`` 2 or "fro"."""
        choice("norm", str(ord), ("2", "fro"))
        mantissa, exponent = self._scaled
        return _log_norms(mantissa, str(ord)) + exponent * LN2

    @cached_property
    def _logs(self) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            return product_log_singular_values(self.tape, self.t0, self.t1)

    def log_singular_values(self, k: int | None = None) -> NDArray[np.float64]:
        """Return ln σ_1 ≥ … ≥ ln σ_k of each sequence (all S unless k is given), ``(B, k)``, in nats.

        They stay accurate where the product itself is rounding noise. QR factors of a backward and a forward sweep
        leave a graded triangle ``diag(e^d) U`` with d sorted. Jacobi rotations find its singular values to high
        *relative* accuracy without forming it. The error of ln σ is about ε times the condition numbers of the
        *single* steps, however large that of the product. If one J_t loses its digits (condition 10^16, a fully
        saturated unit), so do the smallest σ. If the second half of a product undoes the first, rounding of the steps
        between them is amplified by the halves.

        References
        ----------
        Stewart 1995 (graded QR of products); Demmel et al. 1999 (high relative accuracy by one-sided Jacobi).
        """
        S = self.tape.cell.state_size
        if k is not None and not 1 <= k <= S:
            raise InputError(f"k must be 1 … S = {S}, got {k}")
        return self._logs[:, :k]

    @property
    def isometry(self) -> Isometry:
        """Deviation of P from a rotation."""
        logs = self._logs
        with np.errstate(all="ignore"):
            energy, square = logsumexp(2.0 * logs, axis=-1), logsumexp(4.0 * logs, axis=-1)
            return Isometry(
                logs.mean(axis=-1),
                logs.var(axis=-1),
                logs[:, 0] - logs[:, -1],
                np.exp(2.0 * energy - square),
                np.exp(energy - 2.0 * logs[:, 0]),
            )

    @property
    def bounds(self) -> Bounds:
        """Norm of the product, product of the norms, product of the spectral radii."""
        product, radius = np.zeros((2, self.tape.x.shape[-1]))
        with np.errstate(all="ignore"):
            for J in _forward(self.tape, self.t0, self.t1):
                product, radius = product + _log_norms(J, "2"), radius + _log_radii(J)
        return Bounds(self.log_norm(2), product, radius)

    def __repr__(self) -> str:
        return f"Propagator: ∂s_{self.t1}/∂s_{self.t0} of {self.tape.cell!r}, B {self.tape.x.shape[-1]}"


def propagator_norms(tape: Tape, ord: int | str = 2) -> NDArray[np.float64]:
    """Return ln‖∂s_T/∂s_t‖ for all t, ``(T+1, B)``, in nats, in one sweep back from each sequence's own end."""
    choice("norm", str(ord), ("2", "fro"))
    logs = np.empty((tape.steps + 1, tape.x.shape[-1]))

    B = tape.x.shape[-1]
    together = min(TOGETHER, -(-B // cores()))

    def sweep(start: int) -> None:
        some = slice(start, start + together)
        logs[:, some] = _sweep_back(_of_sequences(tape, some), str(ord))

    share_out(sweep, range(0, B, together))
    return np.where(np.arange(tape.steps + 1)[:, None] > tape.ends, np.nan, logs)


def _of_sequences(tape: Tape, some: slice) -> Tape:
    """Return the tape of some sequences, views."""
    record = {name: array[..., some] for name, array in tape.record.items()}
    lengths = None if tape.lengths is None else tape.lengths[some]
    return Tape(tape.cell, tape.x[..., some], tape.states[..., some], record, lengths)


def _sweep_back(tape: Tape, ord: str) -> NDArray[np.float64]:
    """Return ln‖∂s_T/∂s_t‖ ``(T+1, B)``; the products of one stretch are kept, and their norms computed together."""
    S, B, T = tape.cell.state_size, tape.x.shape[-1], tape.steps
    product = np.broadcast_to(np.eye(S, dtype=tape.cell.dtype), (B, S, S))
    exponent = np.zeros(B, np.int64)
    logs = np.empty((T + 1, B))
    logs[T] = 0.0 if ord == "2" else 0.5 * np.log(S)
    with np.errstate(all="ignore"):
        for steps in reversed(_stretches(tape, 0, T)):
            J, exponents = _dense(tape, steps), np.empty((len(steps), B), np.int64)
            products = empty(J.shape, J.dtype)
            for i in range(len(steps) - 1, -1, -1):
                product = _in_range(np.matmul(product, J[i], out=products[i]), exponent)
                exponents[i] = exponent
            found = _log_largest(products) if ord == "2" else _log_norms(products.reshape(-1, S, S), ord)
            logs[steps] = found.reshape(len(steps), B) + exponents * LN2
    return logs


def _log_largest(matrices: Array) -> NDArray[np.float64]:
    """Return ln of the largest singular value of ``(…, S, S)``, whose largest entries are in range.

    LAPACK replaces Lanczos where that is slower or did not converge.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    logs = np.log(largest_of_dense(flat)) if flat.shape[-1] >= LANCZOS_FROM else np.full(len(flat), np.nan)
    rest = ~np.isfinite(logs)
    if rest.any():
        logs[rest] = _log_norms(flat[rest], "2")
    return logs


def _forward(tape: Tape, t0: int, t1: int) -> Iterator[Array]:
    """Yield J_{t0+1} … J_{t1}, ``(B, S, S)`` each, the identity beyond a sequence's end."""
    for steps in _stretches(tape, t0, t1):
        yield from _dense(tape, steps)


def _backward(tape: Tape, t0: int, t1: int) -> Iterator[Array]:
    """Yield J_{t1} … J_{t0+1}."""
    for steps in reversed(_stretches(tape, t0, t1)):
        yield from _dense(tape, steps)[::-1]


def _stretches(tape: Tape, t0: int, t1: int) -> list[NDArray[np.int64]]:
    room = CACHED if ALONE else CHUNK
    length = max(1, room // (tape.x.shape[-1] * tape.cell.state_size**2))
    return [np.arange(start, min(start + length, t1)) for start in range(t0, t1, length)]


def _dense(tape: Tape, steps: NDArray[np.int64]) -> Array:
    J = Jacobians(tape)._dense(steps)
    ended = steps[:, None] >= tape.ends
    return np.where(ended[..., None, None], np.eye(J.shape[-1], dtype=J.dtype), J) if ended.any() else J


def _in_range(matrices: Array, exponent: NDArray[np.int64]) -> Array:
    """Bring matrices ``(B, S, S)`` into range, in place; ``exponent`` takes the powers of two."""
    flat = matrices.reshape(len(matrices), -1)
    if not in_room(np.einsum("bi,bi->b", flat, flat), flat.dtype):
        normalise(flat.T, exponent)
    return matrices


def _log_norms(matrices: Array, ord: str) -> NDArray[np.float64]:
    kind: Literal[2, "fro"] = 2 if ord == "2" else "fro"
    with np.errstate(divide="ignore"):
        return of_finite(lambda J: np.log(np.linalg.norm(J.astype(np.float64), kind, axis=(-2, -1))), matrices)


def _log_radii(matrices: Array) -> NDArray[np.float64]:
    return of_finite(lambda J: np.log(np.abs(np.linalg.eigvals(J)).max(axis=-1)), matrices)


def product_log_singular_values(tape: Tape, t0: int, t1: int, *, transposed: bool = False) -> NDArray[np.float64]:
    """Return ln σ of the product of steps t0+1 … t1, ``(B, S)``, descending; ``transposed`` computes it by Jᵀ."""
    applied, undone = (_backward, _forward) if transposed else (_forward, _backward)
    S, B = tape.cell.state_size, tape.x.shape[-1]
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((B, S, S)))[0]
    for J in undone(tape, t0, t1):
        Q, _ = graded_qr((J if transposed else np.swapaxes(J, -1, -2)) @ Q)
    U, d = np.broadcast_to(np.eye(S), (B, S, S)).copy(), np.zeros((B, S))
    for J in applied(tape, t0, t1):
        moved = (np.swapaxes(J, -1, -2) if transposed else J) @ Q
        Q, _ = graded_qr(moved)
        U, d = _times(np.swapaxes(Q, -1, -2) @ moved, U, d)
    return _graded_log_singular_values(U, d)


def _times(R: Array, U: Array, d: NDArray[np.float64]) -> tuple[Array, NDArray[np.float64]]:
    """Return ``R diag(e^d) U`` as another ``diag(e^d) U`` with rows in range, for an upper triangle R."""
    logs = np.log(np.abs(np.triu(R))) + d[:, None, :]
    rows = logs.max(axis=-1)
    rows = np.where(np.isfinite(rows), rows, 0.0)
    return (np.sign(R) * np.exp(logs - rows[..., None])) @ U, rows


def _graded_log_singular_values(U: Array, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln of the singular values of ``diag(e^d) U``, ``(B, S)``, descending, by Jacobi rotations of its rows.

    The rotation of rows of lengths e^x ≥ e^y and cosine c has tangent e^{y−x} τ. In this form nothing overflows.
    """
    S = d.shape[-1]
    size = np.linalg.norm(U, axis=-1)
    U, d = U / np.where(size > 0, size, 1.0)[..., None], d + np.log(size)
    for _ in range(MOST_SWEEPS):
        order = np.argsort(-d, axis=-1, kind="stable")
        U, d = np.take_along_axis(U, order[..., None], axis=1), np.take_along_axis(d, order, axis=1)
        worst = 0.0
        for one, two in _rounds(S):
            worst = max(worst, _rotate(U, d, one, two))
        if not worst > 1e-14 * S:
            break
    return -np.sort(-d, axis=-1)


def _rotate(U: Array, d: NDArray[np.float64], one: Array, two: Array) -> float:
    """Make rows ``one`` and ``two`` of each pair orthogonal, in place; return the largest cosine before it."""
    swap = d[:, two] > d[:, one]
    high, low = np.where(swap, two, one), np.where(swap, one, two)
    a, b = (np.take_along_axis(U, rows[..., None], axis=1) for rows in (high, low))
    x, y = (np.take_along_axis(d, rows, axis=1) for rows in (high, low))
    c = (a * b).sum(axis=-1)
    r = np.where(np.isfinite(y), np.exp(y - x), 0.0)
    rest = 1.0 - r * r
    root = rest + np.sqrt(rest * rest + 4.0 * c * c * r * r)
    tau = np.where(root > 0, 2.0 * c / np.where(root > 0, root, 1.0), np.sign(c))
    cosine = 1.0 / np.sqrt(1.0 + (r * tau) ** 2)
    for rows, moved, log in (
        (high, a + (r * r * tau)[..., None] * b, x),
        (low, b - tau[..., None] * a, y),
    ):
        moved = cosine[..., None] * moved
        size = np.linalg.norm(moved, axis=-1)
        np.put_along_axis(U, rows[..., None], moved / np.where(size > 0, size, 1.0)[..., None], axis=1)
        np.put_along_axis(d, rows, log + np.log(size), axis=1)
    known = np.isfinite(y)
    return float(np.abs(c[known]).max()) if known.any() else 0.0


def _rounds(size: int) -> Iterator[tuple[Array, Array]]:
    """Yield rounds of disjoint pairs that cover all pairs of ``size`` rows: a round-robin tournament."""
    players = list(range(size + size % 2))
    half = len(players) // 2
    for _ in range(len(players) - 1):
        pairs = [(i, j) for i, j in zip(players[:half], players[: half - 1 : -1], strict=True) if max(i, j) < size]
        if pairs:
            one, two = np.array(pairs).T
            yield one, two
        players = [players[0], players[-1], *players[1:-1]]
