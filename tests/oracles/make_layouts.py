"""Writes ``layouts.json``: small recurrent layers as PyTorch, Keras and Flax name their weights, and what they compute.

Needs the three libraries, which the tests do not: ``pip install torch keras jax flax``, then
``python tests/oracles/make_layouts.py`` writes all cases anew, and ``… keras`` prints those of one library as JSON,
which the tests compare with what is written where it is installed. Weights and inputs are drawn here, in two decimals,
so that the file is short. All is float64, but for Keras' products of matrices, which are float32 with this backend.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

T, B, D, H = 4, 2, 2, 3
FILE = Path(__file__).with_name("layouts.json")
Array = np.ndarray[Any, Any]
Case = tuple[str, dict[str, Array], Array, Array]
RNG = np.random.default_rng(0)


def drawn(*shape: int) -> Array:
    """Return numbers of two decimals."""
    return np.round(0.7 * RNG.standard_normal(shape), 2)


def torch_cases() -> Iterator[Case]:
    """Yield name, tensors, x ``(T, B, D)`` and y of PyTorch's modules."""
    import torch
    from torch import nn

    modules = {
        "rnn": nn.RNN(D, H, nonlinearity="relu"),
        "lstm": nn.LSTM(D, H),
        "lstm-layers": nn.LSTM(D, H, num_layers=2, bidirectional=True),
        "gru": nn.GRU(D, H),
        "gru-no-bias": nn.GRU(D, H, bias=False),
        "gru-cell": nn.GRUCell(D, H),
    }
    for name, module in modules.items():
        tensors = {key: drawn(*value.shape) for key, value in module.state_dict().items()}
        module.double().load_state_dict({key: torch.tensor(array) for key, array in tensors.items()})
        x = drawn(T, B, D)
        with torch.no_grad():
            yield name, tensors, x, torch_outputs(module, torch.tensor(x)).numpy()


def torch_outputs(module: Any, x: Any) -> Any:
    """Return a module's or a cell's outputs."""
    import torch

    if isinstance(module, torch.nn.RNNBase):
        return module(x)[0]
    h, outputs = None, []
    for at_t in x:
        h = module(at_t, h)
        outputs.append(h)
    return torch.stack(outputs)


def keras_cases() -> Iterator[Case]:
    """Yield those of Keras' layers, named by the variables' paths."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    layers = {
        "simple-rnn": keras.layers.SimpleRNN(H, return_sequences=True),
        "lstm": keras.layers.LSTM(H, return_sequences=True),
        "lstm-no-bias": keras.layers.LSTM(H, return_sequences=True, use_bias=False),
        "gru-after": keras.layers.GRU(H, return_sequences=True),
        "gru-before": keras.layers.GRU(H, return_sequences=True, reset_after=False),
        "gru-no-bias": keras.layers.GRU(H, return_sequences=True, use_bias=False),
    }
    for name, layer in layers.items():
        layer.build((B, T, D))
        tensors = {weight.path: drawn(*weight.shape) for weight in layer.weights}
        layer.set_weights(list(tensors.values()))
        x = drawn(T, B, D)
        yield name, tensors, x, keras.ops.convert_to_numpy(layer(x.swapaxes(0, 1))).swapaxes(0, 1)


def flax_cases() -> Iterator[Case]:
    """Yield those of Flax' cells, Linen's and NNX's, their parameters flattened."""
    import jax

    jax.config.update("jax_enable_x64", True)
    yield from linen_cases()
    yield from nnx_cases()


def linen_cases() -> Iterator[Case]:
    """Yield Linen's."""
    import jax
    from flax import linen
    from flax.traverse_util import flatten_dict, unflatten_dict

    for kind in (linen.SimpleCell, linen.LSTMCell, linen.OptimizedLSTMCell, linen.GRUCell):
        layer, x = linen.RNN(kind(H, param_dtype=np.float64), time_major=True), drawn(T, B, D)
        shapes = flatten_dict(layer.init(jax.random.key(0), x), sep="/")
        tensors = {name: drawn(*value.shape) for name, value in shapes.items()}
        yield f"linen-{kind.__name__}", tensors, x, np.asarray(layer.apply(unflatten_dict(tensors, sep="/"), x))


def nnx_cases() -> Iterator[Case]:
    """Yield NNX's."""
    from flax import nnx

    for kind in (nnx.SimpleCell, nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell):
        cell, x = kind(D, H, dtype=np.float64, param_dtype=np.float64, rngs=nnx.Rngs(0)), drawn(T, B, D)
        state = nnx.to_flat_state(nnx.state(cell, nnx.Param))
        tensors = {"/".join(path): drawn(*value.shape) for path, value in state}
        nnx.update(cell, nnx.from_flat_state([(path, tensors["/".join(path)]) for path, _ in state]))
        yield f"nnx-{kind.__name__}", tensors, x, np.asarray(nnx.RNN(cell, time_major=True, rngs=nnx.Rngs(0))(x))


LIBRARIES: dict[str, Callable[[], Iterator[Case]]] = {
    "torch": torch_cases,
    "keras": keras_cases,
    "flax": flax_cases,
}


def made(library: str) -> dict[str, Any]:
    """Return a library's version and cases, as they are written."""
    global RNG
    RNG = np.random.default_rng(list(LIBRARIES).index(library))
    keys = ("tensors", "x", "y")
    cases = {}
    for name, tensors, *arrays in LIBRARIES[library]():
        plain = ({key: array.tolist() for key, array in tensors.items()}, *(array.tolist() for array in arrays))
        cases[name] = dict(zip(keys, plain, strict=True))
    return {"version": sys.modules[library].__version__, "cases": cases}


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(made(sys.argv[1])))
    else:
        FILE.write_text(json.dumps({library: made(library) for library in LIBRARIES}, indent=None) + "\n")
