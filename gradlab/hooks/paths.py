"""How much of a gated cell's gradient travels on the additive path alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace


class PathsHook(TableHook):
    """Quantities path_additive, path_gates and path_all; path_share of ``runs``. A vanilla RNN has none of them."""

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the norms on each path, and the mean additive share at the initial state."""
        if segment.cell.additive_state is None:
            return [], {"path_share": float("nan")}
        found = segment.paths()
        indices = np.arange(segment.tape.steps + 1)
        parts = {"path_additive": found.additive, "path_gates": found.gates, "path_all": found.everything}
        rows = [segment.rows(name, np.where(segment.lag < 0, np.nan, logs), indices) for name, logs in parts.items()]
        return rows, {"path_share": float(found.share[0].mean())}
