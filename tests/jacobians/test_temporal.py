"""Who teaches whom, truncation and paths: against one trace a loss step, explicit propagators, passes cut by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import derivatives
from oracles.compare import assert_normwise
from oracles.family import ADDITIVE, FAMILY, bias_names, make, recurrent_names, states
from oracles.products import product_of

import gradlab as gl
from gradlab.errors import InputError
from gradlab.jacobians.sensitivity import sensitivity

Array = NDArray[Any]
sensitivity_module = import_module(sensitivity.__module__)
T, B, D, H = 10, 3, 2, 4
ENDS = np.array([10, 6, 1])
cases = pytest.mark.parametrize("name", FAMILY)
ends = pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])


def inputs(seed: int = 6) -> tuple[Array, Array]:
    """Return x ``(T, B, D)`` and what reads the states, v ``(T, B, H)``."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H))


def a_trace(name: str, v: Any, *, scale: float = 1.0, lengths: Any = None) -> gl.Trace:
    cell = make(name, D, H, scale=scale)
    return gl.trace(cell, inputs()[0], gl.projection(v), state=states(cell, B), lengths=lengths)


def only(v: Array, t: int) -> Array:
    """Return ``v`` at step t, 0 elsewhere."""
    alone = np.zeros_like(v)
    alone[t - 1] = v[t - 1]
    return alone


# --- every loss step against every state ----------------------------------------------------------------


@ends
@cases
def test_temporal_is_one_trace_a_loss_step(name: str, lengths: Any) -> None:
    """Row t: ln‖∂L_t/∂s_s‖ of a pass whose loss reads step t alone."""
    v = inputs()[1]
    found = a_trace(name, v, lengths=lengths).temporal()
    assert found.shape == (T, T + 1, B)
    beyond = np.arange(T + 1)[:, None] > (T if lengths is None else lengths)
    for t in range(1, T + 1):
        alone = a_trace(name, only(v, t), lengths=lengths).log_norm("adjoint")
        wanted = np.where(beyond | beyond[t], np.nan, alone)
        np.testing.assert_allclose(found[t - 1], wanted, rtol=1e-12, atol=1e-12)
    assert np.isneginf(found[2, 4:, 0]).all()


def test_temporal_of_a_mean_and_of_some_steps() -> None:
    """A mean over n steps gives each 1/n of what it would say alone; a step that is not read says nothing."""
    cell, x = make("lstm", D, H), inputs()[0]
    targets = np.zeros((3, B, H))
    found = gl.trace(cell, x, gl.mse(targets, at=[2, 5, 9])).temporal()
    for t in range(1, T + 1):
        if t in (2, 5, 9):
            alone = gl.trace(cell, x, gl.mse(targets[:1], at=[t])).log_norm("adjoint")
            np.testing.assert_allclose(found[t - 1], alone - np.log(3), rtol=1e-12)
        else:
            assert np.isneginf(found[t - 1]).all()


def test_temporal_of_a_layer_below_others() -> None:
    """L_t stands for what arrives at h_t from above."""
    x = inputs()[0]
    lower = make("gru-before-replace", D, H)
    network = gl.Network([lower, make("lstm", H, 3)])
    trace = gl.trace(network, x, gl.projection(np.ones((B, 3))))
    arriving = np.asarray(trace.layers[0].direct["h"])[1:]
    alone = gl.trace(lower, x, gl.projection(arriving))
    np.testing.assert_allclose(trace.layers[0].temporal(), alone.temporal(), rtol=1e-12, atol=1e-12)


def test_temporal_over_two_thousand_nats() -> None:
    """h_t = w h_{t−1}: ln‖∂L_t/∂s_s‖ = (t − s) ln w, far below any float."""
    steps, w = 400, 1e-3
    cell = gl.RNN(np.ones((1, 1)), np.array([[w]]), activation="identity")
    found = gl.trace(cell, np.zeros((steps, 1, 1)), gl.projection(np.ones((steps, 1, 1)))).temporal()[..., 0]
    t, s = np.arange(1, steps + 1)[:, None], np.arange(steps + 1)
    np.testing.assert_allclose(found, np.where(s <= t, (t - s) * np.log(w), -np.inf), rtol=1e-12)


