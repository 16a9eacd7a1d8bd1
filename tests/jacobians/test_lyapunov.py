"""Lyapunov spectra against closed forms, sum rules, random-matrix theory and mean field (TRUTHS E04, E10, E16-E23)."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.family import FAMILY, make, states
from oracles.products import product_of, rotations

import gradlab as gl
from gradlab.errors import InputError
from gradlab.jacobians import lyapunov
from gradlab.jacobians.lyapunov import _frame, entropy, gram_schmidt, kaplan_yorke

Array = NDArray[Any]
T, B, D, H = 60, 2, 2, 6
cases = pytest.mark.parametrize("name", FAMILY)
#: A dead ReLU's determinant is 0.
alive = pytest.mark.parametrize("name", [name for name in FAMILY if name != "rnn-relu"])


def a_trace(name: str, *, scale: float = 1.0, steps: int = T, batch: int = B, lengths: Any = None) -> gl.Trace:
    cell = make(name, D, H, scale=scale)
    x = np.random.default_rng(1).standard_normal((steps, batch, D))
    return gl.trace(cell, x, state=states(cell, batch), lengths=lengths)


def everything(trace: gl.Trace, **options: Any) -> Any:
    return trace.spectrum(trace.layers[0].cell.state_size, **options)


def linear(W: Any, steps: int) -> gl.Trace:
    W = np.asarray(W, float)
    return gl.trace(gl.RNN(np.zeros((len(W), 1)), W, activation="identity"), np.zeros((steps, 1, 1)))


def kicked(size: int, scale: float, steps: int, seed: int) -> gl.Trace:
    """Return a tanh network that runs by itself from a random state."""
    cell = gl.RNN.init(1, size, scale=scale, rng=seed)
    start = np.random.default_rng([seed, 9]).standard_normal((1, size))
    return gl.trace(cell, np.zeros((steps, 1, 1)), state=start)


def driven(size: int, scale: float, noise: float, steps: int, seed: int, **options: str) -> gl.Trace:
    """Return a network whose pre-activations receive i.i.d. Gaussian noise of variance ``noise``."""
    W = gl.RNN.init(1, size, scale=scale, rng=seed).W_hh
    cell = gl.RNN(np.sqrt(noise) * np.eye(size), W, **options)
    return gl.trace(cell, np.random.default_rng([seed, 3]).standard_normal((steps, 1, size)))


# --- the sum rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 4.0, 6.0])
@alive
def test_sum_rule(name: str, scale: float) -> None:
    """E16: Σ λ_i = mean_t ln|det J_t|, of every sequence, saturated or not, over any window, to 1e-9."""
    trace = a_trace(name, scale=scale)
    for warmup in (0, 25):
        wanted = trace.jacobians.log_abs_det()[warmup:].mean(axis=0)
        found = everything(trace, warmup=warmup)
        np.testing.assert_allclose(found.per_sequence.sum(axis=1), wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.exponents.sum(), wanted.mean(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scale", "allowed"), [(1.0, 1e-9), (4.0, 1e-8), (6.0, 1e-3)])
@alive
def test_sum_rule_backward(name: str, scale: float, allowed: float) -> None:
    """The adjoint's sum is the same; at scale 6 only to 1e-3: Jᵀ mixes rows after tiny slopes, which loses digits.

    Forward a saturated unit is a tiny row, and QR with large rows first keeps its digits; backward it is a small part
    of every row. Other cells than the tanh RNN stay within 1e-9 all the same.
    """
    trace = a_trace(name, scale=scale)
    wanted = trace.jacobians.log_abs_det().mean()
    limit = allowed if name == "rnn-tanh" else 1e-9
    np.testing.assert_allclose(everything(trace, adjoint=True).exponents.sum(), wanted, rtol=0, atol=limit)


def test_sum_rule_of_living_relus() -> None:
    """Where no unit dies, ln|det J| = ln|det W| at every step."""
    W = np.abs(gl.RNN.init(1, H, rng=4).W_hh)
    trace = gl.trace(gl.RNN(np.ones((H, 1)), W, activation="relu"), np.ones((T, 1, 1)))
    for adjoint in (False, True):
        found = everything(trace, adjoint=adjoint).exponents.sum()
        np.testing.assert_allclose(found, np.linalg.slogdet(W)[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_forward_and_backward_meet_in_the_limit(name: str) -> None:
    """Equal in their sum at every T; each exponent differs by O(1/T)."""
    apart = {}
    for steps in (50, 2000):
        trace = a_trace(name, steps=steps)
        forward, backward = everything(trace), everything(trace, adjoint=True)
        np.testing.assert_allclose(forward.exponents.sum(), backward.exponents.sum(), rtol=0, atol=1e-9)
        apart[steps] = np.abs(forward.exponents - backward.exponents).max()
    assert apart[50] > 1e-3
    assert apart[2000] < apart[50] / 5


# --- known exponents ------------------------------------------------------------------------------------


def test_diagonal_and_normal_have_no_finite_time_bias(rng: np.random.Generator) -> None:
    """E04: ln|λ_i| to 1e-12 once the tangents are aligned, over 50 steps as over 1000."""
    moduli = np.repeat([1.1, 0.7, 0.2], 2)
    blocks = np.zeros((6, 6))
    for i, a in enumerate((0.3, 1.0, 2.0)):
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        blocks[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = moduli[2 * i] * turn
    Q = rotations(1, 6, rng)[0]
    for W in (np.diag(moduli), Q @ blocks @ Q.T):
        for steps in (50, 1000):
            found = linear(W, 200 + steps).spectrum(6, warmup=200)
            np.testing.assert_allclose(found.exponents, np.log(moduli), rtol=0, atol=1e-12)


def test_relu_shifts_by_ln_g(rng: np.random.Generator) -> None:
    """E10: no bias, no input: λ(g) = λ(1) + ln g for one seed, to 1e-12."""
    W, start = gl.RNN.init(1, 64, rng=1).W_hh, np.abs(rng.standard_normal((1, 64)))
    found = {}
    for g in (1.0, 1.7):
        cell = gl.RNN(np.zeros((64, 1)), g * W, activation="relu")
        found[g] = gl.trace(cell, np.zeros((200, 1, 1)), state=start).spectrum(1, warmup=20).exponents
    np.testing.assert_allclose(found[1.7], found[1.0] + np.log(1.7), rtol=0, atol=1e-12)


def test_newmans_exponents(rng: np.random.Generator) -> None:
    """E17: all exponents of a product of Gaussian matrices, |z| < 4.5 each, forward and backward."""
    N, steps, batch = 8, 400, 20
    trace = product_of(rng.standard_normal((steps, batch, N, N)) / np.sqrt(N))
    theory = gl.theory.newman_exponents(N)
    exact_error = np.sqrt(theory.step_variance / (steps * batch))
    for adjoint in (False, True):
        found = trace.spectrum(N, adjoint=adjoint)
        assert np.abs((found.exponents - theory.exponents) / exact_error).max() < 4.5
        ratio = found.stderr / exact_error
        assert np.all((ratio > 0.5) & (ratio < 2.0))


def test_growth_of_a_fixed_vector(rng: np.random.Generator) -> None:
    """E18: mean and variance of ln‖Pv‖² are Newman's, 4 s.e.; the mean of the norms themselves is another number."""
    N, steps, batch = 6, 30, 4000
    trace = product_of(rng.standard_normal((steps, batch, N, N)) / np.sqrt(N))
    theory = gl.theory.gaussian_growth(N, steps)
    squares = 2.0 * steps * trace.spectrum(1).per_sequence[:, 0]
    error = np.sqrt(theory.variance_log_square / batch)
    assert abs(squares.mean() - theory.mean_log_square) < 4.0 * error
    assert abs(squares.var(ddof=1) / theory.variance_log_square - 1.0) < 4.0 * np.sqrt(2.0 / batch) * 1.2
    assert abs(theory.log_mean_square - theory.mean_log_square) > 20.0 * error


