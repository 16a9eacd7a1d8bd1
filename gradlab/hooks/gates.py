"""How open the gates are, and how many of them are saturated."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.hooks.base import TableHook
from gradlab.jacobians.gates import kept_share
from gradlab.layer import LayerPass
from gradlab.statistics.saturation import saturated

#: Name under which the keep gate's mean is stored, next to the gates' own names.
KEPT = "kept"


class GatesHook(TableHook):
    """Quantities gate_<g>, ln of the mean of |gate| over units, and saturation_<g>, ln of the share saturated.

    Columns of ``runs``: saturation, and keep_gate_mean, the mean of the keep gate. For a cell without gates the hook
    measures its output h in place of the gates; saturation is then that of |h|, which is meaningful for tanh.
    """

    def measure(self, segment: LayerPass) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return activity and saturation of every gate; keep the saturated shares and the keep gate's mean per step."""
        units = segment.gates or {"h": segment.states["h"][1:]}
        within = segment.lag[1:] >= 0
        indices = np.arange(1, segment.tape.steps + 1)
        tanh = (*segment.cell.candidate_names, "h")
        rows, shares = [], {}
        for name, values in units.items():
            share = saturated(values, tanh=name in tanh).mean(axis=-1)
            shares[name] = np.where(within, share, np.nan)
            with np.errstate(all="ignore"):
                activity, shared = np.log(np.abs(values).mean(axis=-1)), np.log(share)
            for quantity, logs in ((f"gate_{name}", activity), (f"saturation_{name}", shared)):
                rows.append(segment.rows(quantity, np.where(within, logs, np.nan), indices))
        gate = kept_share(segment.tape)
        return rows, shares if gate is None else {**shares, KEPT: np.where(within, gate, np.nan)}

    def summarise(self, segment: LayerPass, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the share of saturated units, over all gates, and the mean of the keep gate."""
        shares = [_mean(share) for name, share in kept.items() if name != KEPT]
        return {"saturation": float(np.mean(shares)), "keep_gate_mean": _mean(kept[KEPT]) if KEPT in kept else np.nan}


def _mean(values: Any) -> float:
    return float(values[~np.isnan(values)].mean())
