"""Weights of other libraries as gradlab's cells. Torch is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.cells import GRU, LSTM, RNN, Cell
from gradlab.errors import InputError
from gradlab.network import Bidirectional, Layer, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[Any]
#: The parameters of one layer and direction in PyTorch, of which a module has two or four.
TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module: nn.Module) -> Cell | Network:
    """Return a PyTorch recurrent module as a gradlab cell, or as a network where it has several layers or directions.

    The module's two biases are added, but for a GRU's ``b_hn``, which stays behind the reset gate; its GRU is
    ``GRU(reset="after", update="keep")``. float16 and bfloat16 become float32. The arrays are copies.

    Parameters
    ----------
    module : ``torch.nn.RNN``, ``LSTM``, ``GRU``, ``RNNCell``, ``LSTMCell`` or ``GRUCell``. Parametrisations such as
        ``weight_norm`` are taken as the weights that they give now; dropout has no weights and is not kept.

    Raises
    ------
    InputError
        for another module, for ``proj_size``, and for weights that are not finite.

    Examples
    --------
    >>> import torch                                                 # doctest: +SKIP
    >>> from_torch(torch.nn.GRU(3, 5))                               # doctest: +SKIP
    GRU(input_size=3, hidden_size=5, reset='after', update='keep', float32)
    """
    layers = torch_layers(module)
    return layers[0] if len(layers) == 1 and isinstance(layers[0], Cell) else Network(layers)


def torch_layers(module: nn.Module) -> list[Layer]:
    """Return a PyTorch recurrent module's layers from the input upward; raises as :func:`from_torch` does."""
    from torch import nn

    if isinstance(module, nn.RNNCellBase):
        return [_cell(module, "")]
    if not isinstance(module, nn.RNNBase):
        raise InputError(
            f"module must be one of torch.nn's RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell, got {type(module).__name__}"
        )
    if module.proj_size:
        raise InputError(
            f"a gradlab LSTM has no projection, got proj_size={module.proj_size}; "
            "use nn.LSTM without it and an nn.Linear"
        )
    return [_layer(module, index) for index in range(module.num_layers)]


def _layer(module: nn.RNNBase, index: int) -> Layer:
    forward = _cell(module, f"_l{index}")
    return Bidirectional(forward, _cell(module, f"_l{index}_reverse")) if module.bidirectional else forward


def _cell(module: nn.Module, tail: str) -> Cell:
    """Return the cell whose parameters' names end with ``tail``."""
    arrays = {name: numpy(getattr(module, name + tail)) for name in TORCH_NAMES if hasattr(module, name + tail)}
    from torch import nn

    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return LSTM(**_added(arrays))
    if isinstance(module, nn.GRU | nn.GRUCell):
        return _gru(arrays)
    if isinstance(module, nn.RNN | nn.RNNCell):
        return RNN(**_added(arrays), activation=module.nonlinearity)
    raise InputError(f"module must be a torch.nn RNN, LSTM or GRU, got {type(module).__name__}")


def _added(arrays: Mapping[str, Array | None]) -> dict[str, Array]:
    """Return gradlab's three arrays, the two biases added."""
    given = {name: array for name, array in arrays.items() if array is not None}
    weights = {"W_xh": given["weight_ih"], "W_hh": given["weight_hh"]}
    return weights | ({"b_h": given["bias_ih"] + given["bias_hh"]} if "bias_ih" in given else {})


def _gru(arrays: Mapping[str, Array | None]) -> GRU:
    weights = _added(arrays)
    inner, outer = arrays.get("bias_hh"), arrays.get("bias_ih")
    if inner is None or outer is None:
        return GRU(**weights, reset="after", update="keep")
    last = slice(2 * weights["W_hh"].shape[1], None)
    weights["b_h"][last] = outer[last]
    return GRU(**weights, b_hn=inner[last], reset="after", update="keep")


def numpy(tensor: Tensor | None) -> Array | None:
    """Return a copy of a tensor's numbers as float64 or float32, into which the half precisions are widened."""
    if tensor is None:
        return None
    plain = tensor.detach().cpu()
    return np.array((plain if plain.dtype.itemsize == 8 else plain.float()).numpy())
