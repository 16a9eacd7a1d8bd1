"""Every number of a pass against PyTorch in float64, cells stepped one by one (oracles/torch_loop.py).

Tolerance: normwise relative 1e-10 a vector, which T ≤ 12 products in float64 keep with room; float32 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import NATIVE, TWINNED, TWINS, make, states

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, D, H, O = 9, 4, 3, 5, 4
LENGTHS = np.array([9, 3, 7, 1])
DOUBLE, SINGLE = 1e-10, 1e-4
Array = NDArray[Any]


@pytest.fixture
def torch_loop() -> ModuleType:
    return import_module("oracles.torch_loop")


@dataclass(frozen=True)
class Reading:
    """Which steps a loss reads, said to gradlab as ``at`` and to the oracle as a mask ``(T, B)`` written out."""

    at: Any
    mask: Array
    lengths: Array | None = None


def _steps(*steps: int) -> Array:
    return np.repeat(np.isin(np.arange(1, T + 1), steps)[:, None], B, axis=1)


CHECKERED = (np.add.outer(np.arange(T), 2 * np.arange(B)) % 3 == 0) & (np.arange(B) != 2) | (np.arange(T)[:, None] == 4)
WITHIN = np.arange(1, T + 1)[:, None] <= LENGTHS
READINGS = {
    "last": Reading("last", _steps(T)),
    "every": Reading("every", _steps(*range(1, T + 1))),
    "list": Reading([2, 5, 8], _steps(2, 5, 8)),
    "mask": Reading(CHECKERED, CHECKERED),
    "lengths-last": Reading("last", np.arange(1, T + 1)[:, None] == LENGTHS, LENGTHS),
    "lengths-every": Reading("every", WITHIN, LENGTHS),
    "lengths-mask": Reading(_steps(1, 4) & WITHIN, _steps(1, 4) & WITHIN, LENGTHS),
}
LOSSES = {"mse": gl.mse, "cross_entropy": gl.cross_entropy, "nll": gl.nll}


def draw_loss(kind: str, reading: Reading, outputs: int) -> tuple[Any, Array]:
    """Return gradlab's loss and the targets for every step that the oracle reads."""
    draw = np.random.default_rng(7)
    if kind == "mse":
        targets = draw.standard_normal((T, B, outputs))
    else:
        targets = draw.integers(0, outputs, (T, B))
    given = targets[np.asarray(reading.at) - 1] if isinstance(reading.at, list) else targets
    return LOSSES[kind](given, at=reading.at), targets


def inputs() -> Array:
    return np.random.default_rng(3).standard_normal((T, B, D))


def assert_matches(trace: gl.Trace, answer: Any, torch_loop: ModuleType, tol: float = DOUBLE) -> None:
    """Assert that the trace and the oracle agree in every number that both know."""
    y = answer.y.detach().numpy()
    inside = np.arange(1, T + 1)[:, None] <= trace.layers[0].tape.ends
    assert_normwise(np.where(inside[..., None], trace.outputs, y), y, tol, "outputs")
    assert_normwise(trace.loss, answer.loss.detach().numpy(), tol, "loss", axis=None)
    for layer, passes in zip(trace.layers, answer.layers, strict=True):
        for one, wanted in zip((layer, layer.reverse), passes, strict=False):
            assert_pass_matches(one, wanted, torch_loop, tol)
    for key, parameter in answer.readout.items():
        assert_normwise(trace.param_grads[f"readout.{key}"], parameter.grad.numpy() / B, tol, key, axis=None)


def assert_pass_matches(one: Any, wanted: Any, torch_loop: ModuleType, tol: float) -> None:
    """The same for one layer and direction: states, every gradient and its norm, parameters."""
    for name, tensors in {"h": wanted.h, "c": wanted.c}.items():
        if tensors:
            states_there = np.stack([tensor.detach().numpy() for tensor in tensors])
            assert_normwise(one.states[name][one.lag >= 0], states_there[one.lag >= 0], tol, name)
    for name, (found, expected) in gradients(one, wanted, torch_loop.numbers).items():
        within = one.lag[-len(expected) :] >= 0
        assert_normwise(found[within], expected[within], tol, name)
        if name in one.quantities:
            logs = one.log_norm(name)
            with np.errstate(divide="ignore"):
                norms = np.log(np.linalg.norm(expected, axis=-1))
            np.testing.assert_allclose(logs[within], norms[within], atol=10 * tol, err_msg=name)
            assert np.isnan(logs[~within]).all(), name
    for key, parameter in wanted.parameters.items():
        assert_normwise(one.param_grads[key], parameter.grad.numpy() / B, tol, f"dL/d{key}", axis=None)