def test_temporal_below_a_layer_that_forgets() -> None:
    """What arrives from above is (1e-3)^(T − t), each on an exponent of its own, and decays further by .5 a step."""
    steps = 200
    lower, upper = (gl.RNN(np.ones((1, 1)), np.array([[w]]), activation="identity") for w in (0.5, 1e-3))
    trace = gl.trace(gl.Network([lower, upper]), np.zeros((steps, 1, 1)), gl.projection(np.ones((1, 1))))
    t, s = np.arange(1, steps + 1)[:, None], np.arange(steps + 1)
    wanted = np.where(s <= t, (steps - t) * np.log(1e-3) + (t - s) * np.log(0.5), -np.inf)
    np.testing.assert_allclose(trace.layers[0].temporal()[..., 0], wanted, rtol=1e-11)


# --- every state against every state --------------------------------------------------------------------


@ends
@cases
def test_sensitivity_is_every_propagators_norm(name: str, lengths: Any) -> None:
    trace = a_trace(name, inputs()[1], lengths=lengths)
    found = trace.sensitivity()
    last = np.full(B, T) if lengths is None else lengths
    for t, s in np.ndindex(T + 1, T + 1):
        wanted = trace.propagator(s, t).log_norm("fro") if s <= t else np.full(B, -np.inf)
        wanted = np.where(np.maximum(s, t) > last, np.nan, wanted)
        np.testing.assert_allclose(found.log_norm[t, s], wanted, rtol=0, atol=1e-11, err_msg=f"t {t}, s {s}")
    assert found.probes == 0
    assert not found.stderr.any()


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_probes_within_their_error(name: str) -> None:
    """Within 4.5 stated standard errors of the exact norm, on eight seeds; and the errors are neither too large."""
    trace = a_trace(name, inputs()[1])
    exact, tape = trace.sensitivity().log_norm, trace.layers[0].tape
    known = np.isfinite(exact)
    scores = []
    for seed in range(8):
        found = sensitivity(tape, 400, rng=seed)
        np.testing.assert_array_equal(np.isneginf(found.log_norm), np.isneginf(exact))
        scores.append((found.log_norm[known] - exact[known]) / found.stderr[known])
    assert np.abs(scores).max() < 4.5
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.5
    assert found.probes == 400
    assert np.all(found.stderr[known] <= 1.3 * np.sqrt(1 / 800))  # the worst case, one direction only


