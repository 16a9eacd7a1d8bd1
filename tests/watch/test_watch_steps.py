"""Cells in a hand-written loop and layers called step by step: one sequence, whose totals are seen as they are.

Against the same loop written from the cells' equations, every intermediate kept; what h feeds back through the next
input is part of both. Tolerance: normwise relative 1e-10 a vector in float64.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from oracles.compare import assert_normwise
from watch.keep import Keep

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, H = 6, 3, 4
KINDS = {"tanh": ("RNN", {}), "relu": ("RNN", {"nonlinearity": "relu"}), "lstm": ("LSTM", {}), "gru": ("GRU", {})}


def module(kind: str, layers: int = 0, **options: Any) -> Any:
    """Return a cell, or a layer (stack of them) to be called step by step; both read inputs as wide as their state."""
    import torch

    torch.manual_seed(3)
    name, more = KINDS[kind]
    if layers:
        return getattr(torch.nn, name)(H, H, layers, dtype=torch.float64, **more, **options)
    return getattr(torch.nn, f"{name}Cell")(H, H, dtype=torch.float64, **more, **options)


def draws() -> tuple[Any, Any, Any]:
    """Return inputs, the loss's weights, of which two steps have none, and what is fed back."""
    import torch

    rng = np.random.default_rng(5)
    v = rng.standard_normal((T, B, H)) * (np.isin(np.arange(T), (1, 3)) == 0)[:, None, None]
    return torch.tensor(rng.standard_normal((T, B, H))), torch.tensor(v), torch.tensor(rng.standard_normal((H, H)))


def user_loop(module: Any, layers: int) -> Any:
    """Return the loss of a decoder that is fed its own output."""
    import torch

    x, v, feedback = draws()
    state, value = None, torch.zeros((), dtype=torch.float64)
    step = x[0]
    for t in range(T):
        if layers:
            output, state = module(step[:, None] if module.batch_first else step[None], state)
            h = output.reshape(B, H)
        else:
            state = module(step, state)
            h = state[0] if isinstance(state, tuple) else state
        value = value + (v[t] * h).sum()
        if t < T - 1:
            step = x[t + 1] + torch.tanh(h @ feedback)
    return value


def oracle_loop(module: Any) -> list[Any]:
    """Return the passes of the same loop, from the equations, after backward."""
    import torch

    torch_loop = import_module("oracles.torch_loop")
    model = gl.from_torch(module)
    cells = list(model.layers) if isinstance(model, gl.Network) else [model]
    passes = []
    for cell in cells:
        p = {key: torch_loop.leaf(array) for key, array in cell.parameters.items()}
        passes.append(torch_loop.Pass(p, [], h=[torch_loop.leaf(np.zeros((B, H)))]))
        if cell.name == "lstm":
            passes[-1].c.append(torch_loop.leaf(np.zeros((B, H))))
            passes[-1].c_kept.append(torch_loop.kept(passes[-1].c[0]))
    x, v, feedback = draws()
    value, step = torch.zeros((), dtype=torch.float64), x[0]
    for t in range(T):
        sequence = step
        for cell, one in zip(cells, passes, strict=True):
            one.x.append(torch_loop.kept(sequence) if sequence.requires_grad else torch_loop.leaf(sequence))
            torch_loop._advance(one, cell, one.x[-1], torch.ones(B, 1, dtype=torch.bool), None)
            sequence = one.output[-1]
        value = value + (v[t] * sequence).sum()
        if t < T - 1:
            step = x[t + 1] + torch.tanh(sequence @ feedback)
    value.backward()
    return passes


def assert_same(found: list[Any], wanted: list[Any]) -> None:
    numbers = import_module("oracles.torch_loop").numbers
    assert len(found) == len(wanted)
    for one, expected in zip(found, wanted, strict=True):
        direct = numbers(expected.output)
        pairs = [
            ("dL/dh", one.grad["h"], numbers(expected.h)),
            ("dL/dx", one.input_grad, numbers(expected.x)),
            ("direct", np.asarray(one.direct["h"])[1:], direct),
            *((f"dL/da_{g}", one.pre_grad[g], numbers(tensors)) for g, tensors in expected.a.items()),
        ]
        if expected.c:
            pairs += [("dL/dc", one.grad["c"], numbers(expected.c))]
            pairs += [("δ_c", one.adjoint["c"], numbers(expected.c_kept))]
        for name, have, want in pairs:
            assert_normwise(np.asarray(have), want, 1e-10, f"{name}, layer {one.layer}")


def watched(module: Any, layers: int = 0) -> Keep:
    keep = Keep()
    with gl.watch(module, hooks=[keep]) as w:
        user_loop(module, layers).backward()
    assert not w.refused
    return keep


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_in_a_loop_that_is_fed_its_own_output(kind: str) -> None:
    cell = module(kind)
    (found,) = watched(cell).passes
    assert found[0].tape.steps == T
    assert_same(found, oracle_loop(cell))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_called_step_by_step(kind: str, batch_first: bool, layers: int) -> None:
    stack = module(kind, layers, batch_first=batch_first)
    (found,) = watched(stack, layers).passes
    assert_same(found, oracle_loop(stack))


