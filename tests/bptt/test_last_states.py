"""Gradients that arrive at the last states, h_T and c_T of every layer and direction, against PyTorch in float64.

Tolerance: normwise relative 1e-10 a vector, as in test_against_torch.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import TWINNED, make

import gradlab as gl
from gradlab.bptt import Arriving, backward, forward, run_backward, run_forward
from gradlab.bptt.backward import Columns
from gradlab.layer import LayerPass
from gradlab.models.network import cells_of

pytestmark = pytest.mark.torch_oracle

T, B, D, H = 7, 3, 2, 4
LENGTHS = np.array([7, 2, 5])
Array = NDArray[Any]


@pytest.fixture
def torch_loop() -> ModuleType:
    return import_module("oracles.torch_loop")


def weights(network: gl.Network, joint: bool) -> list[list[Array]]:
    """Return random dL/d(last state), ``(B, H)`` or ``(B, S)``, by layer and direction."""
    draw = np.random.default_rng(5)
    cells = [cells_of(layer) for layer in network.layers]
    return [[draw.standard_normal((B, c.state_size if joint else c.hidden_size)) for c in pair] for pair in cells]


def passes(network: gl.Network, lengths: Array | None, grad: Array, final: list[list[Array]]) -> list[list[LayerPass]]:
    x = np.random.default_rng(3).standard_normal((T, B, D))
    columns = np.ascontiguousarray(np.swapaxes(x, 1, 2))
    starts = [[np.zeros((cell.state_size, B)) for cell in cells_of(layer)] for layer in network.layers]
    run = run_forward(network, columns, starts, lengths)
    ends = [[array.T for array in pair] for pair in final]
    found, _ = run_backward(run, np.ascontiguousarray(np.swapaxes(grad, 1, 2)), ends)
    words = ("forward", "reverse")
    return [
        [LayerPass(i, words[k], tape, None, g) for k, (tape, g) in enumerate(zip(tapes, gradients, strict=True))]
        for i, (tapes, gradients) in enumerate(zip(run.tapes, found, strict=True))
    ]


def assert_matches(found: list[list[LayerPass]], answer: Any, numbers: Any) -> None:
    for pair, wanted in zip(found, answer.layers, strict=True):
        for one, expected in zip(pair, wanted, strict=True):
            within = one.lag >= 0
            assert_normwise(np.asarray(one.grad["h"])[within], numbers(expected.h)[within], 1e-10, "dL/dh")
            for gate, tensors in expected.a.items():
                pre_grad = np.asarray(one.pre_grad[gate])[within[1:]]
                assert_normwise(pre_grad, numbers(tensors)[within[1:]], 1e-10, gate)
            if expected.c:
                assert_normwise(
                    np.asarray(one.adjoint["c"])[within], numbers(expected.c_kept)[within], 1e-10, "adjoint c"
                )
                assert_normwise(np.asarray(one.grad["c"])[within], numbers(expected.c)[within], 1e-10, "dL/dc")


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "unequal"])
@pytest.mark.parametrize("name", TWINNED)
def test_one_layer(name: str, lengths: Array | None, joint: bool, torch_loop: ModuleType) -> None:
    network = gl.Network([make(name, D, H)])
    final, v = weights(network, joint), np.zeros((T, B, H))
    loss = torch_loop.loss_of("projection", v, np.ones((T, B), bool))
    x = np.random.default_rng(3).standard_normal((T, B, D))
    answer = torch_loop.run(network, x, loss, lengths=lengths, final=final)
    found = passes(network, lengths, v, final)
    assert_matches(found, answer, torch_loop.numbers)
    direct = np.concatenate([np.asarray(part) for part in found[0][0].direct.values()], axis=-1)
    expected = np.zeros_like(direct)
    ends = np.full(B, T) if lengths is None else lengths
    expected[ends, np.arange(B), : final[0][0].shape[1]] = final[0][0]
    np.testing.assert_array_equal(direct, expected)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "unequal"])
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru-after-keep"])
def test_both_directions_of_two_layers_beside_a_loss_at_every_step(
    name: str, lengths: Array | None, torch_loop: ModuleType
) -> None:
    make_one = partial(make, name)
    lower = gl.Bidirectional(make_one(D, H, rng=0), make_one(D, H, rng=1))
    network = gl.Network([lower, gl.Bidirectional(make_one(2 * H, H, rng=2), make_one(2 * H, H, rng=3))])
    within = np.arange(1, T + 1)[:, None] <= (T if lengths is None else lengths)
    v = np.random.default_rng(8).standard_normal((T, B, 2 * H)) * np.broadcast_to(within, (T, B))[..., None]
    final = weights(network, joint=True)
    x = np.random.default_rng(3).standard_normal((T, B, D))
    loss = torch_loop.loss_of("projection", v, np.ones((T, B), bool))
    answer = torch_loop.run(network, x, loss, lengths=lengths, final=final)
    assert_matches(passes(network, lengths, v, final), answer, torch_loop.numbers)


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm"])
def test_temporal_counts_what_arrives_at_every_state(name: str) -> None:
    """Σ over loss steps of what each says to s_0 is the whole adjoint, of a joint ``direct`` too."""
    cell, draw = make(name, D, H), np.random.default_rng(2)
    tape = forward(cell, draw.standard_normal((T, D, 1)), np.zeros((cell.state_size, 1)))
    direct = Columns.of(draw.standard_normal((T + 1, cell.state_size, 1)) * (np.arange(T + 1) == 4)[:, None, None])
    found = backward(tape, Arriving.everywhere(direct))
    one = LayerPass(0, "forward", tape, None, found)
    np.testing.assert_allclose(one.temporal()[3, 0], one.log_norm("adjoint")[0], rtol=1e-12)
