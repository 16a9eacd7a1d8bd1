"""How open the gates are, and how many of them are saturated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace

#: A logistic gate is saturated below 0.1 and above 0.9 (Karpathy, Johnson & Li 2015).
LOGISTIC_LOW, LOGISTIC_HIGH = 0.1, 0.9
#: The same for tanh, which is 2σ(2a) − 1: |tanh| above 2·0.9 − 1.
TANH_HIGH = 0.8
#: The candidates, which are tanh units; every other gate is logistic.
CANDIDATES = ("g", "n", "h")


class GatesHook(TableHook):
    """Quantities gate_<g>, ln of the mean of |gate| over units, and saturation_<g>, ln of the share saturated.

    A cell without gates has its output h in their place; saturation is then of |h|, which says something for tanh.
    """

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return activity and saturation of every gate, and the share that is saturated over all of them."""
        units = segment.gates or {"h": segment.states["h"][1:]}
        within = segment.lag[1:] >= 0
        indices = np.arange(1, segment.tape.steps + 1)
        rows, shares = [], []
        for name, values in units.items():
            saturated = _saturated(name, values).mean(axis=-1)
            shares.append(saturated[within].mean())
            with np.errstate(all="ignore"):
                activity, share = np.log(np.abs(values).mean(axis=-1)), np.log(saturated)
            for quantity, logs in ((f"gate_{name}", activity), (f"saturation_{name}", share)):
                rows.append(segment.rows(quantity, np.where(within, logs, np.nan), indices))
        return rows, {"saturation": float(np.mean(shares))}


def _saturated(name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if name in CANDIDATES:
        return np.asarray(np.abs(values) > TANH_HIGH)
    return np.asarray((values < LOGISTIC_LOW) | (values > LOGISTIC_HIGH))