def test_qr_diagonals_are_not_singular_values(rng: np.random.Generator) -> None:
    """Negative control (TRUTHS §2): at finite T the exponents are not ln σ/T; they are in the limit."""
    apart = {}
    for steps in (10, 1000):
        trace = product_of(rng.standard_normal((steps, 8, 8)) / np.sqrt(8))
        logs = trace.propagator(0, steps).log_singular_values()[0] / steps
        apart[steps] = np.abs(trace.spectrum(8).exponents - logs).max()
        np.testing.assert_allclose(trace.spectrum(8).exponents.sum(), logs.sum(), rtol=0, atol=1e-9)
    assert apart[10] > 0.05
    assert apart[1000] < 0.01


# --- random networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2.0, 3.0, 4.0])
def test_autonomous_chaos(scale: float) -> None:
    """E20: x_t = W tanh(x_{t−1}), N = 256: λ₁ within .01 of the shifted mean-field value, 8 seeds."""
    theory = gl.theory.mean_field("tanh", scale=scale, size=256)
    found = [kicked(256, scale, 1000, seed).spectrum(1, warmup=200).exponents[0] for seed in range(8)]
    assert abs(np.mean(found) - theory.rate - theory.shift) < 0.01


def test_autonomous_decay() -> None:
    """E20, g < 1: the state dies out, and the exponents are ln|λ_i(W)|, complex pairs to 1/T."""
    trace = kicked(12, 0.8, 4000, 0)
    moduli = np.abs(np.linalg.eigvals(trace.layers[0].cell.W_hh))
    found = trace.spectrum(12, warmup=1000)
    np.testing.assert_allclose(found.exponents, -np.sort(-np.log(moduli)), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("scale", "noise", "chi"), [(1.5, 0.1, 1.053798), (3.0, 1.0, 1.710920)])
