"""A trace that was saved and opened again answers as it did; what is no trace is refused, and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.compare import assert_normwise
from oracles.family import FAMILY, make, states

import gradlab as gl
from gradlab._trace.files import FORMAT
from gradlab.errors import InputError, StoreError
from gradlab.models import archive

T, B, D, H = 30, 3, 2, 4
ENDS = np.array([30, 7, 12])


def network(name: str) -> gl.Network:
    both = gl.Bidirectional(make(name, D, H), make(name, D, H, rng=1))
    return gl.Network([both, make(name, 2 * H, H)], readout=gl.Readout.init(H, 2, activation="tanh", rng=3))


def x() -> Any:
    return np.random.default_rng(0).standard_normal((T, B, D))


def assert_same(one: gl.LayerTrace, two: gl.LayerTrace) -> None:
    for state in one.cell.state_names:
        assert_normwise(two.states[state], one.states[state], 1e-12, state, axis=None)
        assert_normwise(two.grad[state], one.grad[state], 1e-12, f"dL/d{state}", axis=None)
    for quantity in one.quantities:
        np.testing.assert_allclose(two.log_norm(quantity), one.log_norm(quantity), rtol=1e-10, atol=1e-10)
    k = one.cell.state_size
    np.testing.assert_allclose(two.spectrum(k).exponents, one.spectrum(k).exponents, atol=1e-9)
    np.testing.assert_allclose(two.jacobians.norm(2), one.jacobians.norm(2), rtol=1e-10)


def saved(trace: gl.Trace, folder: Path) -> gl.Trace:
    return gl.load_trace(trace.save(folder / "one.npz"))


@pytest.mark.parametrize("name", FAMILY)
def test_every_cell(name: str, tmp_path: Path) -> None:
    cell = make(name, D, H)
    trace = gl.trace(cell, x(), gl.projection(np.ones((B, H))), state=states(cell, B))
    again = saved(trace, tmp_path)
    assert isinstance(again.model, type(cell))
    np.testing.assert_allclose(again.loss, trace.loss, rtol=1e-12)
    assert_same(trace.layers[0], again.layers[0])
    assert str(again.verdict()) == str(trace.verdict())


@pytest.mark.parametrize("lengths", [None, ENDS], ids=["equal", "lengths"])
@pytest.mark.parametrize(
    "loss",
    [
        gl.mse(np.ones((B, 2))),
        gl.mse(np.ones((2, B, 2)), at=[2, 5]),
        gl.cross_entropy(np.ones(B, int), at=np.arange(T * B).reshape(T, B) < 9),
        gl.projection(np.ones((B, 2))),
        None,
    ],
    ids=["last", "steps", "mask", "projection", "none"],
)
def test_networks_lengths_and_losses(loss: Any, lengths: Any, tmp_path: Path) -> None:
    trace = gl.trace(network("lstm"), x(), loss, lengths=lengths, hooks=["gates"])
    again = gl.load_trace(trace.save(tmp_path / "one.npz"), hooks=["gates"])
    np.testing.assert_allclose(again.outputs, trace.outputs, rtol=1e-12)
    if loss is not None:
        for one, two in zip(trace.passes, again.passes, strict=True):
            assert_same(one, two)
        for name, array in trace.param_grads.items():
            assert_normwise(again.param_grads[name], array, 1e-12, name, axis=None)
    for name, table in trace.measured().items():
        pd.testing.assert_frame_equal(again.measured()[name], table, rtol=1e-10)


def test_a_loss_that_is_a_function(tmp_path: Path) -> None:
    trace = gl.trace(make("lstm", D, H), x(), lambda y: ((y**3).sum(axis=(0, 2)), 3 * y**2))
    again = saved(trace, tmp_path)
    np.testing.assert_array_equal(again.loss, trace.loss)
    assert_same(trace.layers[0], again.layers[0])
    assert again.verdict().word == trace.verdict().word
    twice = saved(again, tmp_path)
    assert_same(trace.layers[0], twice.layers[0])


def test_chaos_does_not_depend_on_rounding(tmp_path: Path) -> None:
    """Of 2000 chaotic steps every state is what it was: run anew with other rounding, none would be."""
    cell = gl.RNN.init(1, 64, scale=3.0, rng=0)
    start = np.random.default_rng(0).standard_normal((1, 64))
    trace = gl.trace(cell, np.zeros((2000, 1, 1)), gl.projection(np.ones((1, 64))), state=start)
    path = trace.save(tmp_path / "one.npz")
    page, arrays = archive.read(path, FORMAT)
    arrays["x"] = arrays["x"] + 1e-14  # as another machine's rounding would
    again = gl.load_trace(archive.write(path, FORMAT, page, arrays))
    np.testing.assert_array_equal(again.states["h"], trace.states["h"])
    np.testing.assert_allclose(again.log_norm("dL/dh"), trace.log_norm("dL/dh"), rtol=1e-9)


def test_what_no_file_can_hold(tmp_path: Path) -> None:
    mine = gl.custom_cell(lambda h, x: np.tanh(h + x), state_size=2, input_size=2)
    with pytest.raises(InputError, match="a file cannot hold the equations of"):
        gl.trace(mine, x()).save(tmp_path / "one.npz")
    assert not list(tmp_path.iterdir())


def test_what_is_no_trace(tmp_path: Path) -> None:
    path = gl.trace(make("lstm", D, H), x()).save(tmp_path / "one.npz")
    whole = path.read_bytes()
    for name, content in {"half": whole[: len(whole) // 2], "none": b"", "text": b"no"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match=f"{name}: holds no trace that can be read"):
            gl.load_trace(tmp_path / name)
    np.savez(tmp_path / "pickle.npz", page=np.array([print], object))
    with pytest.raises(StoreError, match=r"pickle\.npz: holds no trace"):
        gl.load_trace(tmp_path / "pickle.npz")
    other = archive.write(tmp_path / "other.npz", "something else", {}, {})
    with pytest.raises(StoreError, match=r"other\.npz: holds no trace that can be read \(not of the format"):
        gl.load_trace(other)
    with pytest.raises(StoreError, match=r"missing\.npz"):
        gl.load_trace(tmp_path / "missing.npz")
