"""Singular values of many matrices at once: every method against LAPACK, on spectra that are hard for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.products import product_of, rotations

import gradlab as gl
from gradlab.jacobians import steps
from gradlab.jacobians.lanczos import (
    _start,
    _top_of_tridiagonal,
    largest_of_dense,
    largest_of_each,
    largest_singular_value,
    largest_singular_values,
)
from gradlab.jacobians.steps import METHODS, Jacobians
from gradlab.native.compiled import PLAIN

S = 24
SPECTRA = {
    "spread": np.geomspace(1.0, 1e-12, S),
    "clustered at the top": np.concatenate([1.0 - 1e-7 * np.arange(4), np.linspace(0.5, 0.1, S - 4)]),
    "two clusters": np.concatenate([1.0 - 1e-9 * np.arange(S // 2), 0.3 - 1e-9 * np.arange(S // 2)]),
    "equal": np.full(S, 0.7),
    "equal pairs": np.repeat(np.linspace(2.0, 0.2, S // 2), 2),
    "one direction": np.concatenate([[3.0], np.zeros(S - 1)]),
    "nothing": np.zeros(S),
    "tiny": 1e-200 * np.linspace(1.0, 0.1, S),
    "huge": 1e200 * np.linspace(1.0, 0.1, S),
    "gaussian": np.linalg.svd(np.random.default_rng(3).standard_normal((S, S)), compute_uv=False),
}


def jacobians_with(values: NDArray[np.float64]) -> gl.Trace:
    """Return a trace of 3 steps and 2 sequences whose J_t all have these singular values."""
    rng = np.random.default_rng(0)
    left, right = rotations(6, S, rng), rotations(6, S, rng)
    return product_of((left * values @ right).reshape(3, 2, S, S))


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "lapack"])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_largest_values_are_those_prescribed(name: str, method: str, k: int) -> None:
    """1e-10 relative, of LAPACK's too: where squares lose digits its values take their place."""
    found = jacobians_with(SPECTRA[name]).jacobians.singular_values(k, method=method)
    expected = np.sort(SPECTRA[name])[::-1][:k]
    assert found.shape == (3, 2, k)
    assert np.abs(found - expected).max() <= 1e-10 * expected.max()
    kept = expected > 1e-3 * expected.max()
    assert (np.abs(found - expected)[..., kept] <= 1e-10 * expected[kept]).all()


