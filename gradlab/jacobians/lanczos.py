"""Largest singular values of many matrices at once, by Lanczos on AᵀA, which takes one product for all of them.

No matrix is formed. Matrices that are formed already are taken one after another, each while it is in the cache
(``gradlab/native/lanczos.h``).

A Ritz value is accepted by its residual, which bounds its error, never by how little it changed. For the largest value
alone no basis is kept; for several, full reorthogonalisation keeps the basis orthogonal to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.native.compiled import compiled, ufunc

#: ``columns (S, N)`` → ``columns (S, N)``, one matrix per column.
Product = Callable[[Array], Array]
#: A Ritz value θ = σ² with residual r lies within r of an eigenvalue: r ≤ 1e-10 θ is 5e-11 in σ.
RESIDUAL = 1e-10
#: A remainder this far below the matrix is rounding: the Krylov space is complete, and the iteration ends.
ENDED = 1e-13
#: Steps before the first check of the residual, and between two checks.
FIRST, EVERY = 12, 4
#: The same without a basis; and the most steps, in units of S.
LOOKS, MOST = (24, 8), 2
#: Whether dense matrices are taken one after another, instead of all together step by step.
ALONE = ufunc("largest_of_each") is not None
#: Bound of θ and 1/θ, because Laguerre's steps square both.
LARGE = 1e140
#: Most steps to an eigenvalue of a tridiagonal matrix: about six are usual, more if several values are close.
MOST_LAGUERRE = 40


@np.errstate(all="ignore")
def largest_singular_value(
    narrowed: Callable[[Array], Product], size: int, columns: int, *, looks: tuple[int, int] = LOOKS, fewest: int = 1
) -> NDArray[np.float64]:
    """Return the largest singular value of N matrices A ``(S, S)``, ``(N,)``; nan where it did not converge.

    A vector is made orthogonal only to the two before it. This lets copies of a value appear, but only after the value
    itself has converged (Paige 1980). Its column has left the product by then: every check of the residuals narrows
    the product to the columns that have not converged.

    Parameters
    ----------
    narrowed : callable
        Maps columns ``(n,)`` of the N to their product AᵀA v, for ``v (S, n)``.
    size, columns : int
        S and N.
    looks : tuple of int
        Steps before the first check of the residuals, and between two checks.
    fewest : int
        Fewest columns to continue with; if fewer remain, they are left at nan.

    Returns
    -------
    array (N,)
        σ_max per matrix, with a relative error of at most 5e-11; nan if it did not converge.

    References
    ----------
    Paige 1980; Parlett 1998, thm 4.5.1 (residual bound).
    """
    answer, live = np.full(columns, np.nan), np.arange(columns)
    square, v = narrowed(live), np.repeat(_start(size)[:, None], columns, axis=1)
    before, rest = np.zeros_like(v), np.zeros(columns)
    diagonal, off_diagonal = np.empty((2, MOST * size, columns))
    first, above = min(looks[0], len(diagonal)), np.full(columns, np.inf)
    for m in range(1, len(diagonal) + 1):
        image = square(v)
        image -= np.multiply(rest, before, out=before)
        diagonal[m - 1] = np.einsum("sn,sn->n", v, image)
        image -= np.multiply(diagonal[m - 1], v, out=before)
        before, (v, rest) = v, _unit(image)
        highest = np.abs(diagonal[:m]).max(axis=0)
        ended = rest <= ENDED * highest
        v[:, ended], rest[ended] = 0.0, 0.0
        off_diagonal[m - 1] = rest
        if m >= first and (m - first) % looks[1] == 0:
            value, last, settled = _top_of_tridiagonal(diagonal[:m], off_diagonal[: m - 1], above)
            fits = (highest < LARGE) & (highest > 1 / LARGE)
            done = settled & (rest * last <= RESIDUAL * value) & fits
            answer[live[done]] = np.sqrt(value[done])
            on = ~done & fits & np.isfinite(value)
            if on.sum() < fewest:
                break
            above = (value + rest * last)[on]  # the value after more steps is expected below this
            live, v, before, rest = live[on], v[:, on], before[:, on], rest[on]
            square, diagonal, off_diagonal = narrowed(live), diagonal[:, on], off_diagonal[:, on]
    return answer


@cache
def _start(size: int) -> Array:
    """Return a random direction, the same for all matrices, so that chunks change no number."""
    start = np.random.default_rng(0).standard_normal(size)
    return np.asarray(start / np.linalg.norm(start))


def largest_of_dense(matrices: Array) -> NDArray[np.float64]:
    """Return the largest singular value of dense matrices ``(…, S, S)``, ``(…)``; nan where it did not converge."""
    return np.asarray(largest_of_each(matrices, _start(matrices.shape[-1])))


@compiled
def largest_of_each(matrices: Array, start: Array) -> Array:
    """Return σ_max of matrices ``(…, S, S)`` from one start direction, as :func:`largest_singular_value` does.

    The compiled form reads a matrix once per step, row by row, for both products; no matrix waits for another.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:]).astype(np.float64, copy=False)

    def narrowed(live: NDArray[np.int64]) -> Product:
        some = flat[live]
        return lambda v: ((some @ v.T[..., None]).swapaxes(-1, -2) @ some)[:, 0].T

    values = largest_singular_value(narrowed, len(start), len(flat), looks=(4, 4))
    return values.reshape(matrices.shape[:-2])


