"""The gradient of each loss step at each earlier state."""

from __future__ import annotations

import numpy as np

from gradlab.arrays.checks import COUNT
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.hooks.base import Info, TableHook
from gradlab.layer import LayerPass, Row
from gradlab.statistics.profiles import step_rows

#: Number of loss steps that are kept by default: enough for a map, few rows at any length.
KEPT = 32


class TemporalHook(TableHook):
    """The quantity temporal, ln‖∂L_t/∂s_s‖ in nats for n loss steps t and every s ≤ t.

    In a row, ``t`` is the step s of the state, and ``lag`` counts the steps from s to the loss step, not to the end of
    the sequence.

    Parameters
    ----------
    steps : n as text, or "all".
    """

    quadratic = True

    def __init__(self, steps: str = str(KEPT)) -> None:
        if steps != "all" and not COUNT.fullmatch(steps):
            raise InputError(f'temporal:{steps}: expected "all" or a number of loss steps of at least 1, got "{steps}"')
        self.steps = steps

    def begin(self, info: Info) -> None:
        """Reset the table; every pair of steps is measured, so the pass must be one segment."""
        if not info.whole:
            raise InputError(f'hook "temporal" needs all steps at once; give gl.trace segment_length={info.steps}')
        super().begin(info)

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return one row per kept loss step and state; loss steps at which the loss reads nothing are left out."""
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
        where: Row = {"layer": segment.layer, "direction": segment.direction}
        return [where | step_rows("temporal", logs[loss_t - 1, s], segment.t[s], lag)], {}
