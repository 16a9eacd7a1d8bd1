"""The activity of the gates, and the share of them that is saturated."""

from __future__ import annotations

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.hooks.base import Summary, TableHook
from gradlab.jacobians.gates import kept_share
from gradlab.layer import LayerPass, Row
from gradlab.statistics.saturation import saturated

#: Name under which the keep gate's mean is stored, next to the gates' own names.
KEPT = "kept"


class GatesHook(TableHook):
    """Quantities gate_<g>, ln of the mean of |gate| over units, and saturation_<g>, ln of the saturated share.

    It adds two columns to ``runs``: saturation, and keep_gate_mean, the mean of the keep gate. For a cell without gates
    the hook measures its output h instead; saturation then means that of |h|, which is meaningful for tanh.
    """

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return activity and saturation of every gate; keep the saturated shares and the keep gate per step."""
        units = segment.gates or {"h": segment.states["h"][1:]}
        within = segment.lag[1:] >= 0
        indices = np.arange(1, segment.tape.steps + 1)
        tanh = (*segment.cell.candidate_names, "h")
        rows: list[Row] = []
        shares: dict[str, Array] = {}
        for name, values in units.items():
            share = saturated(values, tanh=name in tanh).mean(axis=-1)
            shares[name] = np.where(within, share, np.nan)
            with np.errstate(all="ignore"):
                activity, shared = np.log(np.abs(values).mean(axis=-1)), np.log(share)
            for quantity, logs in ((f"gate_{name}", activity), (f"saturation_{name}", shared)):
                rows.append(segment.rows(quantity, np.where(within, logs, np.nan), indices))
        gate = kept_share(segment.tape)
        return rows, shares if gate is None else {**shares, KEPT: np.where(within, gate, np.nan)}

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return the share of saturated units over all gates, and the mean of the keep gate."""
        shares = [_mean(share) for name, share in kept.items() if name != KEPT]
        return {"saturation": float(np.mean(shares)), "keep_gate_mean": _mean(kept[KEPT]) if KEPT in kept else np.nan}


def _mean(values: Array) -> float:
    return float(values[~np.isnan(values)].mean())
