"""Long products of Jacobians against exact numbers: singular values, norms and bounds, also where P itself is noise."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import FAMILY, make, spread, states
from oracles.products import exact_log_singular_values, prescribed, product_of, rotations

import gradlab as gl
from gradlab.errors import InputError
from gradlab.jacobians import propagator as module
from gradlab.jacobians.lanczos import ALONE
from gradlab.jacobians.propagator import product_log_singular_values

Array = NDArray[Any]
#: What is asked of ln σ, absolutely: issue 3.
CLOSE = 1e-8
T, B, D, H = 12, 3, 2, 4
cases = pytest.mark.parametrize("name", FAMILY)


def a_trace(name: str, *, scale: float = 1.0, steps: int = T, lengths: Any = None, rng: int = 0) -> gl.Trace:
    cell = make(name, D, H, scale=scale, rng=rng)
    x = np.random.default_rng([rng, 6]).standard_normal((steps, B, D))
    return gl.trace(cell, x, state=states(cell, B), lengths=lengths)


def all_dense(trace: gl.Trace, b: int) -> Array:
    """Return the step Jacobians of sequence b, ``(T, S, S)``."""
    return np.stack([trace.jacobians.dense(t)[b] for t in range(1, trace.jacobians.shape[0] + 1)])


def log(values: Any) -> Array:
    """Return the natural logarithm, −inf of 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values))


def tied(size: int, steps: int) -> tuple[gl.Trace, Array]:
    """Return the trap of TRUTHS §2, a driven tanh network with the same weights at every step, and its Jacobians."""
    cell = gl.RNN.init(2, size, scale=1.5, rng=3)
    trace = gl.trace(cell, 0.3 * np.random.default_rng(0).standard_normal((steps, 1, 2)))
    return trace, all_dense(trace, 0)


def linear(W: Any, steps: int) -> gl.Trace:
    W = np.asarray(W, float)
    return gl.trace(gl.RNN(np.zeros((len(W), 1)), W, activation="identity"), np.zeros((steps, 1, 1)))


# --- singular values ------------------------------------------------------------------------------------


def assert_right_where_the_product_is_noise(size: int, steps: int, digits: int) -> None:
    trace, J = tied(size, steps)
    P = trace.propagator(0, steps)
    exact = exact_log_singular_values(J, digits)
    np.testing.assert_allclose(P.log_singular_values()[0], exact, rtol=0, atol=CLOSE)
    assert exact[0] - exact[-1] > 36.7
    mantissa, exponent = P._scaled
    naive = log(np.linalg.svd(mantissa[0], compute_uv=False)) + exponent[0] * np.log(2)
    np.testing.assert_allclose(naive[0], exact[0], atol=CLOSE)
    assert not abs(naive[-1] - exact[-1]) < 10.0  # the negative control: 100 nats off and more


@pytest.mark.parametrize(("size", "steps", "digits"), [(16, 60, 150), (8, 2000, 1800)])
def test_right_where_the_product_is_noise(size: int, steps: int, digits: int) -> None:
    """TRUTHS §2: once (λ_1 − λ_N) T > 36.7, the SVD of the product as such is rounding; ours is right to 1e-8."""
    assert_right_where_the_product_is_noise(size, steps, digits)


@pytest.mark.full
def test_right_where_the_product_is_noise_at_full_size() -> None:
    """N = 16, T = 2000: ln σ spans some 4600 nats, which takes 2100 digits."""
    assert_right_where_the_product_is_noise(16, 2000, 4000)


@pytest.mark.parametrize("scale", [1.0, 6.0])
@cases
def test_every_cell_and_its_transpose(name: str, scale: float) -> None:
    """Dead ReLUs included, whose σ are exact zeros: −inf."""
    trace = a_trace(name, scale=scale, steps=40)
    tape = trace.layers[0].tape
    logs = trace.propagator(0, 40).log_singular_values()
    assert logs.shape == (B, tape.cell.state_size)
    for b in range(B):
        exact = exact_log_singular_values(all_dense(trace, b), 1000)
        np.testing.assert_allclose(logs[b], exact, rtol=0, atol=CLOSE)
    assert np.isneginf(logs).any() == (name == "rnn-relu")
    if name != "rnn-relu":  # a zero row of J is a zero of R to the last bit, a zero column is not
        with np.errstate(divide="ignore"):
            transposed = product_log_singular_values(tape, 0, 40, transposed=True)
        # Jᵀ mixes its rows after the tiny slopes of saturated units were applied: digits are lost
        np.testing.assert_allclose(transposed, logs, rtol=0, atol=CLOSE if scale == 1.0 else 1e-6)


