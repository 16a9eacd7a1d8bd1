"""The hook sensitivity: E h² and E (∂h/∂w)², against the forward recursion of ∂h/∂λ and each sequence on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.family import FAMILY, make

import gradlab as gl
from gradlab.errors import InputError

T, B, D, H = 30, 4, 2, 5
ENDS = np.array([30, 25, 10, 3])
cases = pytest.mark.parametrize("name", FAMILY)


def measured(trace: gl.Trace) -> Any:
    return trace.measured()["runs"].iloc[0]


def diagonal(scale: float, steps: int, batch: int, hidden: int = 6, **options: Any) -> tuple[gl.Trace, Any]:
    """Return a linear network of W_hh = λI whose loss reads the last step through a readout, and its input."""
    cell = gl.RNN.init(3, hidden, recurrent="identity", scale=scale, activation="identity", rng=0)
    x = np.random.default_rng(1).standard_normal((steps, batch, 3))
    model = gl.Network([cell], readout=gl.Readout.init(hidden, 1, rng=2))
    return gl.trace(model, x, gl.projection(np.ones((batch, 1))), hooks=["sensitivity"], **options), x


@pytest.mark.parametrize("scale", [0.5, 0.9, 0.99, 1.0, 1.1])
def test_of_a_diagonal_linear_network_it_is_the_forward_sensitivity(scale: float) -> None:
    """S_t = λ S_(t−1) + h_(t−1), unit by unit in plain NumPy: ∂h_t/∂λ. Sums of 200 products, hence 1e-12."""
    trace, x = diagonal(scale, steps=200, batch=7)
    drive = x @ trace.layers[0].cell.W_xh.T
    h, by_weight, states = np.zeros(drive.shape[1:]), np.zeros(drive.shape[1:]), []
    for at_step in drive:
        h, by_weight = scale * h + at_step, scale * by_weight + h
        states.append(h)
    row = measured(trace)
    np.testing.assert_allclose(row.weight_sensitivity, np.square(by_weight).mean(), rtol=1e-12)
    np.testing.assert_allclose(row.state_power, np.square(states[20:]).mean(), rtol=1e-12)


@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
@cases
def test_it_is_each_sequences_own_gradient(name: str, lengths: Any) -> None:
    """Every parameter of every cell: a batch of one has that sequence's gradient; a loss at every step counts once."""
    cell, rng = make(name, D, H), np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H))
    found = gl.trace(cell, x, gl.projection(v), lengths=lengths).layers[0]
    ends = [T] * B if lengths is None else lengths.tolist()
    for b, end in enumerate(ends):
        last = np.zeros((end, 1, H))
        last[-1] = v[end - 1, b]
        alone = gl.trace(cell, x[:end, b : b + 1], gl.projection(last)).layers[0]
        for key in cell.parameters:
            wanted = np.log(np.linalg.norm(alone.param_grads[key]) / np.linalg.norm(v[end - 1, b]))
            np.testing.assert_allclose(found.param_sensitivity(key)[b], wanted, rtol=1e-11, atol=1e-12)


@cases
def test_the_columns(name: str) -> None:
    cell, rng = make(name, D, H), np.random.default_rng(0)
    x, v = rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    trace = gl.trace(cell, x, gl.projection(v), lengths=ENDS, hooks=["sensitivity"])
    row, one = measured(trace), trace.layers[0]
    h = np.concatenate([one.states["h"][1 + 3 : end + 1, b] for b, end in enumerate(ENDS)])
    np.testing.assert_allclose(row.state_power, np.square(h).mean(), rtol=1e-13)
    if "W_hh" in cell.parameters:
        np.testing.assert_allclose(row.weight_sensitivity, np.exp(2 * one.param_sensitivity()).mean() / H, rtol=1e-13)
    else:
        assert np.isnan(row.weight_sensitivity)


def test_beyond_the_range_of_floats() -> None:
    """A gradient that has died or grown away in plain numbers still has its ratio; what fits no float is infinite."""
    for scale, steps in ((0.1, 1000), (3.0, 400)):
        trace, _ = diagonal(scale, steps=steps, batch=2)
        logs = trace.layers[0].param_sensitivity()
        assert np.isfinite(logs).all()
    trace, _ = diagonal(3.0, steps=400, batch=2)
    assert measured(trace).weight_sensitivity == np.inf


def test_a_loss_that_reads_nothing_of_a_sequence() -> None:
    cell, v = make("rnn-tanh", D, H), np.zeros((B, H))
    x = np.random.default_rng(0).standard_normal((T, B, D))
    assert np.isnan(measured(gl.trace(cell, x, gl.projection(v), hooks=["sensitivity"])).weight_sensitivity)
    v[1] = 1.0
    trace = gl.trace(cell, x, gl.projection(v), hooks=["sensitivity"])
    wanted = np.exp(2 * trace.layers[0].param_sensitivity()[1]) / H
    np.testing.assert_allclose(measured(trace).weight_sensitivity, wanted, rtol=1e-13)


def test_a_cell_without_recurrent_weights_of_that_name() -> None:
    cell = gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=2, input_size=2)
    x = np.random.default_rng(0).standard_normal((T, B, 2))
    row = measured(gl.trace(cell, x, gl.projection(np.ones((B, 2))), hooks=["sensitivity"]))
    assert np.isnan(row.weight_sensitivity)
    assert row.state_power > 0.0


def test_an_unknown_parameter() -> None:
    trace, _ = diagonal(0.9, steps=3, batch=1)
    with pytest.raises(InputError, match='unknown parameter "W_hx"; did you mean "W_xh"'):
        trace.layers[0].param_sensitivity("W_hx")
