"""Changes to a cell's parameters that a suggestion can try. A cell lists its own in ``Cell.INTERVENTIONS``.

Each function takes a cell and a value and returns the attributes that change, by name; the cell itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.cells.base import Cell
from gradlab.cells.initialisers import chrono_bias, recurrent_weights
from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError

#: Random changes are drawn from this seed, so that the same change gives the same network.
SEED = 0


def scale_weights(cell: Cell, factor: Any) -> Mapping[str, Array]:
    """Multiply W_hh by ``factor``. Its key is "scale_by"."""
    return {"W_hh": factor * cell.W_hh}


def redraw_weights(cell: Cell, name: Any) -> Mapping[str, Array]:
    """Draw W_hh, one block, from the initialisation ``name`` at scale 1. Its key is "recurrent"."""
    return {"W_hh": recurrent_weights(name, cell.hidden_size, 1, 1.0, np.random.default_rng(SEED))}


def clear_bias(cell: Cell, name: Any) -> Mapping[str, Array]:
    """Set b_h to zero; the only ``name`` is "zero". Its key is "bias"."""
    if name != "zero":
        raise InputError(f'bias: expected "zero", got "{name}"')
    return {"b_h": np.zeros_like(cell.b_h)}


def shift_keep_bias(cell: Cell, mean: Any) -> Mapping[str, Array]:
    """Shift the keep gate's bias so that its mean is ``mean``; the differences between units stay."""
    gate = declared(cell)
    bias = getattr(cell, gate.parameter).copy()
    of_gate = bias[gate.rows(cell)]
    of_gate += mean - of_gate.mean()
    return {gate.parameter: bias}


def chrono_keep_bias(cell: Cell, longest: Any) -> Mapping[str, Array]:
    """Replace the keep gate's bias by chrono's for memories of 1 to ``longest`` steps. Its key is "chrono"."""
    gate = declared(cell)
    bias = getattr(cell, gate.parameter).copy()
    bias[gate.rows(cell)] = gate.sign * chrono_bias(cell.hidden_size, longest, np.random.default_rng(SEED))
    return {gate.parameter: bias}


def declared(cell: Cell) -> KeepGate:
    """Return the keep gate of a cell that declares one."""
    gate = cell.keep_gate
    if gate is None:
        raise InputError(f"{cell!r} declares no keep gate")
    return gate