@pytest.mark.parametrize("angle", [1e-10, 1e-6, 0.01])
def test_a_product_that_undoes_itself_keeps_the_digits_that_its_parts_leave(angle: float) -> None:
    """30 steps diag(2, ½), a turn by a small angle, 30 steps diag(½, 2): the angle's own rounding, ε/angle, is all."""
    c, s = np.cos(angle), np.sin(angle)
    grow, turn = np.diag([2.0, 0.5]), np.array([[c, -s], [s, c]])
    J = np.array([*[grow] * 30, turn, *[np.linalg.inv(grow)] * 30])
    logs = product_of(J).propagator(0, 61).log_singular_values()[0]
    np.testing.assert_allclose(logs, exact_log_singular_values(J, 150), rtol=0, atol=10 * 2.2e-16 / angle)


GROUPS = np.repeat([0.1, -0.1, -1.0, -2.0], 2)
SPECTRA = {
    "spread": lambda T, rng: np.linspace(0.2, -2.3, 8) + 0.2 * rng.standard_normal((T, 8)),
    "equal": lambda T, rng: np.tile(GROUPS, (T, 1)),
    "clustered": lambda T, rng: GROUPS + 1e-10 * rng.standard_normal((T, 8)),
    "all-equal": lambda T, rng: np.full((T, 8), -0.3),
    "growing": lambda T, rng: np.linspace(3.0, 0.5, 8) + 0.2 * rng.standard_normal((T, 8)),
}


