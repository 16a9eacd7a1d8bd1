"""How much each step gives to the parameter gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.hooks.base import TableHook
from gradlab.layer import LayerPass
from gradlab.statistics.profiles import step_rows


class ContributionsHook(TableHook):
    """Quantities contribution_<parameter> of ``steps``: ln of the norm of step t's part of the batch-mean gradient."""

    def measure(self, segment: LayerPass) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return one row a parameter and step, as the cell ran; of the batch, so that quantiles are the mean itself.

        The lag is that of the longest sequence.
        """
        n, longest, forward = segment.tape.steps, int(segment.ends.max()), segment.direction == "forward"
        before = segment.start if forward else segment.steps - segment.start - n
        t = np.arange(before + 1, min(before + n, longest) + 1)[:, None]
        lag, order = longest - t if forward else t - 1, slice(None, None, 1 if forward else -1)
        where = {"layer": segment.layer, "direction": segment.direction}
        found = segment.param_contributions()
        return [
            where | step_rows(f"contribution_{name}", logs[: len(t), None][order], t[order], lag[order])
            for name, logs in found.items()
        ], {}
