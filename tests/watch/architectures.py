"""Random recurrent modules with random calls, and the same written as a loop over cells (oracles/torch_loop.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from oracles import torch_loop
from oracles.compare import assert_normwise
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import gradlab as gl
from gradlab.models.network import Bidirectional, cells_of

Array = NDArray[Any]
#: Where the loss sits: at the output sequence, at the last states, or at several of these.
LOSSES = ("every", "last", "some", "h_n", "c_n", "all")


@dataclass
class Architecture:
    """One draw: a module in float64, its input, lengths (None: equal) and first states, and a linear loss's weights."""

    module: Any
    x: Array
    lengths: Array | None
    sorted: bool
    batched: bool
    start: list[Array] | None
    v: Array
    final: list[Array]

    def __str__(self) -> str:
        m = self.module
        options = f"layers={m.num_layers}, both={m.bidirectional}, bias={m.bias}, batch_first={m.batch_first}"
        return f"{m.mode}({options}), x {self.x.shape}, lengths {self.lengths}, start {self.start is not None}"


def draw(seed: int) -> Architecture:
    """Return architecture number ``seed``."""
    rng = np.random.default_rng([6, seed])
    torch.manual_seed(seed)
    kind = ("RNN", "LSTM", "GRU")[seed % 3]
    D, H, T, B = (int(rng.integers(1, top)) for top in (4, 5, 8, 4))
    layers, both = int(rng.integers(1, 4)), bool(rng.integers(2))
    more = {"nonlinearity": str(rng.choice(["tanh", "relu"]))} if kind == "RNN" else {}
    options = {"bias": bool(rng.integers(2)), "batch_first": bool(rng.integers(2)), "bidirectional": both}
    module = getattr(nn, kind)(D, H, layers, **options, **more).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.7 * torch.tensor(rng.standard_normal(parameter.shape)))
    packed = bool(rng.integers(2))
    lengths = rng.integers(1, T + 1, B) if packed else None
    if lengths is not None:
        lengths[rng.integers(B)] = T
    in_order = bool(rng.integers(2))
    if lengths is not None and in_order:
        lengths = -np.sort(-lengths)
    batched = packed or bool(rng.integers(4))
    B = B if batched else 1
    shape, states = (layers * (1 + both), B, H), 2 if kind == "LSTM" else 1
    return Architecture(
        module,
        rng.standard_normal((T, B, D)),
        lengths,
        in_order,
        batched,
        [rng.standard_normal(shape) for _ in range(states)] if rng.integers(2) else None,
        *_loss(rng, (T, B, H * (1 + both)), lengths, [shape] * states),
    )


def _loss(rng: Any, shape: tuple[int, ...], lengths: Array | None, states: list[Any]) -> tuple[Array, list[Array]]:
    where = rng.choice(LOSSES)
    T, B, _ = shape
    ends = np.full(B, T) if lengths is None else lengths
    steps = np.arange(1, T + 1)[:, None]
    reads = {"every": steps <= ends, "all": steps <= ends, "last": steps == ends}
    reads["some"] = (steps <= ends) & (rng.random((T, B)) < 0.4)
    mask = reads.get(where, np.zeros((T, B), bool))
    v = rng.standard_normal(shape) * mask[..., None]
    weigh = {"h_n": [1, 0], "c_n": [len(states) == 1, 1], "all": [1, 1]}.get(where, [0, 0])
    return v, [w * rng.standard_normal(s) for w, s in zip(weigh, states, strict=False)]


def run(drawn: Architecture) -> torch.Tensor:
    """Call the module as a user does, and return the loss."""
    x = torch.tensor(drawn.x, requires_grad=True)
    module, start = drawn.module, drawn.start
    states = None if start is None else tuple(torch.tensor(s if drawn.batched else s[:, 0]) for s in start)
    given = x.transpose(0, 1) if module.batch_first else x
    given = given if drawn.batched else x[:, 0]
    v = torch.tensor(drawn.v)
    if drawn.lengths is not None:
        lengths = torch.tensor(drawn.lengths, device="cpu")  # where packing wants them
        options = {"batch_first": module.batch_first, "enforce_sorted": drawn.sorted}
        given = pack_padded_sequence(given, lengths, **options)
        v = pack_padded_sequence(v, lengths, enforce_sorted=drawn.sorted).data
    elif not drawn.batched:
        v = v[:, 0]
    elif module.batch_first:
        v = v.transpose(0, 1)
    hx = states[0] if states is not None and len(states) == 1 else states
    output, last = module(given) if hx is None else module(given, hx)
    last = last if isinstance(last, tuple) else (last,)
    value = torch.zeros((), dtype=torch.float64)
    if drawn.v.any():
        value = value + (v * (output.data if drawn.lengths is not None else output)).sum()
    for weights, state in zip(drawn.final, last, strict=True):
        if weights.any():
            value = value + (torch.tensor(weights).reshape(state.shape) * state).sum()
    return value


def answer(drawn: Architecture) -> Any:
    """Return what the loop over cells says of every intermediate."""
    model = gl.from_torch(drawn.module)
    network = model if isinstance(model, gl.Network) else gl.Network([model])
    reads = np.ones(drawn.v.shape[:2], bool)
    return torch_loop.run(
        network,
        drawn.x,
        torch_loop.loss_of("projection", drawn.v, reads),
        lengths=drawn.lengths,
        start=None if drawn.start is None else _starts(network, drawn.start),
        final=[[np.concatenate(parts, axis=-1) for parts in pair] for pair in _by_layer(network, drawn.final)],
    )


def _by_layer(network: gl.Network, states: list[Array]) -> list[list[list[Array]]]:
    """Return the states of each layer and direction, one array a state."""
    found, place = [], 0
    for layer in network.layers:
        pair = [[state[place + k] for state in states] for k in range(len(cells_of(layer)))]
        place += len(pair)
        found.append(pair)
    return found


def _starts(network: gl.Network, states: list[Array]) -> list[Any]:
    named = [[dict(zip("hc", one, strict=False)) for one in pair] for pair in _by_layer(network, states)]
    both = [isinstance(layer, Bidirectional) for layer in network.layers]
    return [tuple(pair) if two else pair[0] for pair, two in zip(named, both, strict=True)]


def assert_same(passes: list[Any], wanted: Any, tolerance: float = 1e-10) -> None:
    """Assert that every layer and direction has the loop's states and gradients: h, c, every gate, inputs."""
    pairs = [one for layer in wanted.layers for one in layer]
    assert len(passes) == len(pairs)
    for one, expected in zip(passes, pairs, strict=True):
        within = one.lag >= 0
        for name, found, tensors in _compared(one, expected):
            there = within[-len(tensors) :]
            where = f"{name}, layer {one.layer} {one.direction}"
            assert_normwise(np.asarray(found)[there], torch_loop.numbers(tensors)[there], tolerance, where)


def _compared(one: Any, expected: Any) -> list[tuple[str, Any, Any]]:
    pairs = [("dL/dh", one.grad["h"], expected.h), ("dL/dx", one.input_grad, expected.x)]
    pairs += [(f"dL/da_{gate}", one.pre_grad[gate], tensors) for gate, tensors in expected.a.items()]
    if expected.c:
        pairs += [("dL/dc", one.grad["c"], expected.c), ("δ_c", one.adjoint["c"], expected.c_kept)]
    return pairs