def test_driven_network(scale: float, noise: float, chi: float) -> None:
    """E21: λ₁ = ½ ln χ within .01, N = 512, mean of 4 seeds."""
    found = [driven(512, scale, noise, 600, seed).spectrum(1, warmup=100).exponents[0] for seed in range(4)]
    assert abs(np.mean(found) - 0.5 * np.log(chi)) < 0.01


@pytest.mark.parametrize("steps", [2, 4, 6])
def test_mean_square_growth_with_tied_weights(steps: int) -> None:
    """E22: E‖P‖_F²/N = χ^k for k ≪ √N, within 30 % at 4 seeds, N = 256."""
    chi = gl.theory.mean_field("tanh", scale=1.5, input_var=0.1).chi
    traces = (driven(256, 1.5, 0.1, 30 + steps, seed) for seed in range(4))
    squares = [np.exp(2.0 * trace.propagator(30, 30 + steps).log_norm("fro")[0]) / 256 for trace in traces]
    assert abs(np.mean(squares) / chi**steps - 1.0) < 0.3


@pytest.mark.parametrize("scale", [1.2, np.sqrt(2.0), 1.7])
def test_relu_network(scale: float) -> None:
    """E23: χ = g²/2, edge at √2, to N^−½ = .0625 at N = 256, mean of 4 seeds."""
    found = [driven(256, scale, 0.01, 200, seed, activation="relu").spectrum(1, warmup=50) for seed in range(4)]
    assert abs(np.mean([one.exponents[0] for one in found]) - np.log(scale / np.sqrt(2.0))) < 256**-0.5


# --- what the method may and may not change -------------------------------------------------------------


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-before-replace"])
def test_the_leading_ones_are_the_first_of_all(name: str) -> None:
    """Once the tangents are aligned."""
    trace = a_trace(name, steps=400)
    whole = everything(trace, warmup=200).exponents
    for k in (1, 2, 4):
        found = trace.spectrum(k, warmup=200)
        assert found.exponents.shape == found.stderr.shape == (k,)
        np.testing.assert_allclose(found.exponents, whole[:k], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 6.0])
@alive
def test_intervals_change_nothing(name: str, scale: float) -> None:
    """A QR after every step, or where growth asks for it: the same to 1e-10."""
    trace = a_trace(name, scale=scale)
    often, seldom = everything(trace, every=1), everything(trace)
    assert often.intervals == (1, 1)
    np.testing.assert_allclose(often.per_sequence, seldom.per_sequence, rtol=0, atol=1e-10)


