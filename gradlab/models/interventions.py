"""A network with one thing changed: the same weights but for what a change names, so that two passes differ in that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradlab.cells import GRU, LSTM, RNN, Cell
from gradlab.cells.initialisers import chrono_bias, recurrent_weights
from gradlab.errors import InputError, unknown
from gradlab.models.network import Bidirectional, Network

Array = NDArray[Any]
#: What is drawn for a change is drawn from this seed: the same change gives the same network.
SEED = 0


def changed(network: Network, layer: int, direction: str, change: Mapping[str, float | str]) -> Network | None:
    """Return ``network`` with the cell of one layer and direction changed; None where that cell has no such thing.

    Parameters
    ----------
    change : of `CHANGES` any, in their order: ``{"forget_bias": 5.0}``.

    Raises
    ------
    InputError
        for a change that there is not, or a value that is refused.
    """
    layers = list(network.layers)
    found = layers[layer]
    if isinstance(found, Bidirectional):
        cell = changed_cell(getattr(found, direction), change)
        layers[layer] = found if cell is None else replace(found, **{direction: cell})
    else:
        cell = changed_cell(found, change)
        layers[layer] = found if cell is None else cell
    return None if cell is None else replace(network, layers=tuple(layers))


def changed_cell(cell: Cell, change: Mapping[str, float | str]) -> Cell | None:
    """Return ``cell`` changed, or None where it has no such thing to change."""
    for key, value in change.items():
        if key not in CHANGES:
            raise InputError(unknown("change", key, CHANGES))
        kinds, make = CHANGES[key]
        if not isinstance(cell, kinds):
            return None
        arrays = {name: array.astype(cell.dtype) for name, array in make(cell, value).items()}
        cell = replace(cast(Any, cell), **arrays)
    return cell


def kept_bias(cell: Cell) -> tuple[str, float, float] | None:
    """Return what the bias of the additive path's gate is called, its mean, and 1 if more of it keeps more, else −1."""
    if isinstance(cell, LSTM):
        return "forget_bias", float(_rows(cell, 1).mean()), 1.0
    if isinstance(cell, GRU):
        return "b_z", float(_rows(cell, 1).mean()), _sign(cell)
    return None


def _rows(cell: Cell, block: int) -> Array:
    """Return block ``block`` of the bias, a view."""
    H = cell.hidden_size
    return cell.b_h[block * H : (block + 1) * H]


def _sign(cell: Cell) -> float:
    return -1.0 if isinstance(cell, GRU) and cell.update == "replace" else 1.0


def _scaled(cell: Cell, factor: Any) -> dict[str, Array]:
    return {"W_hh": factor * cell.W_hh}


def _redrawn(cell: Cell, name: Any) -> dict[str, Array]:
    return {"W_hh": recurrent_weights(name, cell.hidden_size, 1, 1.0, np.random.default_rng(SEED))}


def _unbiased(cell: Cell, name: Any) -> dict[str, Array]:
    if name != "zero":
        raise InputError(f'bias: expected "zero", got "{name}"')
    return {"b_h": np.zeros_like(cell.b_h)}


def _shifted(cell: Cell, mean: Any) -> dict[str, Array]:
    """Return b_h whose block 1, the gate of the additive path, has the mean ``mean``; its units differ as before."""
    bias = cell.b_h.copy()
    gate = bias[cell.hidden_size : 2 * cell.hidden_size]
    gate += mean - gate.mean()
    return {"b_h": bias}


def _chrono(cell: Cell, longest: Any) -> dict[str, Array]:
    """Return b_h with the memories of ``init``'s chrono in place of the gates' own biases."""
    memory = chrono_bias(cell.hidden_size, longest, np.random.default_rng(SEED))
    bias, H = cell.b_h.copy(), cell.hidden_size
    bias[H : 2 * H] = _sign(cell) * memory
    if isinstance(cell, LSTM):
        bias[:H] = -memory
    return {"b_h": bias}


#: By name: the cells that have it, and what makes the arrays that change.
CHANGES: dict[str, tuple[tuple[type[Cell], ...], Callable[[Cell, Any], dict[str, Array]]]] = {
    "scale_by": ((RNN, LSTM, GRU), _scaled),
    "recurrent": ((RNN,), _redrawn),
    "bias": ((RNN,), _unbiased),
    "forget_bias": ((LSTM,), _shifted),
    "b_z": ((GRU,), _shifted),
    "chrono": ((LSTM, GRU), _chrono),
}
