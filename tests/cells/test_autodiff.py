"""Steps in PyTorch and JAX as cells. Oracles: the complex step of the same equations in NumPy, through one step and
through whole sequences; closed forms; gradlab's own GRU. Tolerance: no derivative subtracts anything, 1e-12."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from oracles.compare import assert_normwise
from oracles.recurrences import RECURRENCES, D, H

import gradlab as gl

T, B = 7, 2
STEP = 1e-30
LIBRARIES = ("torch", "jax")


def library(name: str) -> Any:
    return oracle("torch") if name == "torch" else oracle("jax").numpy


def cell_of(name: str, derivative: str) -> Any:
    made = RECURRENCES[name]
    step = partial(made.step, library(derivative))
    return gl.custom_cell(step, state_size=made.size, input_size=D, derivative=derivative, parameters=made.parameters())


def inputs(size: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    return rng.standard_normal((T, B, D)), rng.standard_normal((T, B, size))


@pytest.mark.parametrize("derivative", LIBRARIES)
@pytest.mark.parametrize("name", RECURRENCES)
def test_it_passes_the_selfcheck(name: str, derivative: str) -> None:
    gl.selfcheck(cell_of(name, derivative)).raise_if_failed()


@pytest.mark.parametrize("derivative", LIBRARIES)
@pytest.mark.parametrize("name", RECURRENCES)
def test_states_jacobians_and_gradients_are_those_of_the_complex_step(name: str, derivative: str) -> None:
    made = RECURRENCES[name]
    x, v = inputs(made.size)
    by_complex = gl.custom_cell(lambda h, x: made.step(np, h, x, made.parameters()), state_size=made.size, input_size=D)
    found, expected = (
        gl.trace(cell, x, gl.projection(v), state={"h": made.start(B)})
        for cell in (cell_of(name, derivative), by_complex)
    )
    assert_normwise(found.states["h"], expected.states["h"], 1e-12, "states")
    for t in (1, T):
        assert_normwise(found.jacobians.dense(t), expected.jacobians.dense(t), 1e-12, "J", axis=(-2, -1))
    assert_normwise(found.grad["h"], expected.grad["h"], 1e-12, "dL/dh")
    assert_normwise(found.input_grad, expected.input_grad, 1e-12, "dL/dx")


def loss(name: str, parameters: dict[str, Any]) -> Any:
    """Return the batch mean of Σ_t v_t · h_t by a NumPy loop."""
    made = RECURRENCES[name]
    x, v = inputs(made.size)
    h, total = made.start(B), 0.0
    for x_t, v_t in zip(x, v, strict=True):
        h = made.step(np, h, x_t, parameters)
        total = total + (v_t * h).sum()
    return total / B


@pytest.mark.parametrize("derivative", LIBRARIES)
@pytest.mark.parametrize("name", RECURRENCES)
def test_parameter_gradients_are_those_of_the_complex_step_through_all_steps(name: str, derivative: str) -> None:
    made = RECURRENCES[name]
    x, v = inputs(made.size)
    trace = gl.trace(cell_of(name, derivative), x, gl.projection(v), state={"h": made.start(B)})
    assert trace.param_grads.keys() == made.shapes.keys()
    for key, shape in made.shapes.items():
        expected = np.empty(shape)
        for place in np.ndindex(shape):
            moved = {k: a.astype(complex) for k, a in made.parameters().items()}
            moved[key][place] += 1j * STEP
            expected[place] = loss(name, moved).imag / STEP
        assert_normwise(trace.param_grads[key], expected, 1e-12, key, axis=None)
        assert trace.param_contributions()[key].shape == (T,)


@pytest.mark.parametrize("derivative", LIBRARIES)
def test_a_min_gru_multiplies_by_what_it_keeps(derivative: str) -> None:
    cell, p = cell_of("minGRU", derivative), RECURRENCES["minGRU"].parameters()
    x, _ = inputs(H)
    trace = gl.trace(cell, x, gl.projection(np.ones((B, H))))
    kept = 1 / (1 + np.exp(x @ p["W_z"].T + p["b_z"]))
    products = np.cumprod(kept[::-1], axis=0)[::-1]
    assert_normwise(np.asarray(trace.grad["h"])[:T], products, 1e-12, "∏(1 − z)")
    assert_normwise(trace.jacobians.dense(3), kept[2][:, :, None] * np.eye(H), 1e-12, "J", axis=(-2, -1))


@pytest.mark.parametrize("derivative", LIBRARIES)
def test_an_lru_has_the_exponents_of_its_eigenvalues(derivative: str) -> None:
    exponents = np.sort(np.repeat(-np.exp(RECURRENCES["LRU"].parameters()["nu"]), 2))[::-1]
    trace = gl.trace(cell_of("LRU", derivative), np.zeros((400, B, D)))
    found = trace.propagator(0, T).log_singular_values()  # of commuting normal matrices, exact at every T
    assert_normwise(found, np.broadcast_to(T * exponents, found.shape), 1e-12, "ln σ")
    found = trace.spectrum(k=2 * H, warmup=300).exponents  # once the frame has turned into the eigenspaces
    assert_normwise(found, exponents, 1e-10, "−e^ν, each twice", axis=None)


@pytest.mark.parametrize("derivative", LIBRARIES)
def test_every_question_of_a_trace_is_answered(derivative: str) -> None:
    made = RECURRENCES["sLSTM"]
    x, _ = inputs(made.size)
    v = np.ones((B, made.size))
    hooks = ["gradients", "jacobians", "gates", "contributions", "lyapunov:2"]
    trace = gl.trace(cell_of("sLSTM", derivative), x, gl.projection(v), state={"h": made.start(B)}, hooks=hooks)
    assert "nats/step" in repr(trace.verdict())
    assert {"adjoint", "jac_norm2"} <= set(trace.measured()["steps"]["quantity"])
    assert trace.truncation().error[-1] == 0
    assert trace.propagator(0, T).dense().shape == (B, made.size, made.size)


def test_a_module_is_a_step_with_its_own_parameters() -> None:
    torch = oracle("torch")

    class Cell(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of_x, self.of_h = torch.nn.Linear(D, 3 * H), torch.nn.Linear(H, 3 * H)
            self.register_buffer("one", torch.ones(H))

        def forward(self, h: Any, x: Any) -> Any:
            (x_r, x_z, x_n), (h_r, h_z, h_n) = self.of_x(x).chunk(3, -1), self.of_h(h).chunk(3, -1)
            z = torch.sigmoid(x_z + h_z)
            return (self.one - z) * torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n) + z * h

    module = Cell()
    custom = gl.custom_cell(module, state_size=H, input_size=D, derivative="torch")
    names = {"of_x.weight": "weight_ih", "of_h.weight": "weight_hh", "of_x.bias": "bias_ih", "of_h.bias": "bias_hh"}
    fused = torch.nn.GRUCell(D, H).double()
    fused.load_state_dict({names[key]: value.double() for key, value in module.named_parameters()})
    x, v = inputs(H)
    found, own = (gl.trace(cell, x, gl.projection(v)) for cell in (custom, gl.from_torch(fused)))
    assert_normwise(found.states["h"], own.states["h"], 1e-12, "states", axis=None)
    for key, known in (("of_x.weight", "W_xh"), ("of_h.weight", "W_hh"), ("of_x.bias", "b_h")):
        assert_normwise(found.param_grads[key], own.param_grads[known], 1e-12, key, axis=None)
    assert_normwise(found.param_grads["of_h.bias"][2 * H :], own.param_grads["b_hn"], 1e-12, "b_hn", axis=None)
    assert all(one.grad is None and one.dtype == torch.float32 for one in module.parameters())


def test_a_closure_has_jacobians_and_no_parameter_gradients() -> None:
    torch = oracle("torch")
    W = torch.nn.Parameter(0.5 * torch.eye(H, dtype=torch.float64))
    cell = gl.custom_cell(lambda h, x: torch.tanh(h @ W.T), state_size=H, input_size=D, derivative="torch")
    trace = gl.trace(cell, np.zeros((T, B, D)), gl.projection(np.ones((B, H))))
    assert_normwise(np.asarray(trace.grad["h"])[0], np.full((B, H), 0.5**T), 1e-12, "0.5^T")
    with pytest.raises(
        gl.InputError, match=r'no parameter gradients.*use derivative="torch" or "jax" with parameters='
    ):
        _ = trace.param_grads
    assert W.grad is None


def test_jax_stays_in_float32_elsewhere_and_constants_are_widened() -> None:
    jax = oracle("jax")
    half = jax.numpy.full(H, 0.5)
    cell = gl.custom_cell(lambda h, x: half * h, state_size=H, input_size=D, derivative="jax")
    trace = gl.trace(cell, np.zeros((T, B, D)), gl.projection(np.ones((B, H))))
    np.testing.assert_array_equal(np.asarray(trace.grad["h"])[0], 0.5**T)
    assert jax.numpy.ones(1).dtype == np.float32


def run(step: Any, derivative: str = "torch", **options: Any) -> Any:
    cell = gl.custom_cell(step, state_size=H, input_size=D, derivative=derivative, **options)
    return gl.trace(cell, np.zeros((T, B, D)), gl.projection(np.ones((B, H))))


def test_steps_in_torch_that_cannot_be_differentiated_are_refused() -> None:
    torch = oracle("torch")
    weights = torch.ones(H, H)
    for step, message in {
        lambda h, x: h[:2]: r"must return h's shape, \(2, 3\) for x \(2, 2\), got \(2, 2\); it is called with one seq",
        lambda h, x: (h, h): "must return one array, the new h, got tuple",
        lambda h, x: h.float(): "must stay in the float64 that it is given, got float32",
        lambda h, x: weights @ h: r"failed in PyTorch \(it is called with one sequence's.*(dtype|Double)",
        lambda h, x: h if h.sum() > 0 else -h: "failed in PyTorch.*data-dependent control flow",
    }.items():
        with pytest.raises(gl.InputError, match=message):
            run(step)
    cell = gl.custom_cell(lambda h, x: h, state_size=H, input_size=D, derivative="torch")
    with pytest.raises(gl.InputError, match="takes real numbers, got complex"):
        cell.step(np.zeros((D, 1)), (np.zeros((H, 1), complex),))


def test_steps_in_jax_that_cannot_be_differentiated_are_refused() -> None:
    oracle("jax")
    for step, message in {
        lambda h, x: (h, h): "must return one array, the new h, got tuple",
        lambda h, x: h.astype("float32"): "must stay in the float64 that it is given, got float32",
        lambda h, x: h if h.sum() > 0 else -h: "failed in JAX.*bool",
    }.items():
        with pytest.raises(gl.InputError, match=message):
            run(step, "jax")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"derivative": "complex", "parameters": {}}, 'parameters need derivative="torch" or "jax"'),
        (
            {"parameters": {"W": np.ones((2, 2, 2))}},
            r'"W" must have one axis or two, none empty, got shape \(2, 2, 2\)',
        ),
        ({"parameters": {"a": 1.0}}, r'"a" must have one axis or two, none empty, got shape \(\)'),
        ({"parameters": {"a": np.array([1.0, np.nan])}}, r'parameter "a" must be finite, got nan'),
    ],
)
def test_parameters_that_cannot_be(options: dict[str, Any], message: str) -> None:
    if options.get("derivative") != "complex":
        oracle("torch")
    with pytest.raises(gl.InputError, match=message):
        run(lambda h, x, p: h, **options)


def test_too_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle("torch")
    monkeypatch.setattr("gradlab.cells.custom.MOST_PARTS", T * B * H - 1)
    with pytest.raises(gl.InputError, match=r"T·B·P = 42 numbers.* at most 41 are allowed"):
        _ = run(lambda h, x, p: h * p["a"], parameters={"a": np.ones(H)}).param_grads


@pytest.mark.parametrize("derivative", LIBRARIES)
def test_a_library_that_is_missing_is_named(derivative: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, derivative, None)
    with pytest.raises(gl.InputError, match=f'derivative="{derivative}" needs {derivative}, which is missing'):
        run(lambda h, x: h, derivative)
