"""The compiled formulas against the plain ones beside their cells, and against many digits."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.derivatives import exact_logistic, exact_tanh_derivative
from oracles.family import FAMILY, make
from oracles.plain import run_plain

from gradlab.cells.base import scaled_rows
from gradlab.cells.lstm import lstm_step
from gradlab.cells.rnn import rnn_tanh_step
from gradlab.jacobians.lyapunov import gram_schmidt
from gradlab.native import compiled

built = pytest.mark.skipif(not compiled.available(), reason="gradlab was installed without a C compiler")
#: Cells of which some formula may be compiled: all but an RNN of another activation than tanh.
CELLS = [name for name in FAMILY if not name.startswith("rnn") or name == "rnn-tanh"]
T, D, H = 5, 3, 7


def test_what_runs_is_compiled_where_it_must_be() -> None:
    assert compiled.available() or "GRADLAB_REQUIRE_ORACLES" not in os.environ


@built
def test_each_formula_has_a_twin_of_its_name() -> None:
    found = {name for name, one in vars(compiled._steps).items() if isinstance(one, np.ufunc)}
    assert found <= set(compiled.PLAIN)


def _one_of_each(cell: Any, N: int) -> list[np.ndarray]:
    """Return all that step, linearise, jvp and vjp give, of T steps at once; and a step of every second column."""
    rng = np.random.default_rng(2)
    x, before = rng.standard_normal((T, D, N)), rng.standard_normal((T, cell.state_size, N))
    adjoint = cell.split(rng.standard_normal((T, cell.state_size, N)).astype(cell.dtype))
    drive, state = cell.input_drive(x.astype(cell.dtype)), cell.split(before.astype(cell.dtype))
    after, record = cell.step(drive, state)
    local = cell.linearise(record, state, after)
    carried, pre_grad = cell.vjp(local, adjoint)
    found = [*after, *record.values(), *local, *carried, pre_grad, *cell.jvp(local, adjoint)]
    strided = cell.step(drive[0, :, ::2], tuple(array[0, :, ::2] for array in state))
    return [*found, *strided[0], *strided[1].values()]


@built
@pytest.mark.parametrize("N", [1, 4, 33])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CELLS)
def test_compiled_is_plain_but_for_rounding(monkeypatch: Any, name: str, dtype: str, N: int) -> None:
    cell = make(name, D, H, scale=4.0, dtype=dtype)  # saturated units among them
    found = _one_of_each(cell, N)
    run_plain(monkeypatch.setattr, monkeypatch.setitem)
    eps = np.finfo(dtype).eps
    for one, two in zip(found, _one_of_each(cell, N), strict=True):
        assert one.dtype == two.dtype == dtype
        assert one.shape == two.shape
        np.testing.assert_allclose(one, two, rtol=300 * eps, atol=30 * eps)


@built
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scaled_rows_in_any_memory(dtype: str) -> None:
    """Σ_k diag(f_k) M_k + diag(d), matrices shared or each its own, dense or not, into a part of another array."""
    rng = np.random.default_rng(3)
    factors, diagonal = rng.standard_normal((5, 3, H)).astype(dtype), rng.standard_normal((5, H)).astype(dtype)
    wide = rng.standard_normal((5, 3, 2 * H, 2 * H)).astype(dtype)
    own = wide[..., :H, H:]
    for matrices in (own[0], own, own.swapaxes(-1, -2), wide[..., ::2, ::2], own[..., ::-1], own[:, ::-1]):
        exact = np.einsum("nkh,nkhg->nhg", factors, np.broadcast_to(matrices, own.shape))
        exact += diagonal[..., None] * np.eye(H)
        room = np.full((5, 2 * H, 2 * H), np.nan, dtype)
        for form in (scaled_rows, compiled.PLAIN["scaled_rows"]):
            for out in (None, room[:, H:, :H], room[:, :H, ::2]):
                found = form(factors, matrices, diagonal, out=out)
                assert found.dtype == dtype
                np.testing.assert_allclose(found, exact, rtol=1e-5, atol=20 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(np.isnan(room).sum(axis=(1, 2)), 4 * H * H - 2 * H * H)
    few = scaled_rows(factors[:, 1:2], own[:, 1:2], np.zeros(H, dtype))
    np.testing.assert_allclose(few, factors[:, 1, :, None] * own[:, 1], rtol=1e-6)


POINTS = np.array([0.0, 1e-300, 1e-9, 0.01, 0.17, 0.3, 0.35, 1.0, 2.8, 8.0, 19.0, 40.0, 300.0])


@built
def test_tanh_and_logistic_to_their_last_digits() -> None:
    a = np.concatenate([-POINTS, POINTS])
    with localcontext(prec=400):
        decays = [(-2 * Decimal(p)).exp() for p in a.tolist()]
        exact = [float((1 - e) / (1 + e)) for e in decays]
    _, found = rnn_tanh_step(a, np.zeros_like(a))
    np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(float).eps, atol=0.0)
    zero = np.zeros((4 * len(a), 1))
    _, gates, _, _ = lstm_step(np.zeros((len(a), 1)), np.tile(a, 4)[:, None], zero)
    for k in (0, 1, 3):
        share = gates[k * len(a) : (k + 1) * len(a), 0]
        np.testing.assert_allclose(share, [exact_logistic(p) for p in a], rtol=4 * np.finfo(float).eps, atol=0.0)


@built
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_out_of_range_ends_as_it_should(dtype: str) -> None:
    a = np.array([-np.inf, -1e30, -2000.0, 2000.0, 1e30, np.inf, np.nan], dtype)
    _, found = rnn_tanh_step(a, np.zeros_like(a))
    np.testing.assert_array_equal(found, [-1, -1, -1, 1, 1, 1, np.nan])
    column = np.tile(a, 4)[:, None]
    _, gates, *_ = lstm_step(np.zeros((len(a), 1), dtype), column, np.zeros_like(column))
    np.testing.assert_array_equal(gates[: len(a), 0], [0, 0, 0, 1, 1, 1, np.nan])


@built
def test_blocks_that_do_not_fit_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="expected 4 blocks of 3 rows, got 8 rows"):
        compiled.ufunc("lstm_step")(np.zeros((3, 2)), np.zeros((8, 2)), np.zeros((8, 2)))


@built
@pytest.mark.parametrize("n", [1, 4, 33])
@pytest.mark.parametrize(("S", "K"), [(9, 9), (32, 8), (5, 1)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gram_schmidt_is_the_plain_one_and_householders(dtype: str, S: int, K: int, n: int) -> None:
    size = 1e30 if dtype == "float32" else 1e200  # squares are beyond its range
    columns = (size * np.random.default_rng(3).standard_normal((S, K, n))).astype(dtype)
    found, plain = gram_schmidt(columns), compiled.PLAIN["gram_schmidt"](columns)
    allowed = 300 * np.finfo(dtype).eps * np.sqrt(found[2].max())
    for one, two in zip(found, plain, strict=True):
        assert one.dtype == two.dtype == dtype
        np.testing.assert_allclose(one, two, rtol=allowed, atol=allowed)
    Q, R, lost = found
    exact_Q, exact_R = np.linalg.qr(np.moveaxis(columns, -1, 0).astype(np.float64) / size)
    diagonal = np.diagonal(exact_R, axis1=1, axis2=2)
    np.testing.assert_allclose(Q, np.moveaxis(exact_Q * np.sign(diagonal)[:, None], 0, -1), rtol=0, atol=allowed)
    np.testing.assert_allclose(R / size, np.abs(diagonal).T, rtol=allowed)
    squares = (np.linalg.norm(exact_R, axis=1) / np.abs(diagonal)) ** 2
    np.testing.assert_allclose(lost, squares.sum(axis=-1), rtol=allowed)


@built
def test_gram_schmidt_of_what_has_gaps_is_the_same() -> None:
    columns = np.random.default_rng(3).standard_normal((9, 4, 6))
    for one, two in zip(gram_schmidt(columns[..., ::2]), gram_schmidt(columns[..., ::2].copy()), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="gram_schmidt: expected arrays without gaps"):
        compiled.ufunc("gram_schmidt")(columns[..., ::2])


def test_the_plain_form_of_the_derivative_is_right_too() -> None:
    a = np.concatenate([-POINTS, POINTS])
    found = compiled.PLAIN["tanh_derivative"](a, np.tanh(a))
    np.testing.assert_allclose(found, [exact_tanh_derivative(p) for p in a], rtol=64 * np.finfo(float).eps)


PASS = """
import sys
{hidden}
import numpy as np
import gradlab as gl
from gradlab.native import compiled
from gradlab.cells.base import scaled_rows
from oracles.family import make
assert compiled.available() != bool({hide})
rng = np.random.default_rng(0)
x, v = rng.normal(size=(30, 4, 3)), rng.normal(size=(4, 7))
for name in {cells}:
    trace = gl.trace(make(name, 3, 7), x, gl.projection(v))
    np.save(f"{{sys.argv[1]}}/{{name}}.npy", np.asarray(trace.grad["h"]), allow_pickle=False)
"""


@built
def test_without_a_compiler_a_pass_gives_the_same(tmp_path: Path) -> None:
    found = []
    for hide in (0, 1):
        where = tmp_path / str(hide)
        where.mkdir()
        hidden = "sys.modules['gradlab.native._steps'] = None" * hide
        code = PASS.format(hidden=hidden, hide=hide, cells=CELLS)
        tests = Path(__file__).parents[1]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
        subprocess.run([sys.executable, "-c", code, str(where)], check=True, env=env)
        found.append({name: np.load(where / f"{name}.npy", allow_pickle=False) for name in CELLS})
    for name in CELLS:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-11, atol=1e-14, err_msg=name)


def test_the_check_says_which_formulas_run() -> None:
    done = subprocess.run([sys.executable, "-m", "gradlab", "check", "rnn"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"formulas run {compiled.describe()}\n")
