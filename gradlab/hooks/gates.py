"""How open the gates are, and how many of them are saturated."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.hooks.base import TableHook
from gradlab.jacobians.gates import kept_share
from gradlab.layer import LayerTrace
from gradlab.statistics.saturation import saturated

#: What is kept beside the gates' names.
CARRIED = "carried"


class GatesHook(TableHook):
    """Quantities gate_<g>, ln of the mean of |gate| over units, and saturation_<g>, ln of the share saturated.

    Columns saturation and carried of ``runs``; carried is the mean of the gate that keeps. A cell without gates has its
    output h in their place; saturation is then of |h|, which says something for tanh.
    """

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return activity and saturation of every gate; kept are shares saturated and carried, nan beyond ends."""
        units = segment.gates or {"h": segment.states["h"][1:]}
        within = segment.lag[1:] >= 0
        indices = np.arange(1, segment.tape.steps + 1)
        rows, shares = [], {}
        for name, values in units.items():
            share = saturated(name, values).mean(axis=-1)
            shares[name] = np.where(within, share, np.nan)
            with np.errstate(all="ignore"):
                activity, shared = np.log(np.abs(values).mean(axis=-1)), np.log(share)
            for quantity, logs in ((f"gate_{name}", activity), (f"saturation_{name}", shared)):
                rows.append(segment.rows(quantity, np.where(within, logs, np.nan), indices))
        gate = kept_share(segment.tape)
        return rows, shares if gate is None else {**shares, CARRIED: np.where(within, gate, np.nan)}

    def summarise(self, segment: LayerTrace, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the share that is saturated, over all gates, and the mean of what the additive path keeps."""
        shares = [_mean(share) for name, share in kept.items() if name != CARRIED]
        return {"saturation": float(np.mean(shares)), "carried": _mean(kept[CARRIED]) if CARRIED in kept else np.nan}


def _mean(values: Any) -> float:
    return float(values[~np.isnan(values)].mean())