def gradients(one: Any, wanted: Any, numbers: Any) -> dict[str, tuple[Array, Array]]:
    """Return what the trace says and what the oracle says, by name."""
    direct = numbers(wanted.output)
    pairs = {
        "dL/dh": (one.grad["h"], numbers(wanted.h)),
        "dL/dx": (one.input_grad, numbers(wanted.x)),
        "direct": (one.direct["h"], np.concatenate([np.zeros_like(direct[:1]), direct])),
        "adjoint": (one.adjoint["h"], numbers(wanted.h)),
    }
    if wanted.c:
        both = np.concatenate([np.asarray(part) for part in one.adjoint.values()], axis=-1)
        pairs["adjoint"] = (both, np.concatenate([numbers(wanted.h), numbers(wanted.c_kept)], axis=-1))
        pairs["adjoint c"] = (one.adjoint["c"], numbers(wanted.c_kept))
        pairs["dL/dc"] = (one.grad["c"], numbers(wanted.c))
    pairs |= {f"dL/da_{gate}": (one.pre_grad[gate], numbers(tensors)) for gate, tensors in wanted.a.items()}
    return {name: (np.asarray(found), expected) for name, (found, expected) in pairs.items()}


def oracle_loss(torch_loop: ModuleType, kind: str, targets: Array, reading: Reading) -> Any:
    return torch_loop.loss_of(kind, targets, reading.mask)


def test_the_twins_are_those_that_are_written(torch_loop: ModuleType) -> None:
    assert set(torch_loop.STEPS) == set(TWINS)


@pytest.mark.parametrize("at", READINGS)
@pytest.mark.parametrize("name", TWINNED)
def test_every_cell_under_every_reading(name: str, at: str, torch_loop: ModuleType) -> None:
    cell, x, reading = make(name, D, H), inputs(), READINGS[at]
    loss, targets = draw_loss("mse", reading, H)
    start = states(cell, B)
    wanted = torch_loop.run(
        gl.Network([cell]), x, oracle_loss(torch_loop, "mse", targets, reading), lengths=reading.lengths, start=[start]
    )
    trace = gl.trace(cell, x, loss, state=start, lengths=reading.lengths)
    assert_matches(trace, wanted, torch_loop)
    assert set(trace.param_grads) == set(cell.parameters)
    for key, array in trace.param_grads.items():
        np.testing.assert_allclose(trace.log_norm(f"dL/d{key}"), np.log(np.linalg.norm(array)), rtol=1e-12)


@pytest.mark.parametrize("at", READINGS)
@pytest.mark.parametrize("name", NATIVE)
def test_pytorchs_own_cells(name: str, at: str, torch_loop: ModuleType) -> None:
    cell, x, reading = make(name, D, H), inputs(), READINGS[at]
    loss, targets = draw_loss("mse", reading, H)
    value = oracle_loss(torch_loop, "mse", targets, reading)
    wanted = torch_loop.run(gl.Network([cell]), x, value, lengths=reading.lengths, cells=True)
    assert not wanted.layers[0][0].a
    assert_matches(gl.trace(cell, x, loss, lengths=reading.lengths), wanted, torch_loop)


@pytest.mark.parametrize("shape", ["(B, H)", "(T, B, H)"])
@pytest.mark.parametrize("name", TWINNED)
def test_projection(name: str, shape: str, torch_loop: ModuleType) -> None:
    cell, x = make(name, D, H), inputs()
    v = np.random.default_rng(8).standard_normal((T, B, H))
    mask, given = (_steps(T), v[-1]) if shape == "(B, H)" else (_steps(*range(1, T + 1)), v)
    wanted = torch_loop.run(gl.Network([cell]), x, torch_loop.loss_of("projection", v, mask))
    assert_matches(gl.trace(cell, x, gl.projection(given)), wanted, torch_loop)


