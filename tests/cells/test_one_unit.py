"""Cells of one unit, one sequence at a time: arrays of one number per step, with strides that nothing else has.

NumPy 2.2 to 2.4 compute ``np.negative`` wrongly on processors with AVX-512 when the input's stride is 4 (float32) or 8
(float64) numbers and ``out`` has a stride, too. The gates of one LSTM unit lie 4 numbers apart.

The oracle is a loop over Python's numbers. A derivative in it is a complex step, exact to rounding: 1e-12 in float64,
and 2e-5 in float32 after nine steps.
"""

from __future__ import annotations

import ast
import cmath
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, columns, make
from oracles.plain import run_plain
from watch.keep import Keep

import gradlab as gl
from gradlab.bptt import follow, forward
from gradlab.cells.activations import ACTIVATIONS, logistic
from gradlab.native import compiled

T, H, D = 9, 1, 1
STEP = 1e-30
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
Number = complex
#: Perturbs a state: its name, the step at which it is, its value.
Nudge = Callable[[str, int, Number], Number]


@pytest.fixture(params=["compiled", "step by step", "plain"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the loop in C, step by step with compiled formulas, and with the formulas in NumPy."""
    if request.param == "step by step":
        monkeypatch.setattr(compiled, "take", None)
    if request.param == "plain":
        run_plain(monkeypatch.setattr, monkeypatch.setitem)
    return str(request.param)


def sigma(a: Number) -> Number:
    return 1.0 / (1.0 + cmath.exp(-a))


PHI: dict[str, Callable[[Number], Number]] = {
    "tanh": cmath.tanh,
    "relu": lambda a: a if a.real > 0 else 0.0 * a,
    "logistic": sigma,
    "identity": lambda a: a,
}


def numbers(cell: Any) -> dict[str, list[Number]]:
    """Return the parameters of a cell of one unit, one number per block."""
    return {name: [complex(one) for one in array.ravel()] for name, array in cell.parameters.items()}


Step = Callable[[Any, dict[str, list[Number]], list[Number], dict[str, Number], Any, int], dict[str, Number]]


def rnn(cell: Any, p: Any, drive: Any, s: Any, nudge: Any, t: int) -> dict[str, Number]:
    return {"h": nudge("h", t, PHI[cell.activation](drive[0] + p["W_hh"][0] * s["h"]))}


def leaky(cell: Any, p: Any, drive: Any, s: Any, nudge: Any, t: int) -> dict[str, Number]:
    new = PHI[cell.activation](drive[0] + p["W_hh"][0] * s["h"])
    return {"h": nudge("h", t, (1.0 - cell.alpha) * s["h"] + cell.alpha * new)}


def lstm(cell: Any, p: Any, drive: Any, s: Any, nudge: Any, t: int) -> dict[str, Number]:
    i, f, g, o = (d + w * s["h"] for d, w in zip(drive, p["W_hh"], strict=True))
    c = nudge("c", t, sigma(f) * s["c"] + sigma(i) * cmath.tanh(g))
    return {"h": nudge("h", t, sigma(o) * cmath.tanh(c)), "c": c}


def gru(cell: Any, p: Any, drive: Any, s: Any, nudge: Any, t: int) -> dict[str, Number]:
    h = s["h"]
    r, z = sigma(drive[0] + p["W_hh"][0] * h), sigma(drive[1] + p["W_hh"][1] * h)
    through = p["W_hh"][2] * (r * h) if cell.reset == "before" else r * (p["W_hh"][2] * h + p["b_hn"][0])
    n = cmath.tanh(drive[2] + through)
    share = z if cell.update == "replace" else 1.0 - z
    return {"h": nudge("h", t, (1.0 - share) * h + share * n)}


def minimal_rnn(cell: Any, p: Any, drive: Any, s: Any, nudge: Any, t: int) -> dict[str, Number]:
    z = cmath.tanh(drive[0])
    u = sigma(p["W_hh"][0] * s["h"] + p["W_zh"][0] * z + p["b_h"][1])
    return {"h": nudge("h", t, u * s["h"] + (1.0 - u) * z)}


#: The equations in the docstrings of the cells, by name: a new cell joins with its own.
EQUATIONS: dict[str, Step] = {"rnn": rnn, "leaky": leaky, "lstm": lstm, "gru": gru, "minimal_rnn": minimal_rnn}
KNOWN = [name for name, (kind, _) in FAMILY.items() if kind.name in EQUATIONS]


def one_step(cell: Any, p: dict[str, list[Number]], x: Number, state: dict[str, Number], nudge: Any, t: int) -> Any:
    """Return the next state."""
    drive = [w * x + b for w, b in zip(p["W_xh"], p["b_h"], strict=False)]
    return EQUATIONS[cell.name](cell, p, drive, state, nudge, t)


def run(cell: Any, p: dict[str, list[Number]], x: Any, start: Any, nudge: Nudge = lambda name, t, s: s) -> Any:
    """Return all states, 0 … T, each perturbed where ``nudge`` says so."""
    states = [{name: nudge(name, 0, complex(s)) for name, s in start.items()}]
    for t in range(1, T + 1):
        states.append(one_step(cell, p, complex(x[t - 1]), states[-1], nudge, t))
    return states


def case(name: str, dtype: str) -> tuple[Any, Any, Any, Any]:
    """Return a cell of one unit, inputs ``(T, 1, 1)``, an initial state, and the loss's weight per step."""
    cell, rng = make(name, D, H, scale=1.3, dtype=dtype), np.random.default_rng(8)
    x, weights = rng.standard_normal((T, 1, D)).astype(dtype), rng.standard_normal(T)
    start = {key: rng.uniform(-1, 1, (1, H)).astype(dtype) for key in cell.state_names}
    return cell, x, start, weights


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", KNOWN)
def test_a_pass_is_that_of_a_loop_over_numbers(name: str, dtype: str, way: str) -> None:
    cell, x, start, weights = case(name, dtype)
    trace = gl.trace(cell, x, gl.projection(weights[:, None, None].astype(dtype)), state=start)
    first = {key: array.item() for key, array in start.items()}
    p, close = numbers(cell), {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}

    def loss(nudge: Nudge = lambda name, t, s: s, p: Any = p) -> Number:
        states = run(cell, p, x.ravel(), first, nudge)
        return sum((w * s["h"] for w, s in zip(weights, states[1:], strict=True)), 0j)

    states = run(cell, p, x.ravel(), first)
    np.testing.assert_allclose(trace.outputs.ravel(), [s["h"].real for s in states[1:]], **close)
    for key in cell.state_names:
        for t in range(T + 1):
            expected = loss(lambda n, s, value, at=(key, t): value + 1j * STEP * ((n, s) == at)).imag / STEP
            np.testing.assert_allclose(np.asarray(trace.grad[key])[t].item(), expected, **close, err_msg=f"{key} {t}")
    for key, array in trace.param_grads.items():
        for place in range(array.size):
            nudged = {n: [one + 1j * STEP * ((n, k) == (key, place)) for k, one in enumerate(v)] for n, v in p.items()}
            expected = loss(p=nudged).imag / STEP
            np.testing.assert_allclose(array.ravel()[place], expected, **close, err_msg=f"{key} {place}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", KNOWN)
def test_the_exponent_is_the_mean_of_the_steps_factors(name: str, dtype: str, way: str) -> None:
    """Both ways; an LSTM's J_t has two rows, and its two exponents add up to ln|det|."""
    cell, x, start, _ = case(name, dtype)
    trace = gl.trace(cell, x, state=start)
    states = run(cell, numbers(cell), x.ravel(), {key: array.item() for key, array in start.items()})
    logs = []
    for t in range(1, T + 1):
        J = np.empty((len(cell.state_names),) * 2)
        for column, key in enumerate(cell.state_names):
            nudged = {n: s + 1j * STEP * (n == key) for n, s in states[t - 1].items()}
            after = one_step(cell, numbers(cell), complex(x[t - 1].item()), nudged, lambda n, t, s: s, t)
            J[:, column] = [after[n].imag / STEP for n in cell.state_names]
        np.testing.assert_allclose(trace.jacobians.dense(t), J[None], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        logs.append(np.linalg.slogdet(J)[1])
    for adjoint in (False, True):
        found = trace.spectrum(len(cell.state_names), adjoint=adjoint).per_sequence.sum()
        np.testing.assert_allclose(found, np.mean(logs), rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FAMILY)
def test_steps_taken_from_known_outputs_leave_the_same_tape(name: str, dtype: str, way: str) -> None:
    cell, x, _, _ = case(name, dtype)
    tape = forward(cell, x, columns(cell, 1))
    found, given = follow(cell, x, columns(cell, 1), tape.output)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(given, tape.output, **close)
    np.testing.assert_allclose(found.states, tape.states, **close)
    for key, array in tape.record.items():
        np.testing.assert_allclose(found.record[key], array, **close, err_msg=key)


@pytest.mark.torch_oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("by_step", [False, True], ids=["layer", "cell"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})],
    ids=["lstm", "gru", "tanh", "relu"],
)
def test_a_watched_module_of_one_unit_is_read(kind: str, options: Any, by_step: bool, dtype: str, way: str) -> None:
    """Against PyTorch's own cell with the same weights in float64, which keeps every h."""
    import torch

    def loop(cell: Any, x: Any) -> list[Any]:
        hs, state = [], None
        for step in x:
            state = cell(step, state)
            hs.append(state[0] if isinstance(state, tuple) else state)
        return hs

    torch.manual_seed(0)
    watched = getattr(torch.nn, kind + "Cell" * by_step)(1, 1, **options).to(getattr(torch, dtype))
    oracle = getattr(torch.nn, kind + "Cell")(1, 1, **options).double()
    oracle.load_state_dict({name.removesuffix("_l0"): array for name, array in watched.state_dict().items()})
    x = torch.randn(T, 1, 1, dtype=getattr(torch, dtype))
    expected = loop(oracle, x.double())
    for h in expected:
        h.retain_grad()
    torch.stack(expected).sum().backward()
    with gl.watch(watched, hooks=[keep := Keep()], every=1) as watch:
        h = torch.stack(loop(watched, x)) if by_step else watched(x)[0]
        h.sum().backward()
    assert not watch.refused
    ((found,),) = keep.passes
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(found.tape.output.ravel(), [h.item() for h in expected], **close)
    np.testing.assert_allclose(np.asarray(found.grad["h"])[1:].ravel(), [h.grad.item() for h in expected], **close)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_writes_into_any_stride(name: str, dtype: str, stride: int) -> None:
    a = np.linspace(-4.0, 4.0, 17 * stride, dtype=dtype)[::stride]
    for gap in (1, 2, stride):
        room = np.full(17 * gap, np.nan, dtype)
        ACTIVATIONS[name].value(a, out=room[::gap])
        np.testing.assert_allclose(room[::gap], [PHI[name](complex(one)).real for one in a], rtol=3e-7)
        assert np.isnan(room).sum() == 17 * (gap - 1)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_logistic_at_zero_and_far_away(zero: float) -> None:
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(logistic(np.array([zero, -1e4, 1e4, -np.inf, np.inf])), [0.5, 0, 1, 0, 1])


def _writes_a_negative(node: ast.AST) -> bool:
    """Whether a call is ``negative(..., out=...)``, or ``negative(a, b)``, which is the same."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "negative" and (len(node.args) > 1 or any(one.arg == "out" for one in node.keywords))


def test_nothing_of_ours_asks_numpy_for_a_negative_in_place() -> None:
    assert _writes_a_negative(ast.parse("np.negative(a, out=out)", mode="eval").body)
    found = [
        f"{path}:{node.lineno}"
        for path in sorted(Path(gl.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _writes_a_negative(node)
    ]
    assert not found, f"np.subtract(0.0, a, out=...) is right in every NumPy: {found}"