def test_intervals_follow_the_growth() -> None:
    """Mild growth: long intervals; wild growth: a QR at every step; fixed where it is asked for."""
    mild = linear(0.9 * gl.RNN.init(1, H, recurrent="orthogonal", rng=2).W_hh, 500)
    longer = linear(0.9 * gl.RNN.init(1, H, recurrent="orthogonal", rng=2).W_hh, 4000)
    wild = linear(np.diag([1e9, 1.0, 1e-9]), 50)
    steep = linear(np.diag([1e200, 1e-200]), 50)
    assert mild.spectrum(H).intervals == (1, 12)  # 500 // 40: enough QRs for the standard errors
    assert longer.spectrum(H).intervals == (1, 64)
    assert mild.spectrum(H, every=7).intervals == (3, 7)  # 500 = 71·7 + 3
    assert wild.spectrum(3).intervals == (1, 1)
    np.testing.assert_allclose(wild.spectrum(3, warmup=10).exponents, np.log([1e9, 1.0, 1e-9]), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(steep.spectrum(2, warmup=10).exponents, np.log([1e200, 1e-200]), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "every"), [("float64", 50), ("float64", 400), ("float32", 20)])
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_an_interval_that_loses_the_small_exponents_is_refused(name: str, dtype: str, every: int) -> None:
    """Rounding is not reported as an exponent; the leading one rests on one tangent, which no other can hide."""
    cell = make(name, D, H, dtype=dtype)
    trace = gl.trace(cell, np.random.default_rng(1).standard_normal((400, B, D)).astype(dtype))
    with pytest.raises(InputError, match=f"every={every} is too long: the tangents drift .* give fewer steps"):
        everything(trace, every=every)
    np.testing.assert_allclose(trace.spectrum(1, every=every).exponents, trace.spectrum(1).exponents, rtol=1e-4)


def test_a_fixed_interval_over_dead_units_is_not_refused_for_their_zeros() -> None:
    """An exact zero, −inf, is no drift."""
    W = np.diag([0.5, 0.6, 0.7])
    x = np.ones((40, 1, 3))
    x[20, 0, 0] = -1e9
    found = gl.trace(gl.RNN(np.eye(3), W, activation="relu"), x).spectrum(3, warmup=10, every=4).exponents
    np.testing.assert_allclose(found[:2], np.log([0.7, 0.6]), rtol=0, atol=0.02)
    assert found[2] == -np.inf


def test_growth_beyond_any_floats_range() -> None:
    """A thousand steps of e^±300 are ±300 nats a step; of e^±46, no sixteen go together into a subnormal number."""
    for size in (1e130, 1e-130, 1e20, 1e-20):
        for every in (None, 1, 2):
            found = linear(size * np.eye(2), 1000).spectrum(2, every=every)
            np.testing.assert_allclose(found.exponents, np.log(size), rtol=1e-13)


def test_history_leads_to_the_exponents() -> None:
    trace = a_trace("lstm", steps=300)
    found = trace.spectrum(4, warmup=50)
    np.testing.assert_array_equal(found.history[-1], found.exponents)
    assert found.history.shape == (len(found.history_steps), 4)
    assert found.history_steps[-1] == 250
    assert found.history_steps[0] >= 1
    middle = len(found.history) // 2
    steps = found.history_steps[middle]
    shorter = gl.trace(trace.layers[0].cell, trace.layers[0].tape.x[: 50 + steps].swapaxes(1, 2), state=trace_start())
    np.testing.assert_allclose(shorter.spectrum(4, warmup=50).exponents, found.history[middle], rtol=0, atol=1e-9)


def trace_start() -> dict[str, Array]:
    return states(make("lstm", D, H), B)


def test_standard_errors_are_the_scatter() -> None:
    """Blocks in time against the scatter over 32 independent drives of one network: within a factor of 2."""
    cell = gl.RNN(np.eye(16), gl.RNN.init(1, 16, scale=1.5, rng=1).W_hh)
    x = 0.5 * np.random.default_rng(0).standard_normal((1000, 32, 16))
    found = gl.trace(cell, x).spectrum(4, warmup=50)
    scatter = found.per_sequence.std(axis=0, ddof=1) / np.sqrt(32)
    assert np.all((found.stderr > scatter / 2) & (found.stderr < scatter * 2))
    assert np.isnan(gl.trace(cell, x[:20]).spectrum(4).stderr).all()


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("k", [1, 3])
def test_forty_steps_are_enough_for_standard_errors_however_mild_the_growth(name: str, k: int) -> None:
    """Long intervals between QRs must not leave too few of them for the blocks: not of one tangent, nor of three."""
    for steps, known in ((39, False), (40, True), (400, True)):
        found = a_trace(name, steps=steps + 5).spectrum(k, warmup=5)
        finite = np.isfinite(found.exponents)
        assert (np.isfinite(found.stderr[finite]) == known).all()


def test_float32_runs_as_float32() -> None:
    cell = make("rnn-tanh", D, H, dtype="float32")
    x = np.random.default_rng(1).standard_normal((T, B, D)).astype("float32")
    trace = gl.trace(cell, x)
    np.testing.assert_allclose(
        everything(trace, every=1).exponents.sum(), trace.jacobians.log_abs_det().mean(), atol=1e-3
    )


