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
        """Return one row a parameter and step; they belong to the batch, so quantiles are the mean itself."""
        T = segment.tape.steps
        t = np.arange(1, T + 1)[:, None]
        where = {"layer": segment.layer, "direction": segment.direction}
        found = segment.param_contributions()
        return [where | step_rows(f"contribution_{name}", logs[:, None], t, T - t) for name, logs in found.items()], {}
