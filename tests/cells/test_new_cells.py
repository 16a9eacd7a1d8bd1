"""The MinimalRNN and the leaky RNN against their equations written out, and where gradlab speaks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradlab as gl
from gradlab.errors import SpecError
from gradlab.study import Study
from gradlab.study.run import run_plan

Array = NDArray[Any]
T, B, D, H = 12, 3, 2, 4
ALPHAS = [0.2, 1.0, [0.1, 0.4, 0.7, 1.0]]
#: Activations written out, for complex numbers too.
PHI: dict[str, Any] = {
    "tanh": np.tanh,
    "relu": lambda a: a * (a.real > 0),
    "logistic": lambda a: 1 / (1 + np.exp(-a)),
    "identity": lambda a: a,
}


def minimal(**keys: Any) -> gl.MinimalRNN:
    return gl.MinimalRNN.init(D, H, bias="uniform", scale=1.5, update_bias=0.5, rng=0, **keys)


def leaky(alpha: Any = 0.2, activation: str = "tanh", **keys: Any) -> gl.LeakyRNN:
    return gl.LeakyRNN.init(D, H, bias="uniform", scale=1.5, alpha=alpha, activation=activation, rng=0, **keys)


def inputs(steps: int = T, size: int = D) -> Array:
    return np.random.default_rng(1).standard_normal((steps, B, size))


def weights() -> Array:
    return np.random.default_rng(2).standard_normal((B, H))


def minimal_by_hand(cell: gl.MinimalRNN, h: Array, x: Array, shift: Any = 0.0) -> Array:
    """Return h_t for one sequence, ``shift (2H,)`` added to the pre-activations (Chen 2017)."""
    b_z, b_u = np.split(cell.b_h + shift, 2)
    z = np.tanh(cell.W_xh @ x + b_z)
    u = 1 / (1 + np.exp(-(cell.W_hh @ h + cell.W_zh @ z + b_u)))
    return np.asarray(u * h + (1 - u) * z)


def leaky_by_hand(cell: gl.LeakyRNN, h: Array, x: Array, shift: Any = 0.0) -> Array:
    """Return h_t for one sequence, ``shift (H,)`` added to the pre-activation."""
    a = cell.W_xh @ x + cell.W_hh @ h + cell.b_h + shift
    alpha = np.asarray(cell.alpha)
    return np.asarray((1 - alpha) * h + alpha * PHI[cell.activation](a))


CASES: dict[str, tuple[Any, Any]] = {
    "minimal": (minimal(), minimal_by_hand),
    **{f"leaky-{phi}-{alpha}": (leaky(alpha, phi), leaky_by_hand) for phi in PHI for alpha in ALPHAS},
}


def final(cell: Any, by_hand: Any, x: Array, t: int = 0, shift: Any = 0.0) -> Array:
    """Return h_T of one sequence; the shift is added to the pre-activations of step t alone."""
    h = np.zeros(H)
    for k, one in enumerate(x, start=1):
        h = by_hand(cell, h, one, shift if k == t else 0.0)
    return h


@pytest.mark.parametrize("name", CASES)
def test_a_pass_is_that_of_the_equations(name: str) -> None:
    cell, by_hand = CASES[name]
    trace = gl.trace(cell, inputs(), gl.projection(weights()))
    expected = [final(cell, by_hand, inputs()[:, b]) for b in range(B)]
    np.testing.assert_allclose(trace.states["h"][-1], expected, rtol=1e-12, atol=1e-14)


def test_many_inputs_drive_the_candidate_alone() -> None:
    cell, x = gl.MinimalRNN.init(40, H, bias="uniform", rng=0), inputs(T, 40)
    expected = [final(cell, minimal_by_hand, x[:, b]) for b in range(B)]
    np.testing.assert_allclose(gl.trace(cell, x).states["h"][-1], expected, rtol=1e-12)


def test_the_candidate_saturates_as_tanh_and_the_gate_as_a_logistic() -> None:
    from gradlab.hooks.gates import GatesHook

    cell = gl.MinimalRNN.init(D, H, bias="uniform", scale=4.0, input_scale=2.0, rng=0)
    layer = gl.trace(cell, inputs(), gl.projection(weights())).layers[0]
    z, u = layer.gates["z"], layer.gates["u"]
    share = np.mean([(np.abs(z) > 0.8).mean(), ((u < 0.1) | (u > 0.9)).mean()])
    hook = GatesHook()
    assert hook.summarise(layer, hook.measure(layer)[1])["saturation"] == pytest.approx(share)
    assert layer.evidence().saturated == pytest.approx(share)
    slow = gl.trace(leaky(0.2), inputs(), gl.projection(weights())).layers[0]
    units = (slow.states["h"][1:] - 0.8 * slow.states["h"][:-1]) / 0.2
    assert slow.evidence().saturated == pytest.approx((np.abs(units) > 0.8).mean())


@pytest.mark.parametrize("name", CASES)
def test_pre_grad_is_the_total_gradient_at_the_pre_activations(name: str) -> None:
    """By the complex step through the equations: a change of a_z also changes a_u of the same step."""
    cell, by_hand = CASES[name]
    trace = gl.trace(cell, inputs(), gl.projection(weights()))
    found = np.concatenate([np.asarray(trace.pre_grad[name]) for name in cell.block_names], axis=-1)
    for t in (1, 5, T):
        for b in range(B):
            units = 1e-30j * np.eye(found.shape[-1])
            slopes = [weights()[b] @ final(cell, by_hand, inputs()[:, b], t, unit).imag / 1e-30 for unit in units]
            np.testing.assert_allclose(found[t - 1, b], slopes, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 40])
def test_the_selfcheck_passes_for_few_and_many_inputs(name: str, size: int) -> None:
    kind, options = type(CASES[name][0]), {key: getattr(CASES[name][0], key) for key in CASES[name][0].OPTION_KEYS}
    gl.selfcheck(kind.init(size, H, bias="uniform", rng=3, **options)).raise_if_failed()


def test_a_leak_of_one_is_the_vanilla_rnn_but_for_rounding() -> None:
    cell = leaky(1.0)
    one, two = (gl.trace(c, inputs(), gl.projection(weights())) for c in (cell, gl.RNN(cell.W_xh, cell.W_hh, cell.b_h)))
    np.testing.assert_allclose(one.states["h"], two.states["h"], rtol=1e-13)
    np.testing.assert_allclose(np.asarray(one.grad["h"]), np.asarray(two.grad["h"]), rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS[:1] + ALPHAS[2:], ids=str)
def test_without_weights_a_leak_keeps_a_power_of_1_minus_alpha(alpha: Any) -> None:
    trace = gl.trace(leaky(alpha, recurrent="identity").with_parameters({"W_hh": np.zeros((H, H))}), inputs())
    kept = np.asarray(1 - np.asarray(alpha)) * np.ones(H)
    P = trace.layers[0].jacobians
    product = np.linalg.multi_dot([P.dense(t)[0] for t in range(T, 0, -1)])
    np.testing.assert_allclose(product, np.diag(kept**T), rtol=1e-12, atol=0)


def test_a_minimal_rnn_that_keeps_everything_keeps_h_to_the_last_bit() -> None:
    cell = gl.MinimalRNN.init(D, H, update_bias=800.0, rng=0)
    start = np.random.default_rng(3).standard_normal((B, H))
    trace = gl.trace(cell, inputs(), gl.projection(weights()), state=start)
    np.testing.assert_array_equal(trace.states["h"], np.broadcast_to(start, (T + 1, B, H)))
    np.testing.assert_array_equal(np.asarray(trace.grad["h"]), np.broadcast_to(weights(), (T + 1, B, H)))


@pytest.mark.parametrize("name", CASES)
def test_paths_start_where_everything_travels_and_follow_the_keep_gate(name: str) -> None:
    cell, _ = CASES[name]
    trace = gl.trace(cell, inputs(), gl.projection(weights()))
    layer = trace.layers[0]
    kept = cell.additive(layer.tape.linearise(slice(0, T)))
    expected = weights().T * np.prod(kept[1:], axis=0) if T > 1 else weights().T
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(trace.paths().additive[1], np.log(np.linalg.norm(expected, axis=0)), rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_norms_in_closed_form_are_those_of_the_dense_jacobians(name: str) -> None:
    tape = gl.trace(CASES[name][0], inputs()).layers[0].tape
    local = tape.linearise(slice(0, 1))
    one = type(local)(*(array[0] for array in local))
    found, _ = tape.cell.frobenius_squared(one)
    np.testing.assert_allclose(found, (tape.cell.dense(one) ** 2).sum(axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_pass_survives_a_file(name: str, dtype: str, tmp_path: Path) -> None:
    kind, options = type(CASES[name][0]), {key: getattr(CASES[name][0], key) for key in CASES[name][0].OPTION_KEYS}
    cell = kind.init(D, H, rng=0, dtype=dtype, **options)
    trace = gl.trace(cell, inputs().astype(dtype), gl.projection(weights().astype(dtype)))
    trace.save(tmp_path / "pass.npz")
    again = gl.load_trace(tmp_path / "pass.npz")
    assert repr(again.model) == repr(cell)
    np.testing.assert_array_equal(again.grad["h"].mantissa, trace.grad["h"].mantissa)


@pytest.mark.parametrize(
    ("alpha", "complaint"),
    [
        (0.0, "alpha must be above 0 and at most 1 in float64, got 0"),
        (1.5, "alpha must be above 0 and at most 1 in float64, got 1.5"),
        ([0.1, 0.2, 0.3, -1.0], "alpha must be above 0 and at most 1 in float64, got -1"),
        ([0.1, 0.2], r"alpha must have shape \(4,\), got \(2,\)"),
        (float("nan"), "alpha must be finite, got nan"),
        ("slow", "alpha must be a number, got 'slow'"),
    ],
    ids=str,
)
def test_a_leak_that_is_none_is_refused(alpha: Any, complaint: str) -> None:
    with pytest.raises(gl.InputError, match=complaint):
        leaky(alpha)


def test_a_leak_that_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(gl.InputError, match="alpha must be above 0 and at most 1 in float32, got 1e-50"):
        gl.LeakyRNN.init(2, 3, alpha=1e-50, dtype="float32")


def test_a_leak_and_chrono_exclude_each_other() -> None:
    with pytest.raises(gl.InputError, match="give alpha or chrono, not both"):
        leaky(0.5, chrono=10.0)
    with pytest.raises(gl.InputError, match="give update_bias or chrono, not both"):
        minimal(chrono=10.0)


def test_chrono_spreads_time_constants_over_2_to_its_length() -> None:
    steps = 1 / gl.LeakyRNN.init(1, 400, chrono=100.0, rng=0).alphas
    assert steps.min() >= 2
    assert steps.max() <= 100
    np.testing.assert_allclose(steps.mean(), 51, atol=5)  # 3.5 standard errors of 400 draws
    memory = np.exp(gl.MinimalRNN.init(1, 400, chrono=100.0, rng=0).b_h[400:])
    np.testing.assert_allclose(memory.mean(), 50, atol=5)


def test_a_verdict_names_the_leak_and_a_suggestion_changes_it() -> None:
    cell = gl.LeakyRNN.init(D, H, scale=0.3, alpha=0.5, rng=0)
    verdict = gl.trace(cell, inputs(100), gl.projection(weights())).verdict()
    assert verdict.word == "VANISHING"
    assert verdict.evidence.startswith(
        "leaky tanh RNN, 1 − α 0.50 on average (alpha 0.5): ∏(1 − α) alone gives −0.69, W_hh of scale 0."
    )
    assert verdict.suggestion.word == "STABLE"
    assert set(verdict.suggestion.change) == {"alpha"}
    assert verdict.suggestion.why.startswith("1 − α keeps 0.50 a step")
    slower = gl.LeakyRNN(cell.W_xh, cell.W_hh, cell.b_h, **verdict.suggestion.change)
    assert gl.trace(slower, inputs(100), gl.projection(weights())).rate() == verdict.suggestion.tried


def test_a_verdict_names_the_update_gate_and_a_suggestion_changes_its_bias() -> None:
    verdict = gl.trace(gl.MinimalRNN.init(D, H, rng=0), inputs(100), gl.projection(weights())).verdict()
    assert verdict.evidence.startswith("MinimalRNN, update gate 0.")
    assert "(update_bias 0): ∏u alone gives −0." in verdict.evidence
    assert "of gates saturated" in verdict.evidence
    assert set(verdict.suggestion.change) == {"update_bias"}
    assert verdict.suggestion.word == "STABLE"


def test_a_leaky_rnn_that_overflows_is_scaled_down() -> None:
    cell = gl.LeakyRNN.init(D, H, scale=20.0, alpha=1.0, activation="relu", rng=0)
    verdict = gl.trace(cell, inputs(2000), gl.projection(weights())).verdict()
    assert verdict.word == "DIVERGED"
    assert "scale_by" in verdict.suggestion.change


STUDY = """
name = "three"
[grid]
cell = ["rnn", "minimal_rnn", "leaky"]
scale = [0.5, 1.5]
seeds = 2
[base]
length = 8
hidden = 4
batch = 3
hooks = ["gates", "paths", "gradients", "jacobians", "lyapunov:2"]
[task]
name = "sum"
[leaky]
alpha = 0.25
"""


def test_a_study_runs_them(tmp_path: Path) -> None:
    (tmp_path / "three.toml").write_text(STUDY, encoding="utf-8")
    study = Study.from_toml(tmp_path / "three.toml")
    runs = run_plan(study.plan, tmp_path / "out", workers=0).frame("runs")
    assert len(runs) == 12
    assert (runs["error"] == "").all(), runs["error"].tolist()
    kept = runs.groupby("cell", observed=True)["keep_gate_mean"]
    assert kept.mean()["leaky"] == pytest.approx(0.75)
    assert 0.2 < kept.mean()["minimal_rnn"] < 0.8
    assert np.isnan(kept.mean()["rnn"])
    assert np.isfinite(runs["rate"]).all()


def test_a_study_sweeps_the_leak_and_refuses_one_that_is_none(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "base": {"length": 8, "hidden": 4, "batch": 3, "hooks": ["gates"]},
        "task": {"name": "sum"},
    }
    swept = Study(name="leak", grid={"cell": ["leaky"], "leaky.alpha": [0.1, 1.0], "seeds": 1}, **tables)
    runs = run_plan(swept.plan, tmp_path / "out", workers=0).frame("runs")
    assert sorted(runs["keep_gate_mean"]) == pytest.approx([0.0, 0.9])
    with pytest.raises(SpecError, match="init: alpha must be above 0 and at most 1 in float64, got 2"):
        _ = Study(name="leak", grid={"cell": ["leaky"], "leaky.alpha": [0.1, 2.0], "seeds": 1}, **tables).plan


@pytest.mark.parametrize("kind", [gl.LSTM, gl.GRU, gl.MinimalRNN, gl.LeakyRNN, gl.RNN])
def test_the_gates_hook_measures_every_keep_gate(kind: Any) -> None:
    from gradlab.hooks.gates import GatesHook

    layer = gl.trace(kind.init(D, H, rng=0), inputs()).layers[0]
    hook = GatesHook()
    found = hook.summarise(layer, hook.measure(layer)[1])["keep_gate_mean"]
    if layer.cell.keep_gate is None:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(layer.cell.additive(layer.tape.linearise(slice(0, T))).mean())


def test_training_leaves_the_leak_as_it_is() -> None:
    task = gl.tasks.TASKS["adding"]()
    model = gl.Network(
        [gl.LeakyRNN.init(2, H, alpha=[0.1, 0.2, 0.3, 1.0], rng=0)], readout=gl.Readout.init(H, 1, rng=1)
    )
    training = gl.Training(model, task, length=20, batch=4, seed=0)
    training.run(3)
    cell = training.model.layers[0]
    np.testing.assert_array_equal(cell.alpha, [0.1, 0.2, 0.3, 1.0])
    assert (cell.W_hh != model.layers[0].W_hh).all()