# --- sequences of their own length ----------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_each_sequence_has_its_own_end(name: str, adjoint: bool) -> None:
    ends = np.array([60, 31, 7])
    trace = a_trace(name, batch=3, lengths=ends)
    found = everything(trace, adjoint=adjoint)
    sums = np.nansum(trace.jacobians.log_abs_det(), axis=0) / ends
    np.testing.assert_allclose(found.per_sequence.sum(axis=1), sums, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.exponents, found.per_sequence.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.history[-1], found.exponents, rtol=1e-14)


def test_a_sequence_within_the_warm_up_says_nothing() -> None:
    """Its exponents are nan, not 0/0 of rounding; the others' mean is what it is without it."""
    ends = [60, 31, 7]
    found = a_trace("lstm", batch=3, lengths=ends).spectrum(3, warmup=10)
    assert np.isnan(found.per_sequence).tolist() == [[False] * 3, [False] * 3, [True] * 3]
    np.testing.assert_allclose(found.exponents, found.per_sequence[:2].mean(axis=0), rtol=1e-14)
    with pytest.raises(InputError, match="warmup must leave at least one of the 31 steps, got 31"):
        a_trace("lstm", batch=3, lengths=[31, 31, 7]).spectrum(3, warmup=31)


def test_standard_errors_of_unequal_lengths() -> None:
    """A sequence that has ended adds no steps: the errors are those of the others, not of standing still."""
    cell = gl.RNN(np.eye(8), gl.RNN.init(1, 8, scale=1.5, rng=1).W_hh)
    x = np.random.default_rng(0).standard_normal((1000, 20, 8))
    whole = gl.trace(cell, x).spectrum(2, warmup=50).stderr
    half = gl.trace(cell, x, lengths=[1000] * 10 + [500] * 10).spectrum(2, warmup=50).stderr
    assert np.all((half > whole) & (half < 3.0 * whole))


# --- frames -------------------------------------------------------------------------------------------


def exact_logs(columns: Array) -> Array:
    """Return ln R_ii by Gram's matrix and its elimination in 60 digits."""
    with localcontext(prec=60):
        rows = [[Decimal(float(one)) for one in row] for row in columns]
        turned = list(zip(*rows, strict=True))
        gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in turned] for x in turned]
        for k in range(len(gram)):
            for i in range(k + 1, len(gram)):
                part = gram[i][k] / gram[k][k]
                gram[i] = [a - part * b for a, b in zip(gram[i], gram[k], strict=True)]
        return np.array([float(gram[k][k].ln() / 2) for k in range(len(gram))])


@pytest.mark.parametrize("digits", [0, 3, 6])
def test_tiny_rows_keep_their_digits(digits: int) -> None:
    """Without sorting: Gram-Schmidt's R errs by (κ·eps)², with κ up to 10^6 here."""
    rng = np.random.default_rng(5)
    columns = rng.standard_normal((8, 8)) * 10.0 ** -rng.permutation(np.linspace(0, digits, 8))[:, None]
    Q, R, lost = gram_schmidt(columns[..., None])
    np.testing.assert_allclose(np.log(R[:, 0]), exact_logs(columns), rtol=0, atol=1e-12)
    off = Q[..., 0].T @ Q[..., 0] - np.eye(8)
    assert np.abs(off).max() < 10 * np.finfo(float).eps * np.sqrt(lost[0])


@pytest.mark.parametrize("digits", [9, 12])
def test_a_frame_that_would_not_be_orthogonal_is_householders(digits: int) -> None:
    rng = np.random.default_rng(5)
    columns = rng.standard_normal((8, 8)) * 10.0 ** -rng.permutation(np.linspace(0, digits, 8))[:, None]
    Q, logs = _frame(columns[..., None])
    np.testing.assert_allclose(logs[0], exact_logs(columns), rtol=0, atol=1e-12)
    np.testing.assert_allclose(Q[..., 0].T @ Q[..., 0], np.eye(8), rtol=0, atol=1e-14)


# --- singular steps, numbers made of exponents ----------------------------------------------------------


