"""A network with one thing changed, so that two passes differ in that alone. Cells declare what can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from gradlab.cells import CELLS, Cell
from gradlab.errors import InputError, unknown
from gradlab.models.network import Bidirectional, Network


def changed(network: Network, layer: int, direction: str, change: Mapping[str, float | str]) -> Network | None:
    """Return ``network`` with the cell of one layer and direction changed; None if the cell has no such intervention.

    Parameters
    ----------
    network : Network
    layer : int
        Counted from the input, from 0.
    direction : str
        "forward" or "reverse".
    change : mapping
        Values by intervention, applied in their order: ``{"forget_bias": 5.0}``.

    Raises
    ------
    InputError
        for an unknown intervention, or a value that is refused.
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
    """Return ``cell`` changed, or None if its class declares no such intervention.

    Raises
    ------
    InputError
        for an intervention that no cell declares, or a value that is refused.
    """
    for key, value in change.items():
        if key not in cell.INTERVENTIONS:
            known = known_interventions()
            if key not in known:
                raise InputError(unknown("change", key, known))
            return None
        found = cell.INTERVENTIONS[key](cell, value)
        own = {name: np.asarray(new, cell.dtype) if name in cell.parameters else new for name, new in found.items()}
        cell = replace(cast(Any, cell), **own)
    return cell


def known_interventions() -> tuple[str, ...]:
    """Return the names of all interventions that the cells in ``CELLS`` declare."""
    return tuple(dict.fromkeys(key for cell in CELLS.values() for key in cell.INTERVENTIONS))
