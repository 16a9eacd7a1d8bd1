"""The size of the state, and its sensitivity to a recurrent weight: the two sides of a long memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.hooks.base import Info, Summary, TableHook
from gradlab.hooks.lyapunov import WARMUP_SHARE
from gradlab.layer import LayerPass, Row


class SensitivityHook(TableHook):
    """Columns state_power and weight_sensitivity of ``runs``: the mean squares E h² and E (∂h/∂w)².

    For a diagonal linear network, W_hh = λI, with white input of variance v, they are v/(1 − λ²) and
    v(1 + λ²)/(1 − λ²)³ in expectation. As the memory 1/(1 − λ) grows, the second grows as the cube of the first, though
    ∂h_T/∂h_t = λ^(T−t) stays below 1. A cell without a parameter W_hh has no weight_sensitivity.

    References
    ----------
    Zucchet & Orvieto 2024, the curse of memory.
    """

    def begin(self, info: Info) -> None:
        """Reset; the gradient of a weight for one sequence is a sum over all steps, so the pass must be one segment."""
        if not info.whole:
            raise InputError(f'hook "sensitivity" needs all steps at once; give gl.trace segment_length={info.steps}')
        super().begin(info)

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return no rows; keep the mean squares over units of the state, and of its derivative by a weight."""
        h = np.asarray(segment.states[segment.cell.state_names[0]][1:], np.float64)
        with np.errstate(all="ignore"):
            squares = np.einsum("tbh,tbh->tb", h, h) / h.shape[-1]
        power = np.where(segment.lag[1:] >= 0, squares, np.nan)
        return [], {"power": power[int(WARMUP_SHARE * len(power)) :], "weight": _by_weight(segment)}

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return both means over sequences; that of the state is over the steps after the first tenth too."""
        names = {"power": "state_power", "weight": "weight_sensitivity"}
        known = {name: kept[key][~np.isnan(kept[key])] for key, name in names.items()}
        with np.errstate(all="ignore"):
            return {name: float(values.mean()) if values.size else float("nan") for name, values in known.items()}


def _by_weight(segment: LayerPass) -> NDArray[np.float64]:
    """Return ‖∂ℓ/∂W_hh‖² / (H ‖∂ℓ/∂s‖²) of each sequence, ``(1, B)``; nan if the loss reads none of its steps."""
    if "W_hh" not in segment.cell.parameters:
        return np.full((1, 1), np.nan)
    with np.errstate(all="ignore"):
        return np.asarray(np.exp(2.0 * segment.param_sensitivity("W_hh"))[None] / segment.cell.hidden_size)
