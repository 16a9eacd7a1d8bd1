"""The oracle: cells stepped one by one in PyTorch, from their equations or as ``nn.*Cell``, every intermediate kept.

A state is split where it is used twice, so that autograd answers each of DESIGN §2's three words: the gradient at
``h`` is the total; at ``c_kept``, the c that the next step alone reads, the adjoint; at ``output``, the h that layers
above and the loss alone read, the direct one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import gradlab as gl
from gradlab.models.network import cells_of

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "logistic": torch.sigmoid,
    "identity": lambda a: a,
    "softmax": lambda a: torch.softmax(a, dim=-1),
}
State = tuple[Tensor, ...]


@dataclass
class Pass:
    """One layer in one direction, in the order in which it ran: states T+1 each, outputs and pre-activations T."""

    parameters: dict[str, Tensor]
    x: list[Tensor]
    h: list[Tensor] = field(default_factory=list)
    c: list[Tensor] = field(default_factory=list)
    c_kept: list[Tensor] = field(default_factory=list)
    output: list[Tensor] = field(default_factory=list)
    a: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass
class Answer:
    """A whole pass after ``backward()`` of the sum of the per-sequence losses."""

    layers: list[list[Pass]]
    readout: dict[str, Tensor]
    x: Tensor
    y: Tensor
    loss: Tensor


def leaf(array: NDArray[Any]) -> Tensor:
    """Return a float64 leaf that collects its gradient."""
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def kept(tensor: Tensor) -> Tensor:
    """Return the tensor as an intermediate of its own whose gradient is retained."""
    copy = tensor.clone()
    copy.retain_grad()
    return copy


# --- the equations ----------------------------------------------------------------------------------


def rnn_step(cell: Any, p: dict[str, Tensor], x: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
    a = kept(x @ p["W_xh"].T + state[0] @ p["W_hh"].T + p["b_h"])
    return (ACTIVATIONS[cell.activation](a),), {"h": a}


def lstm_step(cell: Any, p: dict[str, Tensor], x: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
    h, c = state
    stacked = (x @ p["W_xh"].T + h @ p["W_hh"].T + p["b_h"]).chunk(4, dim=-1)
    a = {name: kept(part) for name, part in zip("ifgo", stacked, strict=True)}
    c = kept(torch.sigmoid(a["f"]) * c + torch.sigmoid(a["i"]) * torch.tanh(a["g"]))
    return (torch.sigmoid(a["o"]) * torch.tanh(c), c), a


def gru_step(cell: Any, p: dict[str, Tensor], x: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
    (h,) = state
    from_x = (x @ p["W_xh"].T + p["b_h"]).chunk(3, dim=-1)
    W_r, W_z, W_n = p["W_hh"].chunk(3, dim=0)
    a_r, a_z = kept(from_x[0] + h @ W_r.T), kept(from_x[1] + h @ W_z.T)
    r, z = torch.sigmoid(a_r), torch.sigmoid(a_z)
    if cell.reset == "before":
        a_n = kept(from_x[2] + (r * h) @ W_n.T)
    else:
        a_n = kept(from_x[2] + r * (h @ W_n.T + p["b_hn"]))
    share = z if cell.update == "replace" else 1 - z
    return ((1 - share) * h + share * torch.tanh(a_n),), {"r": a_r, "z": a_z, "n": a_n}


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def native(cell: Any) -> nn.Module:
    """Return PyTorch's own cell with the same weights, in float64."""
    sizes = (cell.input_size, cell.hidden_size)
    made = {
        "rnn": lambda: nn.RNNCell(*sizes, nonlinearity=cell.activation),
        "lstm": lambda: nn.LSTMCell(*sizes),
        "gru": lambda: nn.GRUCell(*sizes),
    }[cell.name]().double()
    hidden_bias = np.zeros_like(cell.b_h)
    if cell.name == "gru":
        hidden_bias[2 * cell.hidden_size :] = cell.b_hn
    arrays = {"weight_ih": cell.W_xh, "weight_hh": cell.W_hh, "bias_ih": cell.b_h, "bias_hh": hidden_bias}
    made.load_state_dict({key: torch.tensor(array) for key, array in arrays.items()})
    return made


# --- the loop ---------------------------------------------------------------------------------------


def run_pass(
    cell: Any, x: list[Tensor], start: dict[str, Any] | None, lengths: NDArray[Any], module: nn.Module | None
) -> Pass:
    """Step one cell over ``x``, T tensors ``(B, D)``; with ``module`` PyTorch's own cell instead of the equations."""
    p = {} if module else {key: leaf(array) for key, array in cell.parameters.items()}
    done = Pass(p, [kept(step) for step in x])
    shape = (len(x[0]), cell.hidden_size)
    given = start or {}
    done.h.append(leaf(given.get("h", np.zeros(shape))))
    if cell.name == "lstm":
        done.c.append(leaf(given.get("c", np.zeros(shape))))
        done.c_kept.append(kept(done.c[0]))
    for t, step in enumerate(done.x):
        _advance(done, cell, step, torch.tensor(t < lengths)[:, None], module)
    return done