def test_sensitivity_is_exact_where_it_fits_and_from_probes_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question, less room: as many probes as fit, never too few, and the answer says so; 0 insists."""
    trace = a_trace("lstm", inputs()[1])
    exact, one_probe = trace.sensitivity(), (T + 1) * 2 * H * B
    assert exact.probes == 0
    for room, probes in ((2 * H * one_probe, 0), (2 * H * one_probe - 1, 32), (one_probe, 32)):
        monkeypatch.setattr(sensitivity_module, "ROOM", room)
        found = trace.sensitivity()
        assert found.probes == probes
        assert found.stderr.any() == (probes > 0)
        np.testing.assert_array_equal(trace.sensitivity(0).log_norm, exact.log_norm)
    monkeypatch.setattr(sensitivity_module, "FEWEST_PROBES", 2)
    monkeypatch.setattr(sensitivity_module, "ROOM", 6 * one_probe)
    assert trace.sensitivity().probes == 6


def test_sensitivity_of_long_products() -> None:
    """1000 nats: exact and from probes."""
    cell = gl.RNN(np.zeros((2, 1)), 1e-2 * np.eye(2), activation="identity")
    trace = gl.trace(cell, np.zeros((250, 1, 1)))
    wanted = 250 * np.log(1e-2) + 0.5 * np.log(2)
    np.testing.assert_allclose(trace.sensitivity().log_norm[250, 0, 0], wanted, rtol=1e-12)
    found = trace.sensitivity(100)
    assert abs(found.log_norm[250, 0, 0] - wanted) < 4.5 * found.stderr[250, 0, 0] < 1.0


# --- truncation -----------------------------------------------------------------------------------------


def cut_after(name: str, v: Array, k: int, *, scale: float, lengths: Any) -> Array:
    """Return the flat gradient of BPTT(k): a pass of its own over the last k steps before each loss step."""
    whole = a_trace(name, v, scale=scale, lengths=lengths)
    cell, x = whole.layers[0].cell, inputs()[0]
    last = np.full(B, T) if lengths is None else lengths
    total = 0.0
    for t in range(1, T + 1):
        start = max(t - k, 0)
        read = np.where((t <= last)[:, None], v[t - 1], 0.0)
        before = {state: array[start] for state, array in whole.states.items()}
        short = gl.trace(cell, x[start:t], gl.projection(read), state=before)
        total = total + np.concatenate([gradient.ravel() for gradient in short.param_grads.values()])
    return np.asarray(total)


@ends
@pytest.mark.parametrize("scale", [1.0, 3.0])
@cases
def test_truncation_is_an_explicit_loop(name: str, scale: float, lengths: Any) -> None:
    v = inputs()[1]
    trace = a_trace(name, v, scale=scale, lengths=lengths)
    full = np.concatenate([gradient.ravel() for gradient in trace.param_grads.values()])
    assert_normwise(cut_after(name, v, T, scale=scale, lengths=lengths), full, 1e-12, "k = T")
    found = trace.truncation()
    np.testing.assert_array_equal(found.k, [1, 2, 4, 8, 10])
    for k, error, cosine in zip(*found, strict=True):
        cut = cut_after(name, v, int(k), scale=scale, lengths=lengths)
        np.testing.assert_allclose(error, np.linalg.norm(cut - full) / np.linalg.norm(full), rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(cosine, cut @ full / np.linalg.norm(cut) / np.linalg.norm(full), rtol=1e-12)
    assert (found.error[-1], found.cosine[-1]) == (0.0, pytest.approx(1.0, abs=1e-15))


def test_truncation_falls_where_gradients_vanish() -> None:
    """A positive linear chain: each further step adds a part of the same sign, w^k of it is missing, exactly."""
    w, steps = 0.5, 40
    cell = gl.RNN(np.ones((1, 1)), np.array([[w]]), activation="identity")
    trace = gl.trace(cell, np.ones((steps, 1, 1)), gl.projection(np.ones((1, 1))))
    found = trace.truncation(range(1, steps + 1))
    s = np.arange(steps)
    h_before = (1 - w**s) / (1 - w)
    back = w ** (steps - 1 - s)
    parts = np.stack([back * 1.0, back * h_before, back])  # of W_xh, W_hh, b_h
    full = parts.sum(axis=1)
    for k, error in zip(found.k, found.error, strict=True):
        missing = parts[:, : steps - k].sum(axis=1)
        np.testing.assert_allclose(error, np.linalg.norm(missing) / np.linalg.norm(full), rtol=1e-6, atol=1e-15)
    assert np.all(np.diff(found.error) < 0)
    assert np.all(np.diff(found.cosine) >= -1e-15)


def test_truncation_of_a_gradient_beyond_any_float() -> None:
    """The bias' gradient Σ w^k is e^1375 or 1: the errors are ratios, and stay what they are."""
    for w, errors in ((1e-3, [0.001, 0.0, 0.0]), (1e3, [1.0, 0.999, 0.0])):
        cell = gl.RNN(np.ones((1, 1)), np.array([[w]]), activation="identity")
        found = gl.trace(cell, np.zeros((200, 1, 1)), gl.projection(np.ones((1, 1)))).truncation([1, 199, 200])
        np.testing.assert_allclose(found.error, errors, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-14)


