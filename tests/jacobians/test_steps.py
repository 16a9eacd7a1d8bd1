"""The Jacobians as a view of the tape: applied, dense, their norms and spectra; and how little memory they take."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.derivatives import by_state, complex_step
from oracles.family import FAMILY, make, spread, states
from threadpoolctl import threadpool_limits

import gradlab as gl
from gradlab.cells.base import Cell
from gradlab.errors import InputError
from gradlab.jacobians import steps

Array = NDArray[Any]
T, B, D, H = 7, 3, 2, 5
cases = pytest.mark.parametrize("name", FAMILY)


def a_trace(name: str, *, scale: float = 1.0, lengths: Any = None) -> gl.Trace:
    cell = make(name, D, H, scale=scale)
    x = scale * np.random.default_rng(6).standard_normal((T, B, D))
    return gl.trace(cell, x, state=states(cell, B), lengths=lengths)


def all_dense(trace: gl.Trace) -> Array:
    """Return ``(T, B, S, S)``."""
    return np.stack([trace.jacobians.dense(t) for t in range(1, T + 1)])


@pytest.mark.parametrize("scale", [1.0, 6.0])
@cases
def test_dense_is_the_complex_step(name: str, scale: float) -> None:
    trace = a_trace(name, scale=scale)
    tape = trace.layers[0].tape
    for t, b in np.ndindex(T, B):
        wanted = complex_step(by_state(tape.cell, tape.x[t, :, b]), tape.states[t, :, b])
        assert_normwise(trace.jacobians.dense(t + 1)[b], wanted, 1e-13, f"J_{t + 1}", axis=None)


@pytest.mark.parametrize(("name", "columns"), spread([None, 1, 4]))
def test_applied_and_transposed_are_the_dense_products(
    name: str, columns: int | None, rng: np.random.Generator
) -> None:
    trace = a_trace(name)
    J, dense = trace.jacobians, all_dense(trace)
    tail = () if columns is None else (columns,)
    V, U = rng.standard_normal((2, *J.shape[:3], *tail))
    sub = "tbij,tbj...->tbi..."
    assert_normwise(J @ V, np.einsum(sub, dense, V), 1e-13, "J V", axis=2)
    assert_normwise(J.T @ U, np.einsum("tbji,tbj...->tbi...", dense, U), 1e-13, "Jᵀ U", axis=2)
    assert_normwise(J.T.T @ V, J @ V, 1e-15, "twice transposed", axis=2)
    assert_normwise(J.T.dense(2), dense[1].swapaxes(-1, -2), 1e-15, "transposed, dense", axis=(1, 2))
    np.testing.assert_allclose((U * (J @ V)).sum(), ((J.T @ U) * V).sum(), rtol=1e-12)


@cases
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    trace = a_trace(name)
    V = rng.standard_normal((*trace.jacobians.shape[:3], 2))
    whole = trace.jacobians @ V, trace.jacobians.singular_values(), trace.jacobians.log_abs_det()
    monkeypatch.setattr(steps, "CHUNK", 1)
    parts = trace.jacobians @ V, trace.jacobians.singular_values(), trace.jacobians.log_abs_det()
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-13)


@cases
def test_dense_of_a_cell_is_its_jvp_on_units(name: str) -> None:
    """A cell may form its dense Jacobian by its own formula; the base class's way is the oracle."""
    trace = a_trace(name)
    local = trace.jacobians._local(np.arange(T))
    assert_normwise(trace.layers[0].cell.dense(local), Cell.dense(trace.layers[0].cell, local), 1e-14, axis=(1, 2))