def test_an_lstm_cell_whose_states_come_from_one_node() -> None:
    """As the fused kernel on a GPU: what arrives at c then holds h fixed, and is not the total."""
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            with torch.enable_grad():
                leaves = [tensor.detach().requires_grad_() for tensor in given]
                ctx.leaves, ctx.out = leaves, torch._VF.lstm_cell(leaves[0], leaves[1:3], *leaves[3:])
            return tuple(tensor.detach() for tensor in ctx.out)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return torch.autograd.grad(ctx.out, ctx.leaves, grads)

    class OneNode(torch.nn.LSTMCell):
        def forward(self, x: Any, state: Any = None) -> Any:
            zero = torch.zeros(len(x), H, dtype=x.dtype)
            weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
            return Fused.apply(x, *(state or (zero, zero)), *weights)

    torch.manual_seed(3)
    cell = OneNode(H, H, dtype=torch.float64)
    (found,) = watched(cell).passes
    assert_same(found, oracle_loop(cell))


def test_without_feedback_and_a_loss_at_the_end_alone_the_last_adjoint_is_the_adjoint() -> None:
    import torch

    cell, keep = module("lstm"), Keep()
    x, _, _ = draws()
    with gl.watch(cell, hooks=[keep]):
        state = None
        for step in x:
            state = cell(step, state)
        state[0].sum().backward()
    one = keep.passes[0][0]
    np.testing.assert_allclose(one.log_norm("last_adjoint"), one.log_norm("adjoint"), rtol=0, atol=1e-12)
    assert np.isneginf(one.log_norm("direct")[:-1]).all(), (
        "what rounding leaves of a difference is nothing that arrived"
    )
    trace = gl.trace(gl.from_torch(cell), x.numpy(), gl.projection(np.ones((B, H))))
    np.testing.assert_allclose(one.log_norm("adjoint"), trace.log_norm("adjoint"), rtol=0, atol=1e-10)
    assert torch.is_grad_enabled()


def test_the_last_adjoint_of_each_sequence_starts_where_its_own_loss_is_read() -> None:
    cell, keep = module("gru"), Keep()
    x, _, _ = draws()
    ends = np.array([6, 2, 4])
    with gl.watch(cell, hooks=[keep]):
        state, value = None, 0.0
        for t, step in enumerate(x, start=1):
            state = cell(step, state)
            for b in np.flatnonzero(ends == t):
                value = value + state[b].sum()
            value = value + 1e-3 * state[ends >= t].sum()
        value.backward()
    one = keep.passes[0][0]
    alone = gl.trace(gl.from_torch(cell), x.numpy(), gl.projection(np.full((B, H), 1.001)), lengths=ends)
    for b, end in enumerate(ends):
        found = one.log_norm("last_adjoint")[: end + 1, b]
        np.testing.assert_allclose(found, alone.log_norm("last_adjoint")[: end + 1, b], rtol=0, atol=1e-10)


CHANGES = {
    "handed on": (lambda h: h, [6]),
    "handed on as a copy": (lambda h: h.clone(), [6]),
    "detached": (lambda h: h.detach(), [1] * 6),
    "masked": (lambda h: 0.5 * h, [1] * 6),
    "changed in place": (lambda h: h.mul_(0.5), [1] * 6),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_that_is_not_the_one_given_begins_a_new_sequence(change: str) -> None:
    cell, keep = module("gru"), Keep()
    make, expected = CHANGES[change]
    x, v, _ = draws()
    with gl.watch(cell, hooks=[keep]) as w:
        h, value = cell(x[0]), 0.0
        for t in range(1, T):
            value = value + (v[0] * h.clone()).sum()
            h = cell(x[t], make(h))
        (value + h.sum()).backward()
    assert not w.refused
    assert [one[0].tape.steps for one in keep.passes] == expected


def test_two_sequences_in_turn_are_two() -> None:
    cell, keep = module("lstm"), Keep()
    x, _, _ = draws()
    with gl.watch(cell, hooks=[keep]):
        states = [None, None]
        for step in x:
            states = [cell((1 + k) * step, state) for k, state in enumerate(states)]
        (states[0][0].sum() + states[1][0].sum()).backward()
    assert [one[0].tape.steps for one in keep.passes] == [T, T]
    for k, one in enumerate(keep.passes):
        trace = gl.trace(gl.from_torch(cell), (1 + k) * x.numpy(), gl.projection(np.ones((B, H))))
        np.testing.assert_allclose(one[0].log_norm("dL/dh"), trace.log_norm("dL/dh"), rtol=0, atol=1e-10)


def test_a_call_over_several_steps_is_a_sequence_of_its_own() -> None:
    """Windows that hand their state on: the gradient at a window's last state comes from the windows after it."""
    layer, keep = module("lstm", 1), Keep()
    x, _, _ = draws()
    with gl.watch(layer, hooks=[keep]):
        _, state = layer(x[:2])
        _, state = layer(x[2:], state)
        state[0].sum().backward()
    whole = gl.trace(gl.from_torch(layer), x.numpy(), gl.projection(np.ones((B, H))))
    first, second = (one[0].log_norm("adjoint") for one in keep.passes)
    np.testing.assert_allclose(first, whole.log_norm("adjoint")[:3], rtol=0, atol=1e-10)
    np.testing.assert_allclose(second, whole.log_norm("adjoint")[2:], rtol=0, atol=1e-10)
