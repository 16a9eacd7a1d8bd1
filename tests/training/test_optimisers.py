"""Ten steps of each optimiser on each cell follow PyTorch's, to 1e-9 in float64.

The oracle (oracles/torch_training.py) has gradlab's one bias, so that no bias moves twice; one test trains PyTorch's
own modules, whose second bias is kept from moving where gradlab has none. Tolerance: normwise relative 1e-9 a
parameter: ten steps of a pass that agrees to 1e-13 or so, and RMSprop divides by gradients.
"""

from __future__ import annotations

from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.compare import assert_normwise
from oracles.family import make

import gradlab as gl

pytestmark = pytest.mark.torch_oracle

T, B, D, H, O, N = 6, 4, 3, 5, 4, 10
Array = NDArray[Any]
CELLS = ("rnn-tanh", "rnn-relu", "lstm", "gru-before-replace", "gru-before-keep", "gru-after-replace", "gru-after-keep")
OPTIMISERS: dict[str, gl.training.Optimiser] = {
    "sgd": gl.SGD(0.1),
    "momentum": gl.Momentum(0.05, momentum=0.8),
    "nesterov": gl.Momentum(0.05, momentum=0.8, nesterov=True),
    "rmsprop": gl.RMSprop(0.01, alpha=0.9, eps=1e-3),
    "rmsprop-momentum": gl.RMSprop(0.01, momentum=0.7),
    "adam": gl.Adam(0.02, beta1=0.8, beta2=0.95, eps=1e-3),
    "defaults": gl.Adam(),
}
SHAPES = ("one", "two", "both")
HEADS = ("identity", "logits", "softmax")
CASES = list(product(CELLS, OPTIMISERS))


@pytest.fixture
def oracle() -> ModuleType:
    return import_module("oracles.torch_training")


def network(cell: str, shape: str, head: str) -> gl.Network:
    if shape == "both":
        layers = [gl.Bidirectional(make(cell, D, H, rng=1), make(cell, D, H, rng=2)), make(cell, 2 * H, H, rng=3)]
    else:
        layers = [make(cell, D if index == 0 else H, H, rng=index) for index in range(1 + (shape == "two"))]
    activation = "softmax" if head == "softmax" else "identity"
    return gl.Network(layers, readout=gl.Readout.init(H, O, activation=activation, rng=9))


def batches(head: str) -> tuple[list[tuple[Array, Any]], list[tuple[Array, Any]]]:
    """Return N batches for gradlab, and the same for the oracle; loss at every step, so that all gradients arrive."""
    torch_loop = import_module("oracles.torch_loop")
    ours, theirs, mask = [], [], np.ones((T, B), bool)
    for step in range(N):
        rng = np.random.default_rng([5, step])
        x, numbers, labels = rng.standard_normal((T, B, D)), rng.standard_normal((T, B, O)), rng.integers(0, O, (T, B))
        kind = {"identity": "mse", "logits": "cross_entropy", "softmax": "nll"}[head]
        targets = numbers if kind == "mse" else labels
        ours.append((x, getattr(gl, kind)(targets, at="every")))
        theirs.append((x, torch_loop.loss_of(kind, targets, mask)))
    return ours, theirs


def follows(oracle: ModuleType, cell: str, optimiser: str, shape: str, head: str) -> None:
    start, (ours, theirs) = network(cell, shape, head), batches(head)
    expected, losses, _ = oracle.train(start, theirs, optimiser)
    training = gl.Training(start, ours.__getitem__, optimiser=OPTIMISERS[optimiser]).run(N)
    np.testing.assert_allclose(training.losses, losses, rtol=1e-9)
    for name, array in expected.items():
        assert np.abs(array - start.parameters[name]).max() > 1e-4, f"{name} has not moved"
        assert_normwise(training.model.parameters[name], array, 1e-9, name, axis=None)