def _advance(done: Pass, cell: Any, x: Tensor, alive: Tensor, module: nn.Module | None) -> None:
    state = (done.h[-1], done.c_kept[-1]) if done.c else (done.h[-1],)
    if module is None:
        after, a = STEPS[cell.name](cell, done.parameters, x, state)
    else:
        found = module(x, state if done.c else state[0])
        after, a = (found if done.c else (found,)), {}
    for name, tensor in a.items():
        done.a.setdefault(name, []).append(tensor)
    if done.c:
        after[1].retain_grad()
        done.c.append(after[1])
        done.c_kept.append(kept(torch.where(alive, after[1], state[1])))
    done.h.append(kept(torch.where(alive, after[0], state[0])))
    done.output.append(kept(done.h[-1]))


def turned(steps: list[Tensor], lengths: NDArray[Any]) -> list[Tensor]:
    """Return T tensors ``(B, F)`` with each sequence reversed within its own length."""
    stacked = torch.stack(steps)
    columns = [torch.cat([stacked[:n, b].flip(0), stacked[n:, b]]) for b, n in enumerate(lengths.tolist())]
    return list(torch.stack(columns, dim=1))


def run(
    network: gl.Network,
    x: NDArray[Any],
    loss: Callable[[Tensor], Tensor],
    *,
    lengths: NDArray[Any] | None = None,
    start: Sequence[Any] | None = None,
    cells: bool = False,
    final: Sequence[Sequence[NDArray[Any]]] | None = None,
) -> Answer:
    """Run the network over ``x (T, B, D)`` and ``loss(y) -> (B,)`` backward; ``cells`` asks for PyTorch's own cells.

    ``final`` weighs the last states of each layer and direction, ``(B, H)`` or ``(B, S)``: their sum joins the loss.
    """
    ends = np.full(x.shape[1], len(x)) if lengths is None else lengths
    inputs = leaf(x)
    sequence, layers = list(inputs), []
    for index, layer in enumerate(network.layers):
        given = start[index] if start else None
        pair = given if isinstance(given, tuple) else (given,) * 2
        found = []
        for place, cell in enumerate(cells_of(layer)):
            steps = turned(sequence, ends) if place else sequence
            found.append(run_pass(cell, steps, pair[place], ends, native(cell) if cells else None))
        sequence = found[0].output
        if len(found) > 1:
            other = turned(found[1].output, ends)
            sequence = [torch.cat(both, dim=-1) for both in zip(sequence, other, strict=True)]
        layers.append(found)
    readout, y = _read(network.readout, torch.stack(sequence))
    value = loss(y)
    (value.sum() + (_last_states(layers, final) if final is not None else 0.0)).backward()
    return Answer(layers, readout, inputs, y, value)


def _last_states(layers: list[list[Pass]], weights: Sequence[Sequence[NDArray[Any]]]) -> Tensor:
    """Return Σ weights ⊙ (h, c) at each sequence's own end; beyond it a state stands still."""
    parts = []
    for passes, arrays in zip(layers, weights, strict=True):
        for one, array in zip(passes, arrays, strict=True):
            last = torch.cat([one.h[-1], *one.c_kept[-1:]], dim=-1)
            parts.append((last[:, : array.shape[1]] * torch.tensor(array)).sum())
    return torch.stack(parts).sum()


def _read(readout: Any, top: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    if readout is None:
        return {}, top
    p = {key: leaf(array) for key, array in readout.parameters.items()}
    return p, ACTIVATIONS[readout.activation](top @ p["W_hy"].T + p["b_y"])


# --- losses -----------------------------------------------------------------------------------------


def loss_of(kind: str, targets: NDArray[Any], mask: NDArray[Any]) -> Callable[[Tensor], Tensor]:
    """Return a loss of ``y (T, B, O)``: each sequence's mean over the steps that ``mask (T, B)`` reads."""
    read, wanted = torch.tensor(mask), torch.tensor(targets)

    def value(y: Tensor) -> Tensor:
        if kind == "projection":
            return (torch.where(read[..., None], wanted * y, torch.zeros_like(y))).sum(dim=(0, 2))
        if kind == "mse":
            each = ((y - wanted) ** 2).mean(dim=-1)
        else:
            logs = torch.log_softmax(y, dim=-1) if kind == "cross_entropy" else torch.log(y)
            each = -logs.gather(-1, wanted[..., None])[..., 0]
        return torch.where(read, each, torch.zeros_like(each)).sum(dim=0) / read.sum(dim=0)

    return value


def numbers(tensors: Sequence[Tensor]) -> NDArray[Any]:
    """Return the gradients of tensors ``(B, F)``, stacked; what nothing reads has gradient 0."""
    return np.stack([np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors])