STACKS = {
    "rnn-rnn": ("rnn-tanh", "rnn-tanh"),
    "lstm-lstm": ("lstm", "lstm"),
    "gru-gru": ("gru-before-replace", "gru-after-keep"),
    "lstm-gru": ("lstm", "gru-before-keep"),
    "rnn-lstm": ("rnn-relu", "lstm"),
}
READOUT_LOSSES = [
    *((g, kind) for g in ("identity", "tanh", "relu", "logistic", "softmax") for kind in ("mse", "cross_entropy")),
    ("softmax", "nll"),
    ("logistic", "nll"),
]


def stack(names: tuple[str, ...], g: str, dtype: str = "float64") -> gl.Network:
    layers = [make(name, D if i == 0 else H, H, rng=i, dtype=dtype) for i, name in enumerate(names)]
    readout = gl.Readout.init(H, O, activation=g, rng=9, dtype=dtype)
    bias = np.linspace(-0.5, 1.0, O).astype(dtype)
    return gl.Network(layers, replace(readout, b_y=bias))


@pytest.mark.parametrize(("g", "kind"), READOUT_LOSSES)
@pytest.mark.parametrize("at", ["every", "lengths-last"])
def test_two_layers_and_every_readout(g: str, kind: str, at: str, torch_loop: ModuleType) -> None:
    network, x, reading = stack(STACKS["lstm-gru"], g), inputs(), READINGS[at]
    loss, targets = draw_loss(kind, reading, O)
    wanted = torch_loop.run(network, x, oracle_loss(torch_loop, kind, targets, reading), lengths=reading.lengths)
    assert_matches(gl.trace(network, x, loss, lengths=reading.lengths), wanted, torch_loop)


@pytest.mark.parametrize("at", ["last", "mask", "lengths-every"])
@pytest.mark.parametrize("names", STACKS.values(), ids=STACKS)
def test_two_layers_of_every_kind(names: tuple[str, ...], at: str, torch_loop: ModuleType) -> None:
    network, x, reading = stack(names, "identity"), inputs(), READINGS[at]
    loss, targets = draw_loss("mse", reading, O)
    start = [states(cell, B, rng=i) for i, cell in enumerate(network.layers)]
    value = oracle_loss(torch_loop, "mse", targets, reading)
    wanted = torch_loop.run(network, x, value, lengths=reading.lengths, start=start)
    assert_matches(gl.trace(network, x, loss, lengths=reading.lengths, state=start), wanted, torch_loop)


@pytest.mark.parametrize("at", ["last", "every", "lengths-last", "lengths-every"])
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-before-replace"])
def test_both_directions_under_a_third_layer(name: str, at: str, torch_loop: ModuleType) -> None:
    both = gl.Bidirectional(make(name, D, H, rng=0), make(name, D, H - 1, rng=1))
    again = gl.Bidirectional(make(name, 2 * H - 1, 3, rng=2), make(name, 2 * H - 1, 3, rng=3))
    network = gl.Network([both, again, make("lstm", 6, H, rng=4)], gl.Readout.init(H, O, rng=5))
    x, reading = inputs(), READINGS[at]
    loss, targets = draw_loss("mse", reading, O)
    start = [(states(both.forward, B), states(both.reverse, B, rng=1)), (None, None), None]
    value = oracle_loss(torch_loop, "mse", targets, reading)
    wanted = torch_loop.run(network, x, value, lengths=reading.lengths, start=start)
    assert_matches(gl.trace(network, x, loss, lengths=reading.lengths, state=start), wanted, torch_loop)


