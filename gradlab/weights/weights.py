"""Conversion between PyTorch's recurrent modules and gradlab's cells. Torch is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells import CELLS, GRU, LSTM, RNN, Cell
from gradlab.errors import InputError
from gradlab.models.network import Bidirectional, Layer, Network, cells_of

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The parameters of one layer and direction in PyTorch; a module without bias has only the first two.
TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module: nn.Module) -> Cell | Network:
    """Convert a PyTorch recurrent module to a gradlab cell, or to a network if it has several layers or directions.

    The module's two biases are added, except a GRU's ``b_hn``, which stays inside the reset gate. PyTorch's GRU is
    ``GRU(reset="after", update="keep")``. float16 and bfloat16 become float32. The arrays are copies.

    Parameters
    ----------
    module : torch.nn.Module
        ``torch.nn.RNN``, ``LSTM``, ``GRU``, ``RNNCell``, ``LSTMCell`` or ``GRUCell``. Parametrisations such as
        ``weight_norm`` contribute their current weights; dropout is not kept.

    Returns
    -------
    Cell or Network
        A network if the module has several layers or directions.

    Raises
    ------
    InputError
        for another module, for ``proj_size`` and for weights that are not finite.

    Examples
    --------
    >>> import torch                                                 # doctest: +SKIP
    >>> from_torch(torch.nn.GRU(3, 5))                               # doctest: +SKIP
    GRU(input_size=3, hidden_size=5, reset='after', update='keep', float32)
    """
    return in_layers(torch_layers(module))


def in_layers(layers: list[Layer]) -> Cell | Network:
    """Return the single cell, or a network of several layers."""
    return layers[0] if len(layers) == 1 and isinstance(layers[0], Cell) else Network(layers)


def torch_layers(module: nn.Module) -> list[Layer]:
    """Return the layers of a PyTorch recurrent module from the input upward; raise like :func:`from_torch`."""
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
    """Return the cell of the parameters whose names end with ``tail``."""
    arrays = {name: numpy(getattr(module, name + tail)) for name in TORCH_NAMES if hasattr(module, name + tail)}
    from torch import nn

    given = {name: array for name, array in arrays.items() if array is not None}
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return torch_cell("lstm", given)
    if isinstance(module, nn.GRU | nn.GRUCell):
        return torch_cell("gru", given)
    if isinstance(module, nn.RNN | nn.RNNCell):
        return torch_cell("rnn", given, activation=module.nonlinearity)
    raise InputError(f"module must be a torch.nn RNN, LSTM or GRU, got {type(module).__name__}")


def torch_cell(kind: str, arrays: Mapping[str, Array], **options: str) -> Cell:
    """Return the cell ("rnn", "lstm", "gru") of PyTorch's two or four arrays, named as in ``TORCH_NAMES``."""
    weights: dict[str, Any] = {"W_xh": arrays["weight_ih"], "W_hh": arrays["weight_hh"]}
    if kind == "gru":
        options = {"reset": "after", "update": "keep"}
    if "bias_ih" in arrays:
        from_input, inner = arrays["bias_ih"], arrays["bias_hh"]
        weights |= gru_biases(from_input, inner) if kind == "gru" else {"b_h": from_input + inner}
    return CELLS[kind](**weights | options)


