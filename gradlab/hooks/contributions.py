"""How much each step gives to the parameter gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.analysis.steps import step_rows
from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace


class ContributionsHook(TableHook):
    """Quantities contribution_<parameter> of ``steps``: ln of the norm of step t's part of the batch-mean gradient."""

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return one row a parameter and true step; they belong to the batch, so quantiles are the mean itself.

        The lag is that of the longest sequence.
        """
        t = np.arange(1, segment.tape.ends.max() + 1)[:, None]
        lag = t[::-1] - 1 if segment.direction == "forward" else t - 1
        where = {"layer": segment.layer, "direction": segment.direction}
        found = segment.param_contributions()
        return [
            where | step_rows(f"contribution_{name}", logs[: len(t), None], t, lag) for name, logs in found.items()
        ], {}