@pytest.mark.parametrize("steps", [60, 2000])
@pytest.mark.parametrize("kind", SPECTRA)
def test_prescribed_spectra(kind: str, steps: int, rng: np.random.Generator) -> None:
    """J_t = U_t diag(s_t) U_{t−1}ᵀ: the product has ln σ = Σ_t ln s_t, spread over up to 5000 nats."""
    logs = SPECTRA[kind](steps, rng)
    P = product_of(prescribed(logs, rng)).propagator(0, steps)
    np.testing.assert_allclose(P.log_singular_values()[0], -np.sort(-logs.sum(axis=0)), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_dropped_directions_are_exact_zeros(rank: int, rng: np.random.Generator) -> None:
    """A step that keeps ``rank`` of 4 units, as a dead ReLU does: as many σ are finite, the others −inf."""
    J = rng.standard_normal((30, 4, 4))
    J[17, rank:] = 0.0
    P = product_of(J).propagator(0, 30)
    logs = P.log_singular_values()[0]
    exact = exact_log_singular_values(J, 200) if rank else np.full(4, -np.inf)
    np.testing.assert_allclose(logs, exact, rtol=0, atol=CLOSE)
    np.testing.assert_array_equal(np.isneginf(logs), np.arange(4) >= rank)
    assert rank > 0 or (P.log_norm(2)[0], P.log_norm("fro")[0]) == (-np.inf, -np.inf)


@pytest.mark.parametrize("g", [0.5, 1.0, 1.7])
def test_scaled_orthogonal_keeps_condition_one(g: float) -> None:
    """E02, T = 1000: every singular value g^k to 1e-11 relative, condition number 1."""
    P = linear(g * gl.RNN.init(1, 6, recurrent="orthogonal", rng=2).W_hh, 1000).propagator(0, 1000)
    np.testing.assert_allclose(P.log_singular_values(), 1000 * np.log(g) * np.ones((1, 6)), rtol=1e-11, atol=1e-11)
    assert P.isometry.log_condition[0] < 1e-11


def test_diagonal_and_normal(rng: np.random.Generator) -> None:
    """E04: singular values |λ_i|^k, to 1e-12, over 2000 nats."""
    moduli = np.repeat([1.1, 0.7, 0.15], 2)
    angles = np.array([[np.cos(a), np.sin(a)] for a in (0.3, 1.0, 2.0)])
    blocks = np.zeros((6, 6))
    for i, (c, s) in enumerate(angles):
        blocks[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = moduli[2 * i] * np.array([[c, -s], [s, c]])
    Q = rotations(1, 6, rng)[0]
    for W in (np.diag(moduli), Q @ blocks @ Q.T):
        logs = linear(W, 1000).propagator(0, 1000).log_singular_values()[0]
        np.testing.assert_allclose(logs, 1000 * np.log(moduli), rtol=1e-12, atol=1e-11)


def test_leading_ones() -> None:
    P = a_trace("lstm").propagator(0, T)
    np.testing.assert_allclose(P.log_singular_values(3), P.log_singular_values()[:, :3], rtol=1e-12, atol=1e-12)


# --- the product itself and its norms -------------------------------------------------------------------


@cases
def test_dense_and_norms_are_those_of_the_product(name: str) -> None:
    trace = a_trace(name)
    for t0, t1 in ((0, T), (3, 9), (4, 5)):
        P = trace.propagator(t0, t1)
        for b in range(B):
            product = np.linalg.multi_dot([*all_dense(trace, b)[t0:t1][::-1], np.eye(P.tape.cell.state_size)])
            assert_normwise(P.dense()[b], product, 1e-12, "P", axis=None)
            for ord in (2, "fro"):
                wanted = log(np.linalg.norm(product, ord))
                np.testing.assert_allclose(P.log_norm(ord)[b], wanted, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(P.log_singular_values()[:, 0], P.log_norm(), atol=1e-10)


def test_isometry_of_a_short_product(rng: np.random.Generator) -> None:
    J = rng.standard_normal((3, 2, 4, 4))
    values = np.linalg.svd(J[2] @ J[1] @ J[0], compute_uv=False)
    found, logs = product_of(J).propagator(0, 3).isometry, np.log(values)
    squares = (values**2).sum(axis=-1)
    for have, want in zip(
        found,
        (
            logs.mean(axis=-1),
            logs.var(axis=-1),
            logs[:, 0] - logs[:, -1],
            squares**2 / (values**4).sum(axis=-1),
            squares / values[:, 0] ** 2,
        ),
        strict=True,
    ):
        np.testing.assert_allclose(have, want, rtol=1e-11)


def test_isometry_of_a_long_product(rng: np.random.Generator) -> None:
    """1500 nats up or down: nothing over- or underflows; two equal leading σ have participation ratio and rank 2."""
    for sign in (1.0, -1.0):
        logs = np.tile(sign * 1.5 - np.array([0.0, 0.0, 0.5, 1.0]), (1000, 1))
        found = product_of(prescribed(logs, rng)).propagator(0, 1000).isometry
        wanted = (1000 * logs[0].mean(), 1e6 * logs[0].var(), 1000.0, 2.0, 2.0)
        np.testing.assert_allclose([part[0] for part in found], wanted, rtol=1e-9)


def test_no_step_at_all_is_the_identity() -> None:
    P = a_trace("lstm").propagator(5, 5)
    S = 2 * H
    np.testing.assert_array_equal(P.dense(), np.broadcast_to(np.eye(S), (B, S, S)))
    np.testing.assert_allclose(P.log_singular_values(), np.zeros((B, S)), atol=1e-14)
    for found, wanted in zip(P.isometry, (0.0, 0.0, 0.0, S, S), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(np.array(P.bounds), 0.0, atol=1e-14)


@pytest.mark.parametrize("ord", [2, "fro"])
@cases
def test_norms_for_all_t_in_one_sweep(name: str, ord: Any) -> None:
    trace = a_trace(name)
    each = np.stack([trace.propagator(t, T).log_norm(ord) for t in range(T + 1)])
    np.testing.assert_allclose(trace.propagator_norms(ord), each, rtol=0, atol=1e-11)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = a_trace("lstm")
    whole = trace.propagator_norms(), trace.propagator(2, 11).log_singular_values(), trace.propagator(2, 11).dense()
    monkeypatch.setattr(module, "CACHED", 5 * B * (2 * H) ** 2)
    parts = trace.propagator_norms(), trace.propagator(2, 11).log_singular_values(), trace.propagator(2, 11).dense()
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


def test_each_sequence_from_its_own_end() -> None:
    """Beyond its end a sequence stands still: the propagator is the identity there, the sweep says nan."""
    ends = np.array([T, 5, 1])
    trace, full = a_trace("lstm", lengths=ends), a_trace("lstm")
    norms = trace.propagator_norms("fro")
    np.testing.assert_array_equal(np.isnan(norms), np.arange(T + 1)[:, None] > ends)
    for b, end in enumerate(ends):
        for t in (0, end // 2, end):
            until_end = full.propagator(t, int(end))
            np.testing.assert_allclose(norms[t, b], until_end.log_norm("fro")[b], atol=1e-12)
            P = trace.propagator(t, T)
            np.testing.assert_allclose(P.log_singular_values()[b], until_end.log_singular_values()[b], atol=1e-9)
            np.testing.assert_allclose(P.bounds.log_norm_product[b], until_end.bounds.log_norm_product[b], atol=1e-12)
    np.testing.assert_allclose(trace.propagator(6, T).log_norm(2)[1:], 0.0, atol=1e-14)


# --- three numbers that are not one ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seed"), spread(range(5)))
def test_the_product_of_the_norms_is_a_bound(name: str, seed: int) -> None:
    """E09 (Pascanu 2013) in its sharp form; for vanilla cells it lies below k ln(γ σ_max(W))."""
    trace = a_trace(name, scale=1.5, rng=seed)
    found = trace.propagator(0, T).bounds
    assert np.all(found.log_norm <= found.log_norm_product + 1e-10)
    np.testing.assert_allclose(found.log_norm, trace.propagator(0, T).log_norm(2), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.log_norm_product, log(trace.jacobians.norm(2)).sum(axis=0), rtol=1e-12)
    if name.startswith("rnn"):
        gain = 0.25 if name == "rnn-logistic" else 1.0
        sharpest = np.log(gain * np.linalg.norm(trace.layers[0].cell.W_hh, 2))
        assert np.all(found.log_norm_product <= T * sharpest + 1e-10)


@pytest.mark.parametrize(("steps", "norm"), [(1, 1.52956), (10, 3.90534), (50, 0.286414), (100, 2.95151e-3)])
def test_jordan_block_is_neither_radius_nor_norm(steps: int, norm: float) -> None:
    """E03: ‖W^T‖₂ lies strictly between .9^T and 1.53^T; the radius bounds it from below, and says nothing above."""
    found = linear([[0.9, 1.0], [0.0, 0.9]], steps).propagator(0, steps).bounds
    np.testing.assert_allclose(np.exp(found.log_norm[0]), norm, rtol=1e-5)
    np.testing.assert_allclose(found.log_spectral_radius[0], steps * np.log(0.9), rtol=1e-7)
    np.testing.assert_allclose(found.log_norm_product[0], steps * np.log(1.5295630), rtol=1e-6)


def test_the_spectral_radius_bounds_nothing() -> None:
    """Two nilpotent steps: radius 0, norm 1, again and again; rotated against each other, radius 1 and norm 0."""
    up, down = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    alive = product_of(np.array([up, down] * 5)).propagator(0, 10).bounds
    assert (alive.log_norm[0], alive.log_spectral_radius[0]) == (0.0, -np.inf)
    dead = product_of(np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])])).propagator(0, 2).bounds
    assert (dead.log_norm[0], dead.log_norm_product[0], dead.log_spectral_radius[0]) == (-np.inf, 0.0, 0.0)


def test_steps_that_are_not_finite_are_nan() -> None:
    """Weights of 1e308: nan, in place of LAPACK's complaint or of a number; nobody is warned."""
    W = np.array([[1e308, 1e308], [-1e308, 1e308]])
    cell = gl.GRU(np.ones((6, 1)), np.tile(W, (3, 1)), reset="after")
    trace = gl.trace(cell, np.ones((4, 1, 1)), state=np.ones((1, 2)))
    P = trace.propagator(0, 4)
    assert not np.isfinite(trace.jacobians.dense(1)).all()
    assert np.isnan([P.log_norm(2), P.log_norm("fro"), *P.bounds]).all()
    assert np.isnan(P.log_singular_values()).all()
    assert np.isnan(trace.propagator_norms()[0]).all()


# --- memory, bad questions ------------------------------------------------------------------------------


def test_no_array_of_all_jacobians_is_ever_built() -> None:
    """T 1000, B 8, S 64: T·B·S² float64 would be 262 MB; each core holds a chunk of 1 MiB, 4 without a compiler."""
    trace = gl.trace(gl.LSTM.init(2, 32, rng=0), np.zeros((1000, 8, 2)))
    tracemalloc.start()
    try:
        trace.propagator_norms("fro")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1000 * 8 * 64**2 * 8 / (10 if ALONE else 5)


def test_bad_questions() -> None:
    trace = a_trace("lstm")
    for t0, t1 in ((-1, 3), (5, 4), (0, T + 1)):
        with pytest.raises(InputError, match=f"needs 0 ≤ t0 ≤ t1 ≤ T = {T}, got t0 {t0}, t1 {t1}"):
            trace.propagator(t0, t1)
    P = trace.propagator(0, T)
    for k in (0, 2 * H + 1):
        with pytest.raises(InputError, match=f"k must be 1 … S = {2 * H}, got {k}"):
            P.log_singular_values(k)
    for ask in (P.log_norm, trace.propagator_norms):
        with pytest.raises(InputError, match='unknown norm "frob"; did you mean "fro"'):
            ask("frob")
    assert repr(P).startswith(f"Propagator: ∂s_{T}/∂s_0 of LSTM(")
