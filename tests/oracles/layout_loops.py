"""Recurrent layers as the reference pages of PyTorch, Keras and Flax write them, straight from their tensors.

One sequence of inputs ``x (T, B, D)`` at a time, rows ``(B, ·)``, no line shared with gradlab.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def run(step: Callable[[Array, Any], tuple[Array, Any]], x: Array, state: Any) -> Array:
    """Return the outputs ``(T, B, H)`` of a step ``(x_t, state) -> (h_t, state)``."""
    outputs = []
    for x_t in x:
        h, state = step(x_t, state)
        outputs.append(h)
    return np.stack(outputs)


def zeros(x: Array, units: int) -> Array:
    return np.zeros((x.shape[1], units))


# --- PyTorch: torch.nn.RNN, LSTM, GRU --------------------------------------------------------------------------------


def pytorch(kind: str, tensors: Tensors, x: Array, activation: Callable[[Array], Array] = np.tanh) -> Array:
    """Return the outputs of all layers and directions."""
    tails = [name.removeprefix("weight_hh") for name in tensors if name.startswith("weight_hh")]
    for layer in sorted({tail.removesuffix("_reverse") for tail in tails}):
        parts = [pytorch_layer(kind, tensors, layer, x, activation)]
        if layer + "_reverse" in tails:
            parts.append(pytorch_layer(kind, tensors, layer + "_reverse", x[::-1], activation)[::-1])
        x = np.concatenate(parts, axis=-1)
    return x


def pytorch_layer(
    kind: str, tensors: Tensors, tail: str, x: Array, activation: Callable[[Array], Array] = np.tanh
) -> Array:
    W_i, W_h = tensors["weight_ih" + tail], tensors["weight_hh" + tail]
    b_i, b_h = (tensors.get(name + tail, np.zeros(len(W_i))) for name in ("bias_ih", "bias_hh"))
    H = W_h.shape[1]

    def rnn(x_t: Array, h: Array) -> tuple[Array, Any]:
        h = activation(x_t @ W_i.T + b_i + h @ W_h.T + b_h)
        return h, h

    def lstm(x_t: Array, state: Any) -> tuple[Array, Any]:
        h, c = state
        i, f, g, o = np.split(x_t @ W_i.T + b_i + h @ W_h.T + b_h, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h, (h, c)

    def gru(x_t: Array, h: Array) -> tuple[Array, Any]:
        W_ir, W_iz, W_in = W_i[:H], W_i[H : 2 * H], W_i[2 * H :]
        W_hr, W_hz, W_hn = W_h[:H], W_h[H : 2 * H], W_h[2 * H :]
        r = sigmoid(x_t @ W_ir.T + b_i[:H] + h @ W_hr.T + b_h[:H])
        z = sigmoid(x_t @ W_iz.T + b_i[H : 2 * H] + h @ W_hz.T + b_h[H : 2 * H])
        n = np.tanh(x_t @ W_in.T + b_i[2 * H :] + r * (h @ W_hn.T + b_h[2 * H :]))
        h = (1 - z) * n + z * h
        return h, h

    start = (zeros(x, H), zeros(x, H)) if kind == "lstm" else zeros(x, H)
    return run({"rnn": rnn, "lstm": lstm, "gru": gru}[kind], x, start)


# --- Keras: SimpleRNN, LSTM (i, f, c, o), GRU (z, r, h) ---------------------------------------------------------------


def keras(kind: str, tensors: Tensors, x: Array, reset_after: bool = True) -> Array:
    by_tail = {name.split("/")[-1]: array for name, array in tensors.items()}
    K, U = by_tail["kernel"], by_tail["recurrent_kernel"]
    b = by_tail.get("bias", np.zeros((2, K.shape[1]) if kind == "gru" and reset_after else K.shape[1]))
    units = len(U)

    def simple(x_t: Array, h: Array) -> tuple[Array, Any]:
        h = np.tanh(x_t @ K + b + h @ U)
        return h, h

    def lstm(x_t: Array, state: Any) -> tuple[Array, Any]:
        h, c = state
        z = x_t @ K + h @ U + b
        i, f = sigmoid(z[:, :units]), sigmoid(z[:, units : 2 * units])
        c = f * c + i * np.tanh(z[:, 2 * units : 3 * units])
        h = sigmoid(z[:, 3 * units :]) * np.tanh(c)
        return h, (h, c)

    def gru(x_t: Array, h: Array) -> tuple[Array, Any]:
        of_input, of_state = (b[0], b[1]) if reset_after else (b, 0 * b)
        x_z, x_r, x_h = np.split(x_t @ K + of_input, 3, axis=-1)
        h_z, h_r, h_h = np.split(h @ U + of_state, 3, axis=-1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        candidate = np.tanh(x_h + (r * h_h if reset_after else (r * h) @ U[:, 2 * units :]))
        h = z * h + (1 - z) * candidate
        return h, h

    start = (zeros(x, units), zeros(x, units)) if kind == "lstm" else zeros(x, units)
    return run({"rnn": simple, "lstm": lstm, "gru": gru}[kind], x, start)


# --- Flax: Linen's cells of one Dense layer a gate, NNX's of one for all ---------------------------------------------


def flax(kind: str, tensors: Tensors, x: Array) -> Array:
    parts = {"/".join(name.split("/")[-2:]).replace("if_", "if"): array for name, array in tensors.items()}
    gates = {"rnn": [""], "lstm": ["i", "f", "g", "o"], "gru": ["r", "z", "n"]}[kind]
    for stacked in [name for name in parts if name.startswith("dense_")]:
        side, leaf = stacked.removeprefix("dense_").split("/")
        pieces = np.split(parts[stacked], len(gates), axis=-1)
        parts |= {f"{side}{gate}/{leaf}": piece for gate, piece in zip(gates, pieces, strict=True)}

    def dense(name: str, of: Array) -> Array:
        return of @ parts[f"{name}/kernel"] + parts.get(f"{name}/bias", 0.0)

    def simple(x_t: Array, h: Array) -> tuple[Array, Any]:
        h = np.tanh(dense("i", x_t) + dense("h", h))
        return h, h

    def lstm(x_t: Array, state: Any) -> tuple[Array, Any]:
        h, c = state
        i, f, o = (sigmoid(dense("i" + gate, x_t) + dense("h" + gate, h)) for gate in "ifo")
        c = f * c + i * np.tanh(dense("ig", x_t) + dense("hg", h))
        h = o * np.tanh(c)
        return h, (h, c)

    def gru(x_t: Array, h: Array) -> tuple[Array, Any]:
        r = sigmoid(dense("ir", x_t) + dense("hr", h))
        z = sigmoid(dense("iz", x_t) + dense("hz", h))
        n = np.tanh(dense("in", x_t) + r * dense("hn", h))
        h = (1 - z) * n + z * h
        return h, h

    H = len(parts[f"h{gates[0]}/kernel"])
    start = (zeros(x, H), zeros(x, H)) if kind == "lstm" else zeros(x, H)
    return run({"rnn": simple, "lstm": lstm, "gru": gru}[kind], x, start)
