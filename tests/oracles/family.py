"""Every cell in every variant. A new cell joins the laws of all test files by one line of ``FAMILY``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradlab as gl

Array = NDArray[Any]

FAMILY: dict[str, tuple[Any, dict[str, str]]] = {
    "rnn-tanh": (gl.RNN, {"activation": "tanh"}),
    "rnn-relu": (gl.RNN, {"activation": "relu"}),
    "rnn-logistic": (gl.RNN, {"activation": "logistic"}),
    "rnn-identity": (gl.RNN, {"activation": "identity"}),
    "lstm": (gl.LSTM, {}),
    "gru-before-replace": (gl.GRU, {"reset": "before", "update": "replace"}),
    "gru-before-keep": (gl.GRU, {"reset": "before", "update": "keep"}),
    "gru-after-replace": (gl.GRU, {"reset": "after", "update": "replace"}),
    "gru-after-keep": (gl.GRU, {"reset": "after", "update": "keep"}),
}
#: What PyTorch's own cells compute.
NATIVE = ("rnn-tanh", "rnn-relu", "lstm", "gru-after-keep")


def make(
    name: str, inputs: int = 3, hidden: int = 5, *, scale: float = 1.0, rng: int = 0, dtype: str = "float64"
) -> Any:
    """Return the cell with random weights and biases, none of them zero."""
    kind, options = FAMILY[name]
    cell = kind.init(inputs, hidden, scale=scale, rng=rng, dtype=dtype, **options)
    draw = np.random.default_rng([rng, 1])
    biases = [key for key in cell.parameters if key.startswith("b_")]
    return replace(cell, **{key: 0.5 * draw.standard_normal(getattr(cell, key).shape).astype(dtype) for key in biases})


def states(cell: Any, batch: int, *, rng: int = 0) -> dict[str, Array]:
    """Return a random initial state ``(B, H)`` by name."""
    draw = np.random.default_rng([rng, 2])
    shape = (batch, cell.hidden_size)
    return {name: draw.uniform(-1, 1, shape).astype(cell.dtype) for name in cell.state_names}


def columns(cell: Any, batch: int, *, rng: int = 0) -> Array:
    """Return a random joint state as columns ``(S, N)``."""
    return np.concatenate([array.T for array in states(cell, batch, rng=rng).values()])
