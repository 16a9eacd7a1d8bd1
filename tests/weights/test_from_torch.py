"""PyTorch's recurrent modules as gradlab's cells: the same outputs, which is what tells one layout from another.

Tolerance: normwise relative 1e-12 in float64 over 6 steps, 1e-5 in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.compare import assert_normwise

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, D, H = 6, 3, 2, 4
LAYERED = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}


def made(kind: str, dtype: str = "float64", **options: Any) -> Any:
    import torch

    torch.manual_seed(1)
    name, more = LAYERED[kind]
    return getattr(torch.nn, name)(D, H, dtype=getattr(torch, dtype), **more, **options)


def both_outputs(module: Any, dtype: str = "float64") -> tuple[Any, Any]:
    import torch

    x = np.random.default_rng(2).standard_normal((T, B, D)).astype(dtype)
    with torch.no_grad():
        return gl.trace(gl.from_torch(module), x).outputs, module(torch.tensor(x))[0].numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (1, True), (3, True)])
@pytest.mark.parametrize("kind", LAYERED)
def test_layers_compute_what_the_module_computes(kind: str, layers: int, both: bool, bias: bool) -> None:
    found, expected = both_outputs(made(kind, num_layers=layers, bidirectional=both, bias=bias))
    assert_normwise(found, expected, 1e-12, "outputs", axis=None)


@pytest.mark.parametrize("kind", LAYERED)
def test_float32_stays_and_halves_are_widened(kind: str) -> None:
    found, expected = both_outputs(made(kind, "float32"), "float32")
    assert_normwise(found, expected, 1e-5, "outputs", axis=None)
    assert found.dtype.name == "float32"
    for half in ("float16", "bfloat16"):
        assert gl.from_torch(made(kind, half)).dtype.name == "float32"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LAYERED)
def test_cells_compute_what_the_module_computes(kind: str, bias: bool) -> None:
    import torch

    name, more = LAYERED[kind]
    module = getattr(torch.nn, f"{name}Cell")(D, H, bias=bias, dtype=torch.float64, **more)
    x = np.random.default_rng(2).standard_normal((T, B, D))
    state, outputs = None, []
    with torch.no_grad():
        for step in torch.tensor(x):
            state = module(step, state)
            outputs.append((state[0] if kind == "lstm" else state).numpy())
    assert_normwise(gl.trace(gl.from_torch(module), x).outputs, np.stack(outputs), 1e-12, "outputs", axis=None)


def test_one_layer_is_a_cell_and_its_arrays_are_copies() -> None:
    import torch

    module = made("lstm")
    cell = gl.from_torch(module)
    assert isinstance(cell, gl.LSTM)
    before = cell.W_hh.copy()
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    np.testing.assert_array_equal(cell.W_hh, before)
    assert isinstance(gl.from_torch(made("gru", num_layers=2)), gl.Network)


def test_parametrised_weights_are_those_in_effect() -> None:
    import torch
    from torch.nn.utils import parametrizations

    module = made("tanh")
    parametrizations.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(0.5)
    np.testing.assert_array_equal(gl.from_torch(module).W_hh, module.weight_hh_l0.detach().numpy())


def test_what_it_cannot_be_is_refused() -> None:
    import torch

    with pytest.raises(gl.InputError, match=r"one of torch\.nn's RNN, LSTM.*got Linear"):
        gl.from_torch(torch.nn.Linear(2, 2))
    with pytest.raises(gl.InputError, match="no projection, got proj_size=2"):
        gl.from_torch(torch.nn.LSTM(3, 4, proj_size=2))
    module = made("tanh")
    with torch.no_grad():
        module.weight_hh_l0[1, 2] = float("nan")
    with pytest.raises(gl.InputError, match="W_hh must be finite"):
        gl.from_torch(module)