WIDE = 128
HARD = {
    "wide spread": np.geomspace(1.0, 1e-12, WIDE),
    "cluster at the top": np.concatenate([1.0 - 1e-7 * np.arange(4), np.linspace(0.5, 0.1, WIDE - 4)]),
    "one above a bulk": np.concatenate([[1.0 + 1e-6], np.ones(WIDE - 1)]),
    "one above a band": np.concatenate([[1.0 + 1e-5], np.linspace(1.0, 0.9, WIDE - 1)]),
    "narrow band": np.linspace(1.0, 0.9999, WIDE),
    "two bands": np.concatenate([1.0 - 1e-9 * np.arange(WIDE // 2), 0.3 - 1e-3 * np.arange(WIDE // 2)]),
}


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", HARD)
def test_lanczos_where_it_is_chosen_on_its_own(name: str, k: int) -> None:
    """S = 128, far more than the first look at the residual: 1e-10 relative of LAPACK's, clusters and all."""
    rng = np.random.default_rng(0)
    A = rotations(4, WIDE, rng) * HARD[name] @ rotations(4, WIDE, rng)
    found = largest_singular_values(lambda v: np.einsum("nki,nkj,jn->in", A, A, v, optimize=True), WIDE, 4, k)
    np.testing.assert_allclose(found, np.linalg.svd(A, compute_uv=False)[:, :k], rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", [*HARD, "gaussian", "rank one", "equal", "nothing"])
def test_without_a_basis_the_largest_value_is_right_or_nan(name: str) -> None:
    """LAPACK and the reorthogonalised iteration are the oracles; of nothing, nan: LAPACK then says that it is 0."""
    rng = np.random.default_rng(1)
    easy = {"rank one": np.eye(1, WIDE)[0], "equal": np.full(WIDE, 0.7), "nothing": np.zeros(WIDE)}
    spectrum = (HARD | easy).get(name)
    A = rng.standard_normal((6, WIDE, WIDE))
    if spectrum is not None:
        A = rotations(6, WIDE, rng) * spectrum @ rotations(6, WIDE, rng)
    square = A.swapaxes(-1, -2) @ A
    found = largest_singular_value(
        lambda live: lambda v: np.einsum("nij,jn->in", square[live], v, optimize=True), WIDE, 6
    )
    slow = largest_singular_values(lambda v: np.einsum("nij,jn->in", square, v, optimize=True), WIDE, 6)[:, 0]
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], np.linalg.svd(A, compute_uv=False)[known, 0], rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(found[known], slow[known], rtol=1e-10, atol=1e-300)
    if name in ("nothing", "two bands"):  # of two bands the space ends at once, and copies of the value come with it
        assert known.all() or not known.any()
    else:
        assert known.all()


#: As it runs, compiled where it can be, and in NumPy.
FORMS = pytest.mark.parametrize("of_each", [largest_of_each, PLAIN["largest_of_each"]], ids=["runs", "plain"])


@FORMS
@pytest.mark.parametrize("name", [*HARD, "gaussian", "rank one", "equal", "nothing", "tiny", "huge"])
def test_of_each_dense_matrix_the_largest_value_is_right_or_nan(of_each: Any, name: str) -> None:
    """LAPACK is the oracle; out of the range of squares nothing is said."""
    rng = np.random.default_rng(1)
    easy = {"rank one": np.eye(1, WIDE)[0], "equal": np.full(WIDE, 0.7), "nothing": np.zeros(WIDE)}
    scale = {"tiny": 1e-200, "huge": 1e200}.get(name, 1.0)
    spectrum = (HARD | easy).get(name)
    A = scale * rng.standard_normal((6, WIDE, WIDE))
    if spectrum is not None:
        A = rotations(6, WIDE, rng) * spectrum @ rotations(6, WIDE, rng)
    with np.errstate(all="ignore"):
        found = of_each(A, _start(WIDE))
    known = np.isfinite(found)
    if name in ("tiny", "huge"):
        assert not found[known].any()
        return
    np.testing.assert_allclose(found[known], np.linalg.svd(A, compute_uv=False)[known, 0], rtol=1e-10, atol=1e-300)
    assert known.all() or name in ("nothing", "two bands")


@FORMS
@pytest.mark.parametrize("size", [8, 9, 31, 32, 33, 65])
def test_of_each_dense_matrix_of_any_size_and_in_any_memory(of_each: Any, size: int) -> None:
    """One step and ten, almost of rank one; transposed, reversed, every second one, in single precision."""
    J = np.random.default_rng([2, size]).standard_normal((10, 6, size, size))
    A = np.stack([J[0], np.linalg.multi_dot([*J[:, 0], np.eye(size)]) * np.ones((6, 1, 1))])
    for views in (A, A.swapaxes(-1, -2), A[..., ::-1, :], A[..., ::-1], A[:, ::2], A.astype(np.float32)):
        found = of_each(views, _start(size))
        expected = np.linalg.svd(views.astype(float), compute_uv=False)[..., 0]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@FORMS
def test_a_matrix_that_is_not_finite_leaves_the_others_right(of_each: Any) -> None:
    A = np.random.default_rng(2).standard_normal((4, WIDE, WIDE))
    A[1, 5, 7], A[2, 0, 0] = np.inf, np.nan
    with np.errstate(all="ignore"):
        found = of_each(A, _start(WIDE))
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False])
    np.testing.assert_allclose(found[[0, 3]], np.linalg.svd(A[[0, 3]], compute_uv=False)[:, 0], rtol=1e-10)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_formed_or_not_the_largest_value_is_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"rnn": gl.RNN, "lstm": gl.LSTM, "gru": gl.GRU}[cell]
    x = np.random.default_rng(1).standard_normal((5, 3, 4))
    J = gl.trace(kind.init(4, 40, scale=1.5, rng=0), x, lengths=np.array([5, 2, 4])).jacobians
    found = J.norm(2)
    monkeypatch.setattr(steps, "FORMED", 0)
    np.testing.assert_allclose(found, J.norm(2), rtol=1e-10)


def test_a_column_that_is_not_finite_leaves_the_others_right() -> None:
    A = np.random.default_rng(2).standard_normal((4, WIDE, WIDE))
    A[2, 0, 0] = np.nan
    with np.errstate(all="ignore"):
        found = largest_singular_value(
            lambda live: lambda v: np.einsum("nki,nkj,jn->in", A[live], A[live], v, optimize=True), WIDE, 4
        )
    assert np.isnan(found[2])
    others = [0, 1, 3]
    np.testing.assert_allclose(found[others], np.linalg.svd(A[others], compute_uv=False)[:, 0], rtol=1e-10)