def _top_of_tridiagonal(diagonal: Array, off_diagonal: Array, above: Array) -> tuple[Array, Array, Array]:
    """Return the largest eigenvalue of N tridiagonal matrices, the last entry of its unit vector, and a mask.

    The mask ``(N,)`` marks the matrices for which both are known to rounding. Laguerre's steps on the characteristic
    polynomial descend to the eigenvalue without passing it; above it all pivots of θ − T are positive.

    Parameters
    ----------
    diagonal, off_diagonal : arrays (m, N), (m − 1, N)
        The diagonal and the off-diagonal.
    above : array (N,)
        Values expected to lie above the eigenvalue. If one does not, its steps start from Gershgorin's bound.
    """
    m, edge = len(diagonal), np.zeros((1, diagonal.shape[1]))
    bound = (diagonal + np.concatenate([off_diagonal, edge]) + np.concatenate([edge, off_diagonal])).max(axis=0)
    value, thought = np.minimum(above, bound), above < bound
    end, known, live = np.empty_like(value), np.zeros(value.shape, bool), np.arange(len(value))
    for _ in range(MOST_LAGUERRE):
        at, settled = value[live], known[live]
        beyond, first, second, last = _pivots(diagonal, off_diagonal, at)
        wrong = thought[live] & ~beyond
        step = m / (first + np.sqrt(np.maximum((m - 1) * (m * second - first**2), 0.0)))
        at = np.where(wrong, bound[live], np.where(beyond & ~settled, at - step, at))
        value[live], thought[live] = at, False  # the needs of other matrices change no column
        end[live] = np.where(settled, end[live], last)
        known[live] = settled = settled | (~beyond & ~wrong) | (step <= 1e-14 * at) & beyond
        if settled.all():
            break
        if settled.sum() > len(live) // 2:  # close values are approached slowly: these columns continue alone
            live, diagonal, off_diagonal = live[~settled], diagonal[:, ~settled], off_diagonal[:, ~settled]
    return value, end, known


def _pivots(diagonal: Array, off_diagonal: Array, at: Array) -> tuple[Array, Array, Array, Array]:
    """Eliminate ``at − T`` from the last row up.

    Returns a mask of positive pivots, the first and the negative second derivative of ln|det|, and the last entry of
    the eigenvector.
    """
    pivot = at - diagonal[-1]
    least, rise = pivot, 1.0 / pivot  # pivot'/pivot
    bend, last, first, second = np.zeros_like(at), np.ones_like(at), rise, rise**2  # bend: pivot''/pivot
    for a, b in zip(diagonal[-2::-1], off_diagonal[::-1], strict=True):
        ratio = b / pivot
        last = last * np.abs(ratio)
        taken = b * ratio
        pivot = at - a - taken
        bend = taken * (bend - 2.0 * rise * rise) / pivot
        slope = 1.0 + taken * rise
        rise = slope / pivot
        first = first + rise
        second = second + (rise * rise - bend)
        least = np.minimum(least, pivot)
    return least > 0, first, second, last / np.sqrt(slope if len(off_diagonal) else 1.0)


