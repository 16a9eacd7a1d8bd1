"""A watched PyTorch module's gradients against the same network as a loop over cells with ``retain_grad``.

Tolerance: normwise relative 1e-10 a vector in float64, which T ≤ 7 products keep with room.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from oracles.compare import assert_normwise

import gradlab as gl

pytestmark = pytest.mark.torch_oracle


class Keep(gl.Hook):
    """Keeps the layers of the newest pass."""

    def begin(self, info: Any) -> None:
        self.passes: list[Any] = []

    def forward(self, segment: Any) -> None:
        self.passes.append(segment)


def assert_right(seed: int, device: str = "cpu") -> None:
    import torch

    architectures = import_module("watch.architectures")
    drawn, keep = architectures.draw(seed), Keep()
    wanted = architectures.answer(drawn)
    drawn.module.to(device)
    with torch.device(device), gl.watch(drawn.module, hooks=[keep]) as w:
        value = architectures.run(drawn)
        if value.requires_grad:
            value.backward()
    assert not w.refused, f"{drawn}: {w.refused}"
    if value.requires_grad:
        architectures.assert_same(keep.passes, wanted)
        for one in keep.passes:
            tail = f"_l{one.layer}" + ("_reverse" if one.direction == "reverse" else "")
            expected = getattr(drawn.module, f"weight_hh{tail}").grad.cpu().numpy()
            assert_normwise(one.param_grads["W_hh"], expected, 1e-10, "autograd's own dL/dW_hh", axis=None)


@pytest.mark.parametrize("seed", range(30))
def test_thirty_random_architectures(seed: int) -> None:
    assert_right(seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(30, 230))
def test_two_hundred_random_architectures(seed: int) -> None:
    assert_right(seed)


@pytest.mark.parametrize("where", ["output", "h_n", "c_n", "all"])
def test_float32_where_output_and_last_states_may_come_from_one_node(where: str) -> None:
    """PyTorch's fused CPU kernel, as a GPU's, has one node for all three. Tolerance: float32 over 7 steps, 1e-4."""
    import torch

    torch.manual_seed(2)
    module, keep = torch.nn.LSTM(3, 4), Keep()
    x = torch.randn(7, 2, 3)
    with gl.watch(module, hooks=[keep]) as w:
        output, (h, c) = module(x)
        parts = {"output": output[3].sum(), "h_n": h.sum(), "c_n": c.sum()}
        (sum(parts.values()) if where == "all" else parts[where]).backward()
    assert not w.refused
    one = keep.passes[0]
    assert one.tape.states.dtype == np.float32
    for name in ("W_hh", "W_xh"):
        expected = getattr(module, {"W_hh": "weight_hh_l0", "W_xh": "weight_ih_l0"}[name]).grad.numpy()
        assert_normwise(one.param_grads[name], expected, 1e-4, name, axis=None)


@pytest.mark.parametrize(("kind", "factor"), [("RNN", 6), ("LSTM", 20), ("GRU", 12)])
def test_a_chaotic_layer_in_float32(kind: str, factor: float) -> None:
    """Rounding grows to the size of the state, so the layer run again is another one; steps taken from its own are not.

    Tolerance: float32 over 120 steps, none of whose errors is carried on, 1e-4.
    """
    import torch

    torch.manual_seed(3)
    module, keep = getattr(torch.nn, kind)(2, 32), Keep()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter * factor)
    x = torch.randn(120, 2, 2)
    with gl.watch(module, hooks=[keep]) as w:
        module(x)[0][-1].sum().backward()
    assert not w.refused
    one = keep.passes[0]
    expected = module.weight_hh_l0.grad.numpy()
    assert_normwise(one.param_grads["W_hh"], expected, 1e-4, "dL/dW_hh", axis=None)
    again = gl.trace(gl.from_torch(module), x.numpy()).states["h"]
    assert np.linalg.norm(again - one.states["h"]) > 0.1 * np.linalg.norm(again), "this layer is chaotic"


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "states": {"bidirectional": True},
    "batch first": {"batch_first": True, "bias": False},
    "unbatched": {"bidirectional": True},
    "packed": {"bidirectional": True},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "factor"), [("RNN", 6), ("LSTM", 20), ("GRU", 12)])
def test_a_chaotic_stack_in_float32(kind: str, factor: float, form: str) -> None:
    """No hook sees between its layers; what lies there is had again to the last bit.

    Tolerance: float32 over 3 · 120 steps, in which PyTorch's ``1 − h²`` loses digits of saturated units, 1e-3; along
    another trajectory it would be of the size of the gradient.
    """
    import torch

    torch.manual_seed(3)
    module, keep = getattr(torch.nn, kind)(2, 32, num_layers=3, **FORMS[form]), Keep()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter * factor)
    x = torch.randn(*((120, 2) if form == "unbatched" else (4, 120, 2) if module.batch_first else (120, 4, 2)))
    given: Any = [x]
    if form == "packed":
        given = [torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([100, 120, 90, 110]), enforce_sorted=False)]
    elif form == "states":
        h = torch.randn(6, 4, 32)
        given = [x, (h, h.flip(0)) if kind == "LSTM" else h]
    with gl.watch(module, hooks=[keep]) as w:
        output, _ = module(*given)
        (output.data if form == "packed" else output).square().sum().backward()
    assert not w.refused
    assert len(keep.passes) == 3 * (1 + module.bidirectional)
    for one in keep.passes:
        tail = f"_l{one.layer}" + ("_reverse" if one.direction == "reverse" else "")
        for ours, name in (("W_hh", f"weight_hh{tail}"), ("W_xh", f"weight_ih{tail}")):
            assert_normwise(one.param_grads[ours], getattr(module, name).grad.numpy(), 1e-3, name, axis=None)
    if form == "plain":
        again = gl.trace(gl.from_torch(module), x.numpy()).layers[1].states["h"]
        below = keep.passes[1].states["h"]
        assert np.linalg.norm(again - below) > 0.1 * np.linalg.norm(again), "its lower layers are chaotic"
