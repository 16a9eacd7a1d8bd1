"""Structure: layers, directions and the readout."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.compare import assert_normwise
from oracles.family import FAMILY, make

import gradlab as gl
from gradlab.models.network import READOUTS, cells_of, output_size


@pytest.mark.parametrize("name", FAMILY)
def test_a_network_of_one_cell_is_the_cell(name: str, rng: np.random.Generator) -> None:
    cell, x, v = make(name), rng.standard_normal((6, 2, 3)), rng.standard_normal((2, 5))
    alone, inside = gl.trace(cell, x, gl.projection(v)), gl.trace(gl.Network([cell]), x, gl.projection(v))
    np.testing.assert_array_equal(alone.log_norm("adjoint"), inside.log_norm("adjoint"))
    assert {f"layers.0.{key}" for key in alone.param_grads} == set(inside.param_grads)
    for key, array in alone.param_grads.items():
        np.testing.assert_array_equal(array, inside.param_grads[f"layers.0.{key}"])


@pytest.mark.parametrize("g", READOUTS)
def test_readout_vjp_is_the_complex_step(g: str, rng: np.random.Generator) -> None:
    """Columns ``(T, ·, B)``, here T 1 and B 1; identity to rounding, 1e-13."""
    readout = gl.Readout(rng.standard_normal((4, 3)), rng.standard_normal(4), g)
    h, u = rng.standard_normal((1, 3, 1)), rng.standard_normal((1, 4, 1))
    a, y = readout.forward(h)
    found, pre_grad = readout.vjp(a, y, u)
    if g == "softmax":
        np.testing.assert_allclose(y.sum(), 1.0, rtol=1e-15)
    by_h = [(u * _complex_readout(readout, h + 1e-30j * e[:, None])).sum().imag / 1e-30 for e in np.eye(3)]
    assert_normwise(found[0, :, 0], by_h, 1e-13, "dL/dh")
    assert_normwise(found, readout.W_hy.T @ pre_grad, 1e-15, "dL/dh by dL/da", axis=None)


def _complex_readout(readout: gl.Readout, h: np.ndarray) -> np.ndarray:
    a = readout.W_hy @ h + readout.b_y[:, None]
    written_out = {
        "identity": lambda: a,
        "tanh": lambda: np.tanh(a),
        "relu": lambda: a * (a.real > 0),
        "logistic": lambda: 1 / (1 + np.exp(-a)),
        "softmax": lambda: np.exp(a) / np.exp(a).sum(axis=-2, keepdims=True),
    }
    return written_out[readout.activation]()


def test_softmax_of_large_logits_is_finite() -> None:
    readout = gl.Readout(np.array([[1000.0], [-1000.0]]), activation="softmax")
    _, y = readout.forward(np.ones((1, 1, 1)))
    np.testing.assert_array_equal(y[0, :, 0], [1.0, 0.0])


def test_sizes_and_cells() -> None:
    both = gl.Bidirectional(make("lstm", 3, 5), make("gru-after-keep", 3, 4))
    network = gl.Network([both, make("rnn-tanh", 9, 2)], gl.Readout.init(2, 7, rng=0))
    assert output_size(both) == 9
    assert cells_of(both) == (both.forward, both.reverse)
    assert network.input_size == 3
    assert network.dtype == "float64"
    trace = gl.trace(network, np.zeros((4, 2, 3)))
    assert trace.outputs.shape == (4, 2, 7)
    assert trace.layers[0].states["h"].shape == (5, 2, 5)
    assert trace.layers[0].reverse.states["h"].shape == (5, 2, 4)
    assert trace.layers[1].reverse is None


def test_readout_repr_and_parameters() -> None:
    readout = gl.Readout.init(3, 2, activation="softmax", rng=0, dtype="float32")
    assert repr(readout) == "Readout(hidden_size=3, output_size=2, activation='softmax', float32)"
    assert {key: array.shape for key, array in readout.parameters.items()} == {"W_hy": (2, 3), "b_y": (2,)}


def test_parameters_by_name_and_replaced() -> None:
    """The names are those of ``trace.param_grads``; what is not named stays the very array it was."""
    pair = gl.Bidirectional(gl.GRU.init(2, 3, rng=0), gl.GRU.init(2, 3, reset="after", rng=1))
    network = gl.Network([pair, gl.LSTM.init(6, 4, rng=2)], readout=gl.Readout.init(4, 2, activation="tanh", rng=3))
    trace = gl.trace(network, np.ones((3, 2, 2)), gl.mse(np.ones((2, 2))))
    assert list(network.parameters) == list(trace.param_grads) == list(trace.scaled_param_grads)
    assert all(array.shape == trace.param_grads[name].shape for name, array in network.parameters.items())
    new = {name: np.full_like(network.parameters[name], 7.0) for name in ("layers.0.reverse.b_hn", "readout.W_hy")}
    changed = network.with_parameters(new)
    for name, array in changed.parameters.items():
        assert (array == 7.0).all() if name in new else array is network.parameters[name]
    assert [type(layer) for layer in changed.layers] == [gl.Bidirectional, gl.LSTM]
    assert changed.readout.activation == "tanh"
    assert gl.Network([network.layers[0]]).with_parameters({}).readout is None