def largest_singular_values(square: Product, size: int, columns: int, k: int = 1) -> NDArray[np.float64]:
    """Return the k largest singular values of N matrices A ``(S, S)``, descending, ``(N, k)``.

    Each value is sought in the complement of the right singular vectors found before, so that equal values are found
    as often as they occur.

    Parameters
    ----------
    square : callable
        AᵀA v for ``columns (S, N)``, one vector per matrix.
    size, columns, k : int
        S, N and the number of values.

    References
    ----------
    Lanczos 1950; Simon 1984 (reorthogonalisation); Parlett 1998, thm 4.5.1 (residual bound).
    """
    rng = np.random.default_rng(0)
    locked = np.empty((0, size, columns))
    found = []
    for _ in range(k):
        value, vector = _largest(square, locked, rng.standard_normal((size, columns)))
        found.append(np.sqrt(np.maximum(value, 0.0)))
        locked = np.concatenate([locked, vector[None]])
    return -np.sort(-np.stack(found, axis=-1), axis=-1)


def _largest(square: Product, locked: Array, start: Array) -> tuple[Array, Array]:
    """Return AᵀA's largest eigenvalue ``(N,)`` and vector ``(S, N)`` in the complement of ``locked (n, S, N)``."""
    S, N = start.shape
    most = S - len(locked)
    basis = np.empty((most, S, N))
    diagonal, off_diagonal = np.zeros((N, most)), np.zeros((N, most))
    basis[0] = _unit(_orthogonal(start, locked)[0])[0]
    for m in range(1, most + 1):
        image = _orthogonal(square(basis[m - 1]), locked)[0]
        image, along = _orthogonal(image, basis[:m])
        diagonal[:, m - 1] = along[-1]
        image, rest = _unit(image)
        ended = rest <= ENDED * np.abs(diagonal[:, :m]).max(axis=1)
        image[:, ended], off_diagonal[:, m - 1] = 0.0, np.where(ended, 0.0, rest)
        if m == most or (m >= FIRST and (m - FIRST) % EVERY == 0):
            value, weights = _top_ritz(diagonal[:, :m], off_diagonal[:, : m - 1])
            residual = off_diagonal[:, m - 1] * np.abs(weights[:, -1])
            if m == most or not (residual > RESIDUAL * value).any():
                break
        basis[m] = image
    return value, np.einsum("msn,nm->sn", basis[:m], weights)


def _orthogonal(columns: Array, basis: Array) -> tuple[Array, Array]:
    """Subtract from ``columns (S, N)`` their parts along ``basis (m, S, N)``, twice; return rest and parts."""
    total = np.zeros((len(basis), columns.shape[-1]))
    for _ in range(2):
        along = np.einsum("msn,sn->mn", basis, columns)
        columns = columns - np.einsum("msn,mn->sn", basis, along)
        total += along
    return columns, total


def _unit(columns: Array) -> tuple[Array, Array]:
    """Scale columns to length 1, in place; return them and their former lengths."""
    size = np.sqrt(np.einsum("sn,sn->n", columns, columns))
    columns /= np.where(size > 0, size, 1.0)
    return columns, size


def _top_ritz(diagonal: Array, off_diagonal: Array) -> tuple[Array, Array]:
    """Return the largest eigenvalue ``(N,)`` and its vector ``(N, m)`` of N tridiagonal matrices; 0 if not finite."""
    m = diagonal.shape[1]
    place = np.arange(m)
    matrix = np.zeros((len(diagonal), m, m))
    matrix[:, place, place] = diagonal
    matrix[:, place[:-1], place[1:]] = off_diagonal
    matrix[:, place[1:], place[:-1]] = off_diagonal
    finite = np.asarray(np.isfinite(matrix).all(axis=(-2, -1)))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], matrix, 0.0))
    return values[:, -1], vectors[..., -1]
