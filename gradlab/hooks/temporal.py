"""Who teaches whom: what each loss step says to each earlier state."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.checks import COUNT
from gradlab.errors import InputError
from gradlab.hooks.base import Info, TableHook
from gradlab.layer import LayerPass
from gradlab.statistics.profiles import step_rows

#: Loss steps that are kept unless all are asked for: enough for a map, few rows at any length.
KEPT = 32


class TemporalHook(TableHook):
    """``temporal:n`` (n 32 unless given, or "all"): quantity temporal, ln‖∂L_t/∂s_s‖ of n loss steps t, every s ≤ t.

    Of a row, ``t`` is the state's step s, and ``lag`` the steps from it to the loss step, not to the sequence's end.
    """

    def __init__(self, steps: str = str(KEPT)) -> None:
        if steps != "all" and not COUNT.fullmatch(steps):
            raise InputError(f'temporal:{steps}: expected "all" or a number of loss steps of at least 1, got "{steps}"')
        self.steps = steps

    def begin(self, info: Info) -> None:
        """Start with an empty table; every pair of steps is looked at, so the pass must be one segment."""
        if not info.whole:
            raise InputError(f'hook "temporal" sees all steps at once; give gl.trace segment_length={info.steps}')
        super().begin(info)

    def measure(self, segment: LayerPass) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return a row a kept loss step and state; loss steps at which nothing is read are not kept."""
        logs, T = segment.temporal(), segment.tape.steps
        place = np.arange(T)
        read = place[np.isfinite(logs[place, place + 1]).any(axis=-1)] + 1
        count = len(read) if self.steps == "all" else min(int(self.steps), len(read))
        if not count:
            return [], {}
        chosen = read[np.unique(np.linspace(0, len(read) - 1, count).round().astype(int))]
        at, s = np.nonzero(np.arange(T + 1) <= chosen[:, None])
        loss_t = chosen[at]
        lag = np.where(loss_t[:, None] > segment.tape.ends, -1, (loss_t - s)[:, None])
        where = {"layer": segment.layer, "direction": segment.direction}
        return [where | step_rows("temporal", logs[loss_t - 1, s], segment.t[s], lag)], {}
