"""gradlab's cells as PyTorch's modules: there and back exactly, the same outputs to 1e-12 (6 steps, rounding)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.compare import assert_normwise
from oracles.family import NATIVE, make

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, D, H = 6, 3, 3, 5


def network(name: str, layers: int, both: bool) -> Any:
    """Return a network of layers of one kind, every cell with weights of its own."""

    def cell(index: int, rng: int) -> Any:
        return make(name, D if index == 0 else H * (1 + both), H, rng=10 * index + rng)

    stack = [gl.Bidirectional(cell(i, 1), cell(i, 2)) if both else cell(i, 1) for i in range(layers)]
    return gl.Network(stack)


def cells(model: Any) -> list[Any]:
    from gradlab.models.network import cells_of

    return [model] if isinstance(model, gl.Cell) else [cell for layer in model.layers for cell in cells_of(layer)]


def assert_there_and_back(model: Any) -> None:
    import torch

    x = np.random.default_rng(3).standard_normal((T, B, D)).astype(model.dtype)
    module = gl.to_torch(model)
    with torch.no_grad():
        expected = module(torch.tensor(x))[0].numpy()
    tolerance = 1e-12 if model.dtype == np.float64 else 1e-5
    assert_normwise(gl.trace(model, x).outputs, expected, tolerance, "outputs", axis=None)
    back = gl.from_torch(module)
    assert len(cells(back)) == len(cells(model))
    for found, given in zip(cells(back), cells(model), strict=True):
        assert repr(found) == repr(given)
        assert found.parameters.keys() == given.parameters.keys()
        for name, array in given.parameters.items():
            np.testing.assert_array_equal(found.parameters[name], array)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NATIVE)
def test_a_cell_comes_back_as_it_went(name: str, dtype: str) -> None:
    assert_there_and_back(make(name, D, H, dtype=dtype))


@pytest.mark.parametrize(("layers", "both"), [(2, False), (1, True), (3, True)])
@pytest.mark.parametrize("name", NATIVE)
def test_a_network_comes_back_as_it_went(name: str, layers: int, both: bool) -> None:
    assert_there_and_back(network(name, layers, both))


def test_it_trains_and_draws_no_random_number() -> None:
    import torch

    torch.manual_seed(0)
    before = torch.get_rng_state()
    module = gl.to_torch(make("lstm"))
    assert torch.equal(before, torch.get_rng_state())
    module(torch.zeros(T, B, D, dtype=torch.float64))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.training


def test_its_arrays_are_copies() -> None:
    import torch

    cell = make("lstm")
    kept = cell.W_hh.copy()
    with torch.no_grad():
        gl.to_torch(cell).weight_hh_l0.zero_()
    np.testing.assert_array_equal(cell.W_hh, kept)


class Renamed(gl.LSTM):
    """A user's own cell, which may do anything in its step."""


GRU = "gru-after-keep"
REFUSED = {
    "a GRU of another reset": (
        lambda: make("gru-before-keep"),
        'nn.GRU is reset="after", update="keep", got reset="bef',
    ),
    "a GRU of another update": (lambda: make("gru-after-replace"), "the same weights would be another network"),
    "another activation": (lambda: make("rnn-logistic"), 'nn.RNN has tanh and relu, got activation="logistic"'),
    "a user's own": (lambda: Renamed.init(2, 3, rng=0), r"torch\.nn has RNN, LSTM and GRU, got Renamed"),
    "a readout": (
        lambda: gl.Network([make("lstm")], readout=gl.Readout.init(5, 1, rng=0)),
        r"has no readout; give Network\(model\.layers\)",
    ),
    "two kinds": (
        lambda: gl.Network([make("lstm"), make(GRU, 5)]),
        "must be alike, got GRU with hidden_size 5, LSTM with hidden_size 5",
    ),
    "two sizes": (lambda: gl.Network([make("lstm"), make("lstm", 5, 4)]), "hidden_size 4, LSTM with hidden_size 5"),
    "two activations": (lambda: gl.Network([make("rnn-tanh"), make("rnn-relu", 5)]), "RNN relu.*RNN tanh"),
    "one and both directions": (
        lambda: gl.Network([make(GRU), gl.Bidirectional(make(GRU, 5), make(GRU, 5))]),
        "got some of each",
    ),
    "no model": (lambda: 3, "takes a gradlab cell or network, got int"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_cannot_be_is_refused(what: str) -> None:
    model, message = REFUSED[what]
    with pytest.raises(gl.InputError, match=message):
        gl.to_torch(model())
