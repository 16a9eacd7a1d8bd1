"""Pascanu's regulariser: the gradient should keep its norm from step to step, along the error's direction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradlab._trace.trace import Trace
from gradlab.arrays.scaled import Array
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.layer import LayerPass
from gradlab.models.network import Network, cells_of


class Omega(NamedTuple):
    """Ω of one layer, the mean over the sequences, and its immediate derivative by W_hh, ``(H, H)``."""

    value: float
    by_W_hh: Array


def omega(layer: LayerPass) -> Omega:
    r"""Return Ω and ``∂⁺Ω/∂W_hh`` of an RNN's pass, all but W_hh held fixed.

    With the state as in the paper, the pre-activation ``a_t = W_hh φ(a_{t−1}) + …``, and ``p_t = dL/da_t`` (total)::

        Ω = Σ_{t=1}^{T−1} (‖p_{t+1} W_hh diag(φ'(a_t))‖ / ‖p_{t+1}‖ − 1)²

    Ω is the mean over the sequences, like the loss. The derivative is the paper's approximation, called "immediate":
    a_t and p_{t+1} are fixed, and only the W_hh in the formula varies. Steps with p_{t+1} exactly 0 have no ratio and
    are left out. The derivative is 0 where the numerator is 0.

    References
    ----------
    Pascanu, Mikolov & Bengio 2013, section 3.3, eqs. 9 and 10.
    """
    tape = layer.tape
    slope = tape.linearise(slice(0, tape.steps)).slope[:-1]
    arriving = np.swapaxes(layer.pre_grad["h"].mantissa, -1, -2)[1:]
    with np.errstate(all="ignore"):
        unit = _unit(arriving)
        through = slope * (tape.cell.W_hh.T @ unit)
        ratio = np.linalg.norm(through, axis=1)
        live = unit.any(axis=1)
        value = np.where(live, (ratio - 1.0) ** 2, 0.0).sum(axis=0).mean()
        weight = np.where(live & (ratio > 0.0), 2.0 * (ratio - 1.0) / ratio, 0.0) / ratio.shape[-1]
        by_W_hh = np.tensordot(unit * weight[:, None], through * slope, ((0, 2), (0, 2)))
    return Omega(float(value), by_W_hh)


def _unit(columns: Array) -> Array:
    """Return columns ``(T, H, B)`` divided by their norms, without over- or underflow; zeros stay zero."""
    peak = np.abs(columns).max(axis=1, keepdims=True)
    scaled = columns / np.where(peak > 0.0, peak, 1.0)
    size = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(size > 0.0, size, 1.0))


def omega_gradients(trace: Trace) -> dict[str, Array]:
    """Return ``∂⁺Ω/∂W_hh`` of every layer and direction, by the parameter's name."""
    return {trace.parameter_name(one, "W_hh"): omega(one).by_W_hh for one in trace.passes}


def check_regularised(model: Cell | Network) -> None:
    """Raise ``InputError`` unless every cell is a vanilla RNN, since Ω is defined by W_hh diag(φ')."""
    layers = model.layers if isinstance(model, Network) else [model]
    for cell in (cell for layer in layers for cell in cells_of(layer)):
        if not cell.vanilla:
            raise InputError(f"omega is Pascanu's regulariser of a vanilla RNN, got {cell!r}; give omega=0")
