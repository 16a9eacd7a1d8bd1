"""The contribution of each step to the parameter gradients."""

from __future__ import annotations

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.hooks.base import TableHook
from gradlab.layer import LayerPass, Row
from gradlab.statistics.profiles import step_rows


class ContributionsHook(TableHook):
    """Quantities contribution_<parameter> of ``steps``: log norm in nats of step t's part of the mean gradient."""

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return one row per parameter and step, in the order in which the cell ran; nothing is kept.

        A row describes the whole batch, so its quantiles equal its mean. The lag is that of the longest sequence.
        """
        n, longest, forward = segment.tape.steps, int(segment.ends.max()), segment.direction == "forward"
        before = segment.start if forward else segment.steps - segment.start - n
        t = np.arange(before + 1, min(before + n, longest) + 1)[:, None]
        lag, order = longest - t if forward else t - 1, slice(None, None, 1 if forward else -1)
        where: Row = {"layer": segment.layer, "direction": segment.direction}
        found = segment.param_contributions()
        return [
            where | step_rows(f"contribution_{name}", logs[: len(t), None][order], t[order], lag[order])
            for name, logs in found.items()
        ], {}
