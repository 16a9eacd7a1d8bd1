"""Largest singular values of many matrices at once, none of them formed: Lanczos on AᵀA, one product for all.

Full reorthogonalisation keeps the Krylov basis orthogonal to rounding; a Ritz value is accepted by its residual, which
bounds its error, never by how little it moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: ``columns (S, N)`` → ``columns (S, N)``, one matrix a column.
Product = Callable[[Array], Array]
#: A Ritz value θ = σ² with residual r lies within r of an eigenvalue: r ≤ 1e-10 θ is 5e-11 in σ.
RESIDUAL = 1e-10
#: A remainder this far below the matrix is rounding: the Krylov space is complete, and nothing may grow from it.
ENDED = 1e-13
#: Steps before the first look at the residual, and between two looks.
FIRST, EVERY = 12, 4


def largest_singular_values(apply: Product, back: Product, size: int, columns: int, k: int = 1) -> NDArray[np.float64]:
    """Return the k largest singular values of N matrices A ``(S, S)``, descending, ``(N, k)``.

    Values are found one after the other, each in the complement of the right singular vectors already found, so that
    equal ones are found as often as they occur.

    Parameters
    ----------
    apply, back : A v and Aᵀ u for ``columns (S, N)``, one vector a matrix.

    References
    ----------
    Lanczos 1950; Simon 1984 (reorthogonalisation); Parlett 1998, thm 4.5.1 (residual bound).
    """
    rng = np.random.default_rng(0)
    locked = np.empty((0, size, columns))
    found = []
    for _ in range(k):
        square, vector = _largest(lambda v: back(apply(v)), locked, rng.standard_normal((size, columns)))
        found.append(np.sqrt(np.maximum(square, 0.0)))
        locked = np.concatenate([locked, vector[None]])
    return -np.sort(-np.stack(found, axis=-1), axis=-1)


def _largest(square: Product, locked: Array, start: Array) -> tuple[Array, Array]:
    """Return AᵀA's largest eigenvalue ``(N,)`` and its vector ``(S, N)``, in the complement of ``locked (n, S, N)``."""
    S, N = start.shape
    most = S - len(locked)
    basis = np.empty((most, S, N))
    diagonal, beside = np.zeros((N, most)), np.zeros((N, most))
    basis[0] = _unit(_orthogonal(start, locked)[0])[0]
    for m in range(1, most + 1):
        image = _orthogonal(square(basis[m - 1]), locked)[0]
        image, along = _orthogonal(image, basis[:m])
        diagonal[:, m - 1] = along[-1]
        image, rest = _unit(image)
        ended = rest <= ENDED * np.abs(diagonal[:, :m]).max(axis=1)
        image[:, ended], beside[:, m - 1] = 0.0, np.where(ended, 0.0, rest)
        if m == most or (m >= FIRST and (m - FIRST) % EVERY == 0):
            value, weights = _top_ritz(diagonal[:, :m], beside[:, : m - 1])
            residual = beside[:, m - 1] * np.abs(weights[:, -1])
            if m == most or not (residual > RESIDUAL * value).any():
                break
        basis[m] = image
    return value, np.einsum("msn,nm->sn", basis[:m], weights)


def _orthogonal(columns: Array, basis: Array) -> tuple[Array, Array]:
    """Return columns ``(S, N)`` less their parts along ``basis (m, S, N)``, and those parts ``(m, N)``; done twice."""
    total = np.zeros((len(basis), columns.shape[-1]))
    for _ in range(2):
        along = np.einsum("msn,sn->mn", basis, columns)
        columns = columns - np.einsum("msn,mn->sn", basis, along)
        total += along
    return columns, total


def _unit(columns: Array) -> tuple[Array, Array]:
    size = np.sqrt(np.einsum("sn,sn->n", columns, columns))
    return columns / np.where(size > 0, size, 1.0), size


def _top_ritz(diagonal: Array, beside: Array) -> tuple[Array, Array]:
    """Return the largest eigenvalue ``(N,)`` and its vector ``(N, m)`` of N tridiagonal matrices; 0 if not finite."""
    m = diagonal.shape[1]
    place = np.arange(m)
    matrix = np.zeros((len(diagonal), m, m))
    matrix[:, place, place] = diagonal
    matrix[:, place[:-1], place[1:]] = beside
    matrix[:, place[1:], place[:-1]] = beside
    finite = np.asarray(np.isfinite(matrix).all(axis=(-2, -1)))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], matrix, 0.0))
    return values[:, -1], vectors[..., -1]