@pytest.mark.parametrize(("cell", "optimiser"), CASES)
def test_ten_steps(oracle: ModuleType, cell: str, optimiser: str) -> None:
    """Shapes and heads take turns; the full tier has every one of each."""
    turn = CASES.index((cell, optimiser))
    follows(oracle, cell, optimiser, SHAPES[turn % 3], HEADS[turn // 3 % 3])


@pytest.mark.full
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("cell", "optimiser"), CASES)
def test_ten_steps_of_every_shape(oracle: ModuleType, cell: str, optimiser: str, shape: str, head: str) -> None:
    follows(oracle, cell, optimiser, shape, head)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_ten_steps_of_pytorchs_own_module(kind: str) -> None:
    """Two layers, two directions and a linear readout; of the second biases only a GRU's b_hn moves."""
    torch = import_module("torch")
    cell = {"RNN": "rnn-tanh", "LSTM": "lstm", "GRU": "gru-after-keep"}[kind]
    layers = [gl.Bidirectional(make(cell, size, H, rng=size), make(cell, size, H, rng=size + 1)) for size in (D, 2 * H)]
    start = gl.Network(layers, readout=gl.Readout.init(2 * H, O, rng=9))
    module, linear = gl.to_torch(gl.Network(layers)), torch.nn.Linear(2 * H, O, dtype=torch.float64)
    linear.load_state_dict({"weight": torch.tensor(start.readout.W_hy), "bias": torch.tensor(start.readout.b_y)})
    for name, parameter in module.named_parameters():
        if name.startswith("bias_hh"):
            moving = torch.zeros_like(parameter)
            moving[2 * H :] = 1.0 if kind == "GRU" else 0.0
            parameter.register_hook(lambda grad, moving=moving: grad * moving)
    ours, _ = batches("identity")
    optimiser = torch.optim.Adam([*module.parameters(), *linear.parameters()], lr=0.02)
    for x, loss in ours:
        optimiser.zero_grad()
        y = linear(module(torch.tensor(x))[0])
        ((y - torch.tensor(loss.targets)) ** 2).mean().backward()
        optimiser.step()
    training = gl.Training(start, ours.__getitem__, optimiser=gl.Adam(0.02)).run(N)
    found = training.model.parameters
    for name, array in gl.from_torch(module).parameters.items():
        assert_normwise(found[name], array, 1e-9, name, axis=None)
    assert_normwise(found["readout.W_hy"], linear.weight.detach().numpy(), 1e-9, axis=None)
    assert_normwise(found["readout.b_y"], linear.bias.detach().numpy(), 1e-9, axis=None)


@pytest.mark.parametrize("how", ["norm", "value"])
def test_clipping(oracle: ModuleType, how: str) -> None:
    utils = import_module("torch.nn.utils")
    start, (ours, theirs) = network("lstm", "two", "identity"), batches("identity")
    if how == "norm":
        expected, _, norms = oracle.train(start, theirs, "adam", clip=lambda p: utils.clip_grad_norm_(p, 0.17))
    else:

        def clip(p: list[Any]) -> float:
            norm = float(utils.clip_grad_norm_(p, np.inf))
            utils.clip_grad_value_(p, 0.01)
            return norm

        expected, _, norms = oracle.train(start, theirs, "adam", clip=clip)
    limits = {"clip_norm": 0.17} if how == "norm" else {"clip_value": 0.01}
    training = gl.Training(start, ours.__getitem__, optimiser=OPTIMISERS["adam"], **limits).run(N)
    np.testing.assert_allclose(training.norms, norms, rtol=1e-9)
    assert training.kept.min() < 0.8
    if how == "norm":
        assert training.kept.max() == 1.0
        np.testing.assert_allclose(training.kept, np.minimum(1.0, 0.17 / (np.array(norms) + 1e-6)), rtol=1e-9)
    for name, array in expected.items():
        assert_normwise(training.model.parameters[name], array, 1e-9, name, axis=None)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("step", gl.Schedule("step", every=3, factor=0.4)),
        ("exponential", gl.Schedule("exponential", factor=0.8)),
        ("cosine", gl.Schedule("cosine", over=9)),
        ("warm", gl.Schedule(warmup=4)),
    ],
)
def test_schedules(oracle: ModuleType, name: str, schedule: gl.Schedule) -> None:
    """PyTorch's LinearLR from ¼ over three steps is a warm-up of four."""
    start, (ours, theirs) = network("rnn-tanh", "one", "identity"), batches("identity")
    expected, _, _ = oracle.train(start, theirs, "momentum", schedule=name)
    training = gl.Training(start, ours.__getitem__, optimiser=OPTIMISERS["momentum"], schedule=schedule).run(N)
    for key, array in expected.items():
        assert_normwise(training.model.parameters[key], array, 1e-9, key, axis=None)