def test_dead_units_are_minus_infinity() -> None:
    """A ReLU that dies once: one direction is gone, and says so; the sequence beside it is what it was."""
    W = np.abs(gl.RNN.init(1, 3, rng=0).W_hh)
    x = np.ones((50, 2, 3))
    x[20, 1, 0] = -1e9
    found = gl.trace(gl.RNN(np.eye(3), 0.5 * W, activation="relu"), x).spectrum(3)
    assert np.isfinite(found.per_sequence[0]).all()
    assert np.isfinite(found.per_sequence[1, :2]).all()
    assert found.per_sequence[1, 2] == found.exponents[2] == -np.inf
    assert np.isfinite(found.exponents[:2]).all()
    x[20, 1] = -1e9
    gone = gl.trace(gl.RNN(np.eye(3), 0.5 * W, activation="relu"), x).spectrum(3)
    assert np.isneginf(gone.per_sequence[1]).all()
    assert not np.isnan(gone.exponents).any()


def test_weights_beyond_all_reason_are_nan() -> None:
    cell = gl.RNN(np.ones((2, 1)), np.array([[1.7e308, 1.7e308], [-1.7e308, 1.7e308]]), activation="relu")
    found = gl.trace(cell, np.ones((4, 1, 1)), state=np.ones((1, 2))).spectrum(2)
    assert np.isnan([*found.exponents, found.kaplan_yorke, found.entropy]).all()


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([0.5, -1.0], 1.5),
        ([1.0, 0.0, -2.0], 2.5),
        ([0.3, 0.1, -0.2, -0.4], 3.5),
        ([-0.1, -0.2], 0.0),
        ([0.5, 0.4], np.nan),  # the sum has not turned negative within the k known
        ([0.5, -np.inf], 1.0),
        ([0.5, np.nan], np.nan),
        ([-1.0, 0.5], 1.5),  # sorted first
    ],
)
def test_kaplan_yorke(exponents: list[float], dimension: float) -> None:
    np.testing.assert_allclose(kaplan_yorke(np.array(exponents)), dimension, rtol=1e-14)


@pytest.mark.parametrize(
    ("exponents", "size", "rate"),
    [
        ([0.5, 0.25, -1.0], 3, 0.75),
        ([0.5, 0.25, -1.0], 9, 0.75),  # none of those unknown is positive
        ([0.5, 0.25], 2, 0.75),
        ([0.5, 0.25], 9, np.nan),
        ([-0.5, -1.0], 2, 0.0),
        ([0.5, np.nan], 2, np.nan),
    ],
)
def test_entropy(exponents: list[float], size: int, rate: float) -> None:
    np.testing.assert_allclose(entropy(np.array(exponents), size), rate, rtol=1e-14)


def test_dimension_and_entropy_of_a_spectrum() -> None:
    found = linear(np.diag([np.exp(0.5), 1.0, np.exp(-2.0)]), 300).spectrum(3, warmup=100)
    np.testing.assert_allclose([found.kaplan_yorke, found.entropy], [2.25, 0.5], rtol=1e-10)


# --- memory, bad questions ------------------------------------------------------------------------------


def test_no_array_of_all_jacobians_is_ever_built() -> None:
    """T 500, B 8, S 128: T·B·S² float64 would be 524 MB; eight tangents take next to nothing."""
    trace = gl.trace(gl.LSTM.init(2, 64, rng=0), np.zeros((500, 8, 2)))
    tracemalloc.start()
    try:
        trace.spectrum(8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500 * 8 * 128**2 * 8 / 100


def test_bad_questions() -> None:
    trace = a_trace("lstm")
    with pytest.raises(InputError, match=f"k must be 1 … S = {2 * H}, got {2 * H + 1}"):
        trace.spectrum(2 * H + 1)
    with pytest.raises(InputError, match="k must be"):
        trace.spectrum(0)
    for warmup in (-1, T):
        with pytest.raises(InputError, match=f"warmup must leave at least one of the {T} steps, got {warmup}"):
            trace.spectrum(2, warmup=warmup)
    with pytest.raises(InputError, match="every must be"):
        trace.spectrum(2, every=0)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("name", FAMILY)
def test_tangents_may_lie_one_after_the_other_or_side_by_side(
    monkeypatch: pytest.MonkeyPatch, name: str, adjoint: bool
) -> None:
    x, lengths = np.random.default_rng(5).normal(size=(90, 16, 3)), np.arange(75, 91)
    found = []
    for alone in (16, 17):
        monkeypatch.setattr(lyapunov, "ALONE", alone)
        trace = gl.trace(make(name, 3, 6), x, lengths=lengths)
        found.append(trace.spectrum(3, adjoint=adjoint).per_sequence)
    np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-12)
