"""Pascanu's regulariser against autograd of its expression with all but W_hh detached, and by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import make

import gradlab as gl
from gradlab.training.regulariser import omega

Array = NDArray[Any]
T, B, D, H = 7, 4, 3, 5


def a_pass(cell: gl.RNN, *, T: int = T, at: Any = "every") -> gl.Trace:
    rng = np.random.default_rng(4)
    return gl.trace(cell, rng.standard_normal((T, B, D)), gl.mse(rng.standard_normal((T, B, H)), at=at))


@pytest.mark.torch_oracle
@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
@pytest.mark.parametrize("at", ["every", "last", [2, 4]])
def test_value_and_derivative(activation: str, at: Any) -> None:
    """The mean over the sequences of autograd's; 1e-12, a sum of T products. Steps after the last loss are left out."""
    torch = import_module("torch")
    oracle = import_module("oracles.torch_training")
    slopes = {
        "tanh": lambda a: 1 - torch.tanh(a) ** 2,
        "relu": lambda a: (a > 0).double(),
        "logistic": lambda a: torch.sigmoid(a) * (1 - torch.sigmoid(a)),
        "identity": torch.ones_like,
    }
    cell = make(f"rnn-{activation}", D, H)
    trace = a_pass(cell, at=[2, 4] if at == [2, 4] else at) if at != [2, 4] else _listed(cell)
    layer = trace.layers[0]
    pre, grad = layer.tape.record["a"], np.asarray(layer.pre_grad["h"])
    each = [oracle.omega(pre[:, :, b], grad[:, b], cell.W_hh, slopes[activation]) for b in range(B)]
    found = omega(layer)
    np.testing.assert_allclose(found.value, np.mean([value for value, _ in each]), rtol=1e-12)
    assert_normwise(found.by_W_hh, np.mean([by for _, by in each], axis=0), 1e-12, axis=None)


def _listed(cell: gl.RNN) -> gl.Trace:
    rng = np.random.default_rng(4)
    return gl.trace(cell, rng.standard_normal((T, B, D)), gl.mse(rng.standard_normal((2, B, H)), at=[2, 4]))


def test_a_rotation_costs_nothing() -> None:
    cell = gl.RNN.init(D, H, recurrent="orthogonal", activation="identity", rng=0)
    found = omega(a_pass(cell, at="last").layers[0])
    assert found.value < 1e-28
    assert np.abs(found.by_W_hh).max() < 1e-14


def test_a_scaled_rotation_costs_its_square() -> None:
    """Linear and W = sQ: every ratio is s, Ω = (T − 1)(s − 1)², whatever the gradient's size."""
    for scale, steps in ((0.5, 7), (1e-3, 400), (30.0, 400)):
        cell = gl.RNN.init(D, H, recurrent="orthogonal", scale=scale, activation="identity", rng=0)
        trace = gl.trace(cell, np.zeros((steps, B, D)), gl.projection(np.ones((B, H))))
        np.testing.assert_allclose(omega(trace.layers[0]).value, (steps - 1) * (scale - 1.0) ** 2, rtol=1e-10)


def test_dead_units_leave_numbers() -> None:
    cell = gl.RNN(W_xh=np.zeros((H, D)), W_hh=np.eye(H), b_h=-np.ones(H), activation="relu")
    found = omega(a_pass(cell).layers[0])
    assert found.value == 0.0
    assert not found.by_W_hh.any()


def test_its_gradient_is_added_before_clipping() -> None:
    """One step of SGD with and without; every layer's own, in both directions, the readout untouched."""
    layers = [
        gl.Bidirectional(make("rnn-tanh", D, H, rng=1), make("rnn-tanh", D, H, rng=2)),
        make("rnn-relu", 2 * H, H),
    ]
    model = gl.Network(layers, readout=gl.Readout.init(H, 2, rng=3))
    rng = np.random.default_rng(6)
    batch = rng.standard_normal((T, B, D)), gl.mse(rng.standard_normal((B, 2)))
    plain, regularised = (
        gl.Training(model, lambda step: batch, optimiser=gl.SGD(1.0), omega=weight).run(1) for weight in (0.0, 0.3)
    )
    trace = gl.trace(model, *batch)
    by_name = {trace.parameter_name(one, "W_hh"): omega(one).by_W_hh for one in trace.passes}
    assert set(by_name) == {"layers.0.W_hh", "layers.0.reverse.W_hh", "layers.1.W_hh"}
    for name, array in plain.model.parameters.items():
        more = 0.3 * by_name[name] if name in by_name else np.zeros_like(array)
        assert_normwise(array - regularised.model.parameters[name], more, 1e-12, name, axis=None) if more.any() else (
            np.testing.assert_array_equal(array, regularised.model.parameters[name])
        )
    assert regularised.norms[0] != plain.norms[0]
    assert regularised.losses[0] == plain.losses[0]


def test_it_lowers_omega() -> None:
    """Trained on a loss of nothing but Ω, Ω falls: the derivative points uphill."""
    cell = make("rnn-tanh", D, H)
    rng = np.random.default_rng(6)
    batch = rng.standard_normal((T, B, D)), gl.mse(rng.standard_normal((B, H)))
    training = gl.Training(cell, lambda step: batch, optimiser=gl.SGD(0.01), omega=10.0).run(30)
    before, after = (omega(gl.trace(model, *batch).layers[0]).value for model in (cell, training.model))
    assert after < 0.8 * before


@pytest.mark.parametrize("name", ["lstm", "gru-after-keep"])
def test_other_cells_are_refused(name: str) -> None:
    with pytest.raises(gl.InputError, match="omega is Pascanu's regulariser of a vanilla RNN, got"):
        gl.Training(gl.Network([make("rnn-tanh", 3, 3), make(name, 3, 3)]), lambda step: None, omega=0.1)  # type: ignore[arg-type, return-value]