def test_both_directions_are_pytorchs_packed_lstm() -> None:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    forward, reverse, x = make("lstm", D, H, rng=0), make("lstm", D, H, rng=1), inputs()
    module = torch.nn.LSTM(D, H, bidirectional=True).double()
    weights = {}
    for cell, tail in ((forward, "l0"), (reverse, "l0_reverse")):
        arrays = {"weight_ih": cell.W_xh, "weight_hh": cell.W_hh, "bias_ih": cell.b_h, "bias_hh": 0 * cell.b_h}
        weights |= {f"{key}_{tail}": torch.tensor(array) for key, array in arrays.items()}
    module.load_state_dict(weights)
    inputs_leaf = torch.tensor(x, requires_grad=True)
    packed, _ = module(pack_padded_sequence(inputs_leaf, torch.tensor(LENGTHS), enforce_sorted=False))
    y, _ = pad_packed_sequence(packed, total_length=T)
    v = np.random.default_rng(8).standard_normal((T, B, 2 * H))
    (torch.tensor(v) * y).sum().backward()

    trace = gl.trace(gl.Network([gl.Bidirectional(forward, reverse)]), x, gl.projection(v), lengths=LENGTHS)
    assert_normwise(np.where(WITHIN[..., None], trace.outputs, 0.0), y.detach().numpy(), DOUBLE, "y")
    one, other = trace.layers[0], trace.layers[0].reverse
    through = np.asarray(one.input_grad)
    for b, n in enumerate(LENGTHS):
        through[:n, b] += np.asarray(other.input_grad)[:n, b][::-1]
    assert_normwise(through[WITHIN], inputs_leaf.grad.numpy()[WITHIN], DOUBLE, "dL/dx")
    for key, name in (("W_xh", "weight_ih"), ("W_hh", "weight_hh"), ("b_h", "bias_ih")):
        expected = {tail: getattr(module, f"{name}_{tail}").grad.numpy() / B for tail in ("l0", "l0_reverse")}
        assert_normwise(trace.param_grads[f"layers.0.{key}"], expected["l0"], DOUBLE, key, axis=None)
        assert_normwise(trace.param_grads[f"layers.0.reverse.{key}"], expected["l0_reverse"], DOUBLE, key, axis=None)


def test_direct_is_what_arrives_with_the_layers_own_recurrence_detached() -> None:
    import torch

    lower, upper = make("rnn-tanh", D, H, rng=0), make("rnn-tanh", H, H, rng=1)
    x, v = inputs(), np.random.default_rng(8).standard_normal((B, H))
    W, seen = [[torch.tensor(c.W_xh), torch.tensor(c.W_hh), torch.tensor(c.b_h)] for c in (lower, upper)], []
    below = above = torch.zeros(B, H, dtype=torch.float64)
    for step in torch.tensor(x):
        (U, R, b), (U2, R2, b2) = W
        below = torch.tanh(step @ U.T + below.detach() @ R.T + b).requires_grad_()
        above = torch.tanh(below @ U2.T + above @ R2.T + b2)
        below.retain_grad()
        seen.append(below)
    (torch.tensor(v) * above).sum().backward()
    trace = gl.trace(gl.Network([lower, upper]), x, gl.projection(v))
    expected = np.stack([h.grad.numpy() for h in seen])
    assert_normwise(trace.layers[0].direct["h"][1:], expected, DOUBLE, "direct")
    assert not np.allclose(trace.layers[0].grad["h"][1:-1], expected[:-1], rtol=0.1)


@pytest.mark.parametrize("name", TWINNED)
def test_float32_runs_as_float32(name: str, torch_loop: ModuleType) -> None:
    cell, reading = make(name, D, H, dtype="float32"), READINGS["every"]
    network = gl.Network([cell], gl.Readout.init(H, O, rng=9, dtype="float32"))
    loss, targets = draw_loss("mse", reading, O)
    x = inputs().astype("float32")
    wanted = torch_loop.run(network, x, oracle_loss(torch_loop, "mse", targets, reading))
    trace = gl.trace(network, x, loss)
    assert_matches(trace, wanted, torch_loop, SINGLE)
    one = trace.layers[0]
    arrays = [*one.states.values(), *one.gates.values(), one.input_grad.mantissa, *trace.param_grads.values()]
    arrays += [
        scaled.mantissa for group in (one.grad, one.adjoint, one.direct, one.pre_grad) for scaled in group.values()
    ]
    arrays += [trace.loss, trace.outputs, one.jacobians.dense(1)]
    assert {array.dtype.name for array in arrays} == {"float32"}