def gru_biases(from_input: Array, inner: Array) -> dict[str, Array]:
    """Return ``b_h``, the sum of the two biases ``(3H,)`` of a GRU with reset after the product, and ``b_hn``."""
    both, last = from_input + inner, slice(len(inner) // 3 * 2, None)
    both[last] = from_input[last]
    return {"b_h": both, "b_hn": inner[last]}


def numpy(tensor: Tensor | None) -> Array | None:
    """Return a copy of a tensor as float64 or float32; half precisions become float32."""
    if tensor is None:
        return None
    plain = tensor.detach().cpu()
    return np.array((plain if plain.dtype.itemsize == 8 else plain.float()).numpy())


def to_torch(model: Cell | Network) -> nn.RNN | nn.LSTM | nn.GRU:
    """Convert a cell, or the layers of a network, to one PyTorch module: time first, without dropout, on the CPU.

    ``from_torch(to_torch(model))`` equals ``model`` exactly: PyTorch's second bias is zero except a GRU's ``b_hn``.
    No random number is drawn.

    Parameters
    ----------
    model : Cell or Network
        An RNN (tanh or relu), an LSTM, a ``GRU(reset="after", update="keep")``, or a network of such layers of one
        kind, size and number of directions. A readout is an ``nn.Linear`` in PyTorch, so the network must not have one.

    Returns
    -------
    torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU

    Raises
    ------
    InputError
        for a model that no such module can represent, with the reason.

    Examples
    --------
    >>> import gradlab as gl                                         # doctest: +SKIP
    >>> to_torch(gl.LSTM.init(3, 5, rng=0))                          # doctest: +SKIP
    LSTM(3, 5)
    """
    layers = _torch_stack(model)
    first = cells_of(layers[0])[0]
    import torch
    from torch import nn

    module: nn.RNN | nn.LSTM | nn.GRU = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[first.name](
        first.input_size,
        first.hidden_size,
        num_layers=len(layers),
        bidirectional=isinstance(layers[0], Bidirectional),
        dtype=getattr(torch, first.dtype.name),
        device="meta",  # draws nothing
        **({"nonlinearity": first.activation} if isinstance(first, RNN) else {}),
    )
    module.to_empty(device="cpu").load_state_dict(
        {
            f"{name}_l{index}{tail}": torch.tensor(array)
            for index, layer in enumerate(layers)
            for cell, tail in zip(cells_of(layer), ("", "_reverse"), strict=False)
            for name, array in _torch_arrays(cell).items()
        }
    )
    return module


def _torch_arrays(cell: Cell) -> dict[str, Array]:
    """Return PyTorch's four arrays of a cell; the second bias is zero except a GRU's ``b_hn``."""
    inner = np.zeros_like(cell.b_h)
    if isinstance(cell, GRU) and cell.b_hn is not None:
        inner[2 * cell.hidden_size :] = cell.b_hn
    return dict(zip(TORCH_NAMES, (cell.W_xh, cell.W_hh, cell.b_h, inner), strict=True))


def _torch_stack(model: Cell | Network) -> Sequence[Layer]:
    """Return the layers if one PyTorch module can hold them; raise otherwise."""
    if not isinstance(model, Cell | Network):
        raise InputError(f"to_torch takes a gradlab cell or network, got {type(model).__name__}")
    if isinstance(model, Network) and model.readout is not None:
        raise InputError(
            "a torch.nn recurrent module has no readout; give Network(model.layers), and make it an nn.Linear"
        )
    layers = model.layers if isinstance(model, Network) else [model]
    kinds = {_torch_kind(cell) for layer in layers for cell in cells_of(layer)}
    if len(kinds) > 1:
        raise InputError(f"all layers of a torch.nn module must be alike, got {', '.join(sorted(kinds))}")
    if len({len(cells_of(layer)) for layer in layers}) > 1:
        raise InputError("all layers of a torch.nn module have one direction or both, got some of each")
    return layers


def _torch_kind(cell: Cell) -> str:
    """Describe the properties that all cells of a PyTorch module share; refuse a cell that PyTorch does not have."""
    if type(cell) not in (RNN, LSTM, GRU):
        raise InputError(f"torch.nn has RNN, LSTM and GRU, got {cell!r}")
    if isinstance(cell, RNN) and cell.activation not in ("tanh", "relu"):
        raise InputError(f'nn.RNN has tanh and relu, got activation="{cell.activation}"')
    if isinstance(cell, GRU) and (cell.reset, cell.update) != ("after", "keep"):
        raise InputError(
            f'nn.GRU is reset="after", update="keep", got reset="{cell.reset}", update="{cell.update}": '
            "the same weights would be another network"
        )
    activation = f" {cell.activation}" if isinstance(cell, RNN) else ""
    return f"{type(cell).__name__}{activation} with hidden_size {cell.hidden_size}"