def test_truncation_of_no_gradient_is_not_a_number() -> None:
    cell = gl.RNN(np.ones((2, 1)), np.eye(2), activation="relu")
    found = gl.trace(cell, np.full((5, 1, 1), -1.0), gl.projection(np.ones((1, 2)))).truncation()
    assert np.isnan(found.error).all()
    assert np.isnan(found.cosine).all()


# --- paths ----------------------------------------------------------------------------------------------

additive = pytest.mark.parametrize("name", ADDITIVE)


def kept(name: str, trace: gl.Trace) -> Array:
    """Return the factor by which each step keeps its additive state, pre-activations held, ``(T, B, H)``."""
    tape = trace.layers[0].tape
    zeroed = recurrent_names(name) | bias_names(name)
    steps = [
        derivatives.kept(tape.cell, a, joint, zeroed)
        for a, joint in zip(tape.record["a"], tape.states[:-1], strict=True)
    ]
    return np.swapaxes(np.stack(steps), -1, -2)


@additive
def test_an_additive_state_is_kept_as_the_equations_write_it(name: str) -> None:
    """The forget gate of an LSTM; 1 − z or z of a GRU. Other cells: the cell's own factor is the complex step's."""
    trace = a_trace(name, inputs()[1], scale=2.0)
    gates, tape, found = trace.gates, trace.layers[0].tape, kept(name, trace)
    written = {"lstm": lambda: gates["f"], "gru": lambda: 1.0 - gates["z"] if name.endswith("replace") else gates["z"]}
    if tape.cell.name in written:
        np.testing.assert_allclose(found, written[tape.cell.name](), rtol=1e-13)
    own = np.swapaxes(tape.cell.additive(tape.linearise(slice(0, T))), -1, -2)
    np.testing.assert_allclose(np.broadcast_to(own, found.shape), found, rtol=1e-12)


@ends
@pytest.mark.parametrize("scale", [1.0, 4.0])
@additive
def test_paths_add_up_to_everything(name: str, scale: float, lengths: Any) -> None:
    """∏f, or what z keeps, times the total gradient of the last step; the rest is what travelled through a gate."""
    v = inputs()[1][0]
    trace = a_trace(name, v, scale=scale, lengths=lengths)
    found = trace.paths()
    cell = trace.layers[0].cell
    state, factors = cell.state_names[cell.additive_state], kept(name, trace)
    whole = np.asarray(trace.grad[state])
    np.testing.assert_allclose(found.everything, safe_log(whole), rtol=1e-12, atol=1e-12)
    last = np.full(B, T) if lengths is None else lengths
    for b, end in enumerate(last):
        part = whole[end, b]
        for t in range(end, -1, -1):
            np.testing.assert_allclose(found.additive[t, b], safe_log(part), rtol=1e-11, atol=1e-11)
            rest = np.linalg.norm(whole[t, b] - part)
            np.testing.assert_allclose(np.exp(found.gates[t, b]), rest, rtol=1e-9, atol=1e-14)
            size = np.linalg.norm(part)
            np.testing.assert_allclose(found.share[t, b], size / (size + rest), rtol=1e-9)
            part = part * factors[t - 1, b]
        assert found.share[end, b] == 1.0


def safe_log(vectors: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.linalg.norm(vectors, axis=-1)))


@additive
def test_all_is_additive_without_recurrent_weights(name: str) -> None:
    """The one extreme: the share is exactly 1 at every step, nothing has gone through a gate."""
    v = inputs()[1][0]
    found = a_trace(name, v, scale=0.0).paths()
    assert np.all(found.share == 1.0)
    assert np.isneginf(found.gates).all()
    np.testing.assert_array_equal(found.additive, found.everything)