@cases
def test_norms_and_spectra_are_numpys(name: str) -> None:
    trace, J = a_trace(name), a_trace(name).jacobians
    dense = all_dense(trace)
    np.testing.assert_array_equal(J.dense(), dense)
    values = np.linalg.svd(dense, compute_uv=False)
    np.testing.assert_allclose(J.singular_values(), values, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(J.singular_values(2), values[..., :2], rtol=1e-13)
    np.testing.assert_allclose(J.norm(2), values[..., 0], rtol=1e-13)
    np.testing.assert_allclose(J.norm(), values[..., 0], rtol=1e-13)
    np.testing.assert_allclose(J.norm("fro"), np.linalg.norm(dense, axis=(-2, -1)), rtol=1e-14)
    if name != "rnn-relu":  # a dead unit is a zero row: the next test
        np.testing.assert_allclose(J.log_abs_det(), np.log(np.abs(np.linalg.det(dense))), rtol=1e-11, atol=1e-11)
    found = J.eigenvalues(3)
    assert np.all(np.diff(np.abs(found), axis=-1) <= 1e-14)
    for b in range(B):
        wanted = np.linalg.eigvals(dense[2, b])
        np.testing.assert_allclose(np.sort_complex(found[b]), np.sort_complex(wanted), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(np.prod(found[b]).real, np.linalg.det(dense[2, b]), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("scale", [1.0, 6.0])
@cases
def test_frobenius_norms_of_ungated_rows_and_of_an_lstm_form_no_matrix(
    name: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = a_trace(name, scale=scale)
    wanted, J = np.linalg.norm(all_dense(trace), axis=(-2, -1)), trace.jacobians
    if name.startswith(("rnn-tanh", "lstm")):
        monkeypatch.setattr(steps.Jacobians, "_dense", None)
    np.testing.assert_allclose(J.norm("fro"), wanted, rtol=1e-13)


def test_a_frobenius_norm_that_cancels_is_taken_of_the_matrix() -> None:
    """Two gates whose rows undo each other: the squares that are summed are 1e16 above the sum."""
    W = np.random.default_rng(0).standard_normal((4, H, H))
    W[2] = -W[0] * (1 + 1e-8)
    cell = gl.LSTM(np.zeros((4 * H, 1)), W.reshape(-1, H), np.repeat([0.0, -800.0, np.arctanh(0.5), -800.0], H))
    local = gl.trace(cell, np.zeros((1, 1, 1))).jacobians._local(np.arange(1))
    equal = local._replace(c_by_i=local.c_by_g, c_by_f=0 * local.f, f=0 * local.f)
    square, parts = cell.frobenius_squared(equal)
    assert square < 1e-10 * parts
    J = gl.trace(cell, np.zeros((1, 1, 1))).jacobians
    object.__setattr__(J, "_local", lambda steps: equal)
    np.testing.assert_allclose(J.norm("fro"), [[np.linalg.norm(J.dense(1))]], rtol=1e-13)


def test_threads_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core and four give the same bits: the pieces do not depend on it, and each runs with BLAS at one thread."""
    J = gl.trace(gl.GRU.init(3, 40, rng=0), np.random.default_rng(0).standard_normal((60, 16, 3))).jacobians
    found = []
    for count in (1, 4):
        monkeypatch.setattr("gradlab.arrays.threads.cores", lambda count=count: count)
        with threadpool_limits(1):
            found.append([J.norm(2), J.norm("fro"), J.singular_values(steps=range(1, 20)), J.singular_values(2)])
    for one, four in zip(*found, strict=True):
        np.testing.assert_array_equal(one, four)


@cases
def test_some_steps(name: str) -> None:
    """Equal up to rounding: a product of another shape may be summed in another order."""
    J = a_trace(name).jacobians
    np.testing.assert_allclose(J.norm(2, steps=[6, 2]), J.norm(2)[[5, 1]], rtol=1e-12)
    np.testing.assert_allclose(J.norm("fro", steps=[6, 2]), J.norm("fro")[[5, 1]], rtol=1e-12)
    np.testing.assert_allclose(J.singular_values(3, steps=[1]), J.singular_values(3)[:1], rtol=1e-10)


@pytest.mark.parametrize("transposed", [False, True])
@cases
def test_linear_operator(name: str, transposed: bool, rng: np.random.Generator) -> None:
    trace = a_trace(name)
    J = trace.jacobians.T if transposed else trace.jacobians
    operator = J.linear_operator(4, 1)
    dense = trace.jacobians.dense(4)[1]
    matrix = dense.T if transposed else dense
    S = len(dense)
    V = rng.standard_normal((S, 3))
    assert operator.shape == (S, S)
    assert_normwise(operator @ V[:, 0], matrix @ V[:, 0], 1e-13)
    assert_normwise(operator @ V, matrix @ V, 1e-13, axis=0)
    assert_normwise(operator.rmatvec(V[:, 0]), matrix.T @ V[:, 0], 1e-13)
    assert_normwise(operator.rmatmat(V), matrix.T @ V, 1e-13, axis=0)
    assert_normwise(operator.H @ V, matrix.T @ V, 1e-13, axis=0)


@cases
def test_beyond_a_sequences_end_there_is_no_jacobian(name: str) -> None:
    ends = np.array([7, 2, 4])
    J, full = a_trace(name, lengths=ends).jacobians, a_trace(name).jacobians
    beyond = np.arange(1, T + 1)[:, None] > ends
    for short, long in (
        (J.norm(2), full.norm(2)),
        (J.norm("fro"), full.norm("fro")),
        (J.log_abs_det(), full.log_abs_det()),
        (J.singular_values()[..., -1], full.singular_values()[..., -1]),
    ):
        np.testing.assert_array_equal(np.isnan(short), beyond)
        np.testing.assert_allclose(short[~beyond], long[~beyond], rtol=1e-12)


# --- extremes ---------------------------------------------------------------------------------------------


def scalar(*weights: float, x: float = 0.0, activation: str = "identity") -> Any:
    W = np.diag(np.array(weights))
    return gl.trace(gl.RNN(np.ones((len(W), 1)), W, activation=activation), np.full((1, 1, 1), x)).jacobians


@pytest.mark.parametrize("size", [1e-170, 1e-300, 1e200, 1e300])
def test_norms_of_tiny_and_huge_jacobians(size: float) -> None:
    """A sum of squares would be 0 or inf."""
    J = scalar(size, size, size, size)
    np.testing.assert_allclose(J.norm("fro"), [[2 * size]], rtol=1e-14)
    np.testing.assert_allclose(J.norm(2), [[size]], rtol=1e-14)
    np.testing.assert_allclose(J.log_abs_det(), [[4 * np.log(size)]], rtol=1e-14)


def test_determinant_of_saturated_units() -> None:
    """ln tanh'(a) = 2 ln 2 − 2 logaddexp(a, −a), here at a = 300, where 1 − h² is 0: −2394.5 in four units."""
    found = scalar(1.0, 1.0, 1.0, 1.0, x=300.0, activation="tanh").log_abs_det()
    np.testing.assert_allclose(found, [[4 * (2 * np.log(2) - 600.0)]], rtol=1e-14)


def test_singular_jacobians() -> None:
    J = scalar(1.0, 2.0, x=-1.0, activation="relu")
    assert J.log_abs_det()[0, 0] == -np.inf
    assert J.norm(2)[0, 0] == J.norm("fro")[0, 0] == 0.0
    np.testing.assert_array_equal(J.eigenvalues(1), [[0, 0]])
    half = gl.RNN(np.array([[1.0], [-1.0]]), np.ones((2, 2)), activation="relu")
    dense = gl.trace(half, np.ones((1, 1, 1))).jacobians
    assert dense.log_abs_det()[0, 0] == -np.inf
    np.testing.assert_allclose(dense.norm(2), [[np.sqrt(2)]])


HUGE = {
    "rnn": lambda W: gl.RNN(np.ones((2, 1)), W),
    "relu": lambda W: gl.RNN(np.ones((2, 1)), W, activation="relu"),
    "lstm": lambda W: gl.LSTM(np.ones((8, 1)), np.tile(W, (4, 1))),
    "gru-before": lambda W: gl.GRU(np.ones((6, 1)), np.tile(W, (3, 1))),
    "gru-after": lambda W: gl.GRU(np.ones((6, 1)), np.tile(W, (3, 1)), reset="after"),
}


@pytest.mark.parametrize("name", HUGE)
def test_weights_beyond_all_reason_warn_no_one(name: str) -> None:
    """a overflows, products are inf · 0: nothing is invented, nothing warns (warnings are errors here)."""
    cell = HUGE[name](np.array([[1e308, 1e308], [-1e308, 1e308]]))
    J = gl.trace(cell, np.ones((4, 1, 1)), gl.mse(np.zeros((1, 2)), "every"), state={"h": np.ones((1, 2))}).jacobians
    J.norm(2), J.norm("fro"), J.log_abs_det(), J.eigenvalues(2), J.dense(2)
    for one in (J, J.T):
        one @ np.ones(J.shape[:3])
        one.linear_operator(2, 0) @ np.ones(J.shape[-1])
        one.linear_operator(2, 0) @ np.ones((J.shape[-1], 2))


def test_float32_stays_float32() -> None:
    trace = gl.trace(make("lstm", D, H, dtype="float32"), np.zeros((T, B, D), "float32"))
    J = trace.jacobians
    assert J.dense(1).dtype == (J @ np.ones(J.shape[:3])).dtype == J.linear_operator(1, 0).dtype == np.float32


# --- memory -----------------------------------------------------------------------------------------------


def test_no_array_of_all_jacobians_is_ever_built() -> None:
    """T 200, B 8, H 64 of an LSTM: T·B·S² float64 would be 210 MB. The view must stay under a third of it."""
    steps, batch, hidden = 200, 8, 64
    trace = gl.trace(gl.LSTM.init(2, hidden, rng=0), np.zeros((steps, batch, 2)))
    J, V = trace.jacobians, np.ones((steps, batch, 2 * hidden, 1))
    all_of_them = steps * batch * (2 * hidden) ** 2 * 8
    for question in (lambda: J.norm("fro"), lambda: J.norm(2, steps=range(1, 41)), lambda: J @ V, lambda: J.T @ V):
        assert peak_of(question) < all_of_them / 3
    assert peak_of(lambda: np.empty(all_of_them // 8)) >= all_of_them


def peak_of(question: Any) -> int:
    """Return the most bytes that were held at once while the question was answered."""
    tracemalloc.start()
    try:
        question()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- bad questions ----------------------------------------------------------------------------------------


def test_bad_questions() -> None:
    J = a_trace("lstm").jacobians
    S = 2 * H
    with pytest.raises(InputError, match=r"J @ V needs V of shape \(T, B, S\[, K\]\) = \(7, 3, 10\), got \(7, 3, 5\)"):
        J @ np.ones((T, B, H))
    for t in (0, T + 1):
        with pytest.raises(InputError, match=f"t must be a step 1 … 7, got {t}"):
            J.dense(t)
    with pytest.raises(InputError, match="b must be a sequence 0 … 2, got 3"):
        J.linear_operator(1, B)
    with pytest.raises(InputError, match=f"k must be 1 … S = {S}, got 0"):
        J.singular_values(0)
    with pytest.raises(InputError, match='unknown norm "frob"; did you mean "fro"'):
        J.norm("frob")
    assert repr(J.T).startswith("Jacobians: transposed ∂s_t/∂s_{t−1} of LSTM(")


# --- the full tier ------------------------------------------------------------------------------------------

LARGE = """
import resource
import numpy as np
import gradlab as gl

trace = gl.trace(gl.LSTM.init(8, 256, rng=0), np.random.default_rng(0).standard_normal((1000, 32, 8)))
J = trace.jacobians
J.norm(2, steps=range(1, 1001, 25))
J.norm("fro", steps=range(1, 1001, 25))
J @ np.ones((1000, 32, 512))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.full
def test_a_large_lstm_stays_under_three_gibibytes() -> None:
    """T 1000, B 32, H 256: 67 GB of dense Jacobians; chunks do not grow with the number of steps asked for."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    kibibytes = int(done.stdout)
    assert kibibytes < 3 * 2**20
