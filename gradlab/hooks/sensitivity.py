"""How large the state is, and how far a recurrent weight moves it: the two sides of a long memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.hooks.base import TableHook
from gradlab.hooks.lyapunov import WARMUP_SHARE
from gradlab.layers import LayerTrace


class SensitivityHook(TableHook):
    """Columns state_power and weight_sensitivity of ``runs``: mean squares, E h² and E (∂h/∂w)².

    Of a diagonal linear network, W_hh = λI, under white input of variance v they are v/(1 − λ²) and
    v(1 + λ²)/(1 − λ²)³ in expectation: as memory, 1/(1 − λ), grows, the second grows as the cube of the first, though
    ∂h_T/∂h_t = λ^(T−t) stays below 1. A cell without a parameter W_hh has no weight_sensitivity.

    References
    ----------
    Zucchet & Orvieto 2024, the curse of memory.
    """

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return both, means over units and sequences; of the state over the steps after the first tenth too."""
        settled = int(WARMUP_SHARE * segment.tape.steps)
        h = np.asarray(segment.states[segment.cell.state_names[0]][1 + settled :], np.float64)
        with np.errstate(all="ignore"):
            squares = np.einsum("tbh,tbh->tb", h, h) / h.shape[-1]
            power = squares[segment.lag[1 + settled :] >= 0].mean()
        return [], {"state_power": float(power), "weight_sensitivity": _by_weight(segment)}


def _by_weight(segment: LayerTrace) -> float:
    """Return the mean of ‖∂ℓ/∂W_hh‖² / (H ‖∂ℓ/∂s‖²) over the sequences of which the loss reads a step."""
    if "W_hh" not in segment.cell.parameters:
        return float("nan")
    with np.errstate(all="ignore"):
        squares = np.exp(2.0 * segment.param_sensitivity("W_hh")) / segment.cell.hidden_size
    known = squares[~np.isnan(squares)]
    return float(known.mean()) if known.size else float("nan")