def driven(kind: Any, steps: int, **options: Any) -> gl.Trace:
    cell = kind.init(1, 24, rng=0, **options)
    x = np.random.default_rng(0).standard_normal((steps, 1, 1))
    return gl.trace(cell, x, gl.projection(np.ones((1, 24))))


@pytest.mark.parametrize("seed", range(3))
def test_the_forget_gates_product_is_not_the_gradient(seed: int) -> None:
    """TRUTHS §2, the other extreme: H = 24, g = 4, b_f = 1, T = 50: ‖∂c_T/∂c_0‖ is ten times ∏f and more."""
    cell = gl.LSTM.init(1, 24, scale=4.0, forget_bias=1.0, rng=seed)
    x = 0.1 * np.random.default_rng(seed).standard_normal((50, 1, 1))
    trace = gl.trace(cell, x, gl.projection(np.ones((1, 24))))
    full = np.linalg.norm(trace.propagator(0, 50).dense()[0, 24:, 24:]) / np.sqrt(24)
    alone = np.linalg.norm(trace.gates["f"].prod(axis=0)[0]) / np.sqrt(24)
    assert full > 10 * alone
    assert trace.paths().share[0, 0] < 0.1


def test_a_grus_keep_product_is_not_the_gradient() -> None:
    found = driven(gl.GRU, 50, scale=4.0).paths()
    assert found.share[0, 0] < 1e-6
    assert found.everything[0, 0] - found.additive[0, 0] > 10.0


def test_dropping_the_cell_path_is_as_wrong() -> None:
    """TRUTHS §2: forget bias 3: the joint λ₁ is about 0, the h-block's alone about −2 (here −.02 and −1.6)."""
    trace = driven(gl.LSTM, 1000, forget_bias=3.0)
    J = np.stack([trace.jacobians.dense(t)[0, :24, :24] for t in range(1, 1001)])
    joint = trace.spectrum(1, warmup=100).exponents[0]
    block = product_of(np.ascontiguousarray(J)).spectrum(1, warmup=100).exponents[0]
    assert abs(joint) < 0.05
    assert block < -1.0


def test_paths_start_at_the_last_loss_step() -> None:
    """Of a loss at every step, those of the last one alone; later states have nothing, share nan."""
    cell, x = make("lstm", D, H), inputs()[0]
    some = gl.trace(cell, x, gl.mse(np.zeros((3, B, H)), at=[2, 5, 7])).paths()
    last = gl.trace(cell, x, gl.mse(np.zeros((1, B, H)), at=[7])).paths()
    np.testing.assert_allclose(some.additive[:8], last.additive[:8] - np.log(3), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(some.share[:8], last.share[:8], rtol=1e-12)
    assert np.all(some.share[7] == 1.0)
    assert np.isneginf(some.everything[8:]).all()


# --- bad questions --------------------------------------------------------------------------------------


def test_bad_questions() -> None:
    trace = a_trace("rnn-tanh", inputs()[1])
    with pytest.raises(InputError, match=r"paths are those of a gated cell with an additive state, got RNN\("):
        trace.paths()
    for lags in ([], [0], [T + 1], [[1, 2]]):
        with pytest.raises(InputError, match=f"lags must be steps 1 … T = {T}, got"):
            trace.truncation(lags)
    with pytest.raises(InputError, match="probes must be at least 2, to know their error, or 0 for all"):
        trace.sensitivity(1)
    with pytest.raises(InputError, match="probes must be at least 1, got -1"):
        trace.sensitivity(-1)
    with pytest.raises(InputError, match="probes must be a whole number"):
        trace.sensitivity(2.5)
    silent = gl.trace(make("lstm", D, H), inputs()[0])
    for ask in (silent.temporal, silent.truncation, silent.paths):
        with pytest.raises(InputError, match=r"this trace has no gradients; give gl\.trace a loss"):
            ask()