def test_what_one_matrix_needs_changes_nothing_of_another() -> None:
    rng = np.random.default_rng(3)
    diagonal, beside = rng.uniform(1, 2, (24, 60)), rng.uniform(0, 1, (23, 60))
    diagonal[12:, ::7], beside[11, ::7] = diagonal[:12, ::7][::-1], 1e-9  # two values all but equal, slow to come near
    beside[12:, ::7] = beside[:11, ::7][::-1]
    top = np.linalg.eigvalsh(
        [np.diag(d) + np.diag(b, 1) + np.diag(b, -1) for d, b in zip(diagonal.T, beside.T, strict=True)]
    )[:, -1]
    above = top * np.resize(
        [np.inf, 1.2, 1.0 + 1e-13, 0.9, 0.0], 60
    )  # no bound, a good one, a close one, two wrong ones
    together = _top_of_tridiagonal(diagonal, beside, above)
    np.testing.assert_allclose(together[0], top, rtol=1e-13)
    assert together[2].all()
    alone = [_top_of_tridiagonal(diagonal[:, [n]], beside[:, [n]], above[[n]]) for n in range(60)]
    for found, expected in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-13, atol=1e-13)


def test_values_are_found_as_often_as_they_occur() -> None:
    found = jacobians_with(SPECTRA["equal pairs"]).jacobians.singular_values(3, method="lanczos")
    assert np.allclose(found, [2.0, 2.0, SPECTRA["equal pairs"][2]], rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("size", "k", "chosen"),
    [(30, 1, "gram"), (32, 1, "lanczos"), (32, 2, "gram"), (8, 1, "gram"), (32, None, "lapack")],
)
def test_the_automatic_choice_is_the_one_measured_to_be_the_cheapest(
    size: int, k: int | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    J = gl.trace(gl.LSTM.init(1, size // 2, rng=0), np.zeros((1, 1, 1))).jacobians
    asked = []
    inner = Jacobians._singular_values

    def noted(self: Jacobians, steps: NDArray[np.int64], count: int, method: str) -> NDArray[np.float64]:
        asked.append(method)
        return inner(self, steps, count, method)

    monkeypatch.setattr(Jacobians, "_singular_values", noted)
    J.singular_values(k)
    assert asked == [chosen]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_automatic_choice_agrees_with_lapack_on_both_sides_of_its_border(cell: str) -> None:
    """S = 30 goes to Gram, S = 32 and 128 to Lanczos for the largest."""
    for size in (30, 32, 128):
        hidden = size // 2 if cell == "lstm" else size
        kind = {"rnn": gl.RNN, "lstm": gl.LSTM, "gru": gl.GRU}[cell]
        x = np.random.default_rng(1).standard_normal((2, 3, 4))
        J = gl.trace(kind.init(4, hidden, scale=1.5, rng=0), x).jacobians
        for k in (1, 2):
            assert np.allclose(J.singular_values(k), J.singular_values(k, method="lapack"), rtol=1e-10, atol=0)


def test_a_residual_and_not_a_standstill_ends_the_iteration() -> None:
    """Twelve steps of a slowly converging matrix are wrong by more than the tolerance: it must go on."""
    values = np.linspace(1.0, 0.99, 200)
    A = np.diag(values)[..., None]
    products = []

    def apply(v: NDArray[np.float64]) -> NDArray[np.float64]:
        products.append(1)
        return np.asarray(np.einsum("ijn,jn->in", A, v))

    found = largest_singular_values(lambda v: np.einsum("ijn,in->jn", A, apply(v)), 200, 1)
    assert abs(found[0, 0] - 1.0) < 1e-10
    assert len(products) > 40


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match='unknown method "lanzcos"; did you mean "lanczos"'):
        jacobians_with(SPECTRA["gaussian"]).jacobians.singular_values(1, method="lanzcos")


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-100, 1e-75, 1e-60, 1.0, 1e60, 1e75, 1e100, 1e150])
def test_values_whose_squares_leave_the_range_are_never_wrong(scale: float) -> None:
    matrices = np.random.default_rng(0).normal(size=(3, 40, 40)) * scale
    found, true = largest_of_dense(matrices), np.linalg.svd(matrices, compute_uv=False)[:, 0]
    known = ~np.isnan(found)
    np.testing.assert_allclose(found[known], true[known], rtol=1e-9)
    assert known.all() == (1e-65 < scale < 1e65)
