"""The share of a gated cell's gradient that travels on the additive path alone."""

from __future__ import annotations

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.hooks.base import Info, Summary, TableHook
from gradlab.jacobians.paths import PathWalk
from gradlab.layer import LayerPass, Row


class PathsHook(TableHook):
    """Quantities path_additive, path_gates and path_all, and path_share of ``runs``; a vanilla RNN has none of them."""

    def begin(self, info: Info) -> None:
        """Reset the tables; the walk starts at the last step."""
        super().begin(info)
        gated = [place for place in info.layers if place[2].additive_state is not None]
        self._walks = {(layer, direction): PathWalk(cell, info.batch) for layer, direction, cell in gated}

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return the norms on each path; keep the additive share."""
        walk = self._walks.get((segment.layer, segment.direction))
        if walk is None:
            return [], {"share": np.full((1, 1), np.nan)}
        found = walk.take(segment.tape, segment.last_adjoint, whole=segment.start == 0)
        parts = {"path_additive": found.additive, "path_gates": found.gates, "path_all": found.everything}
        beyond = segment.lag[segment.own] < 0
        rows = [segment.rows(name, np.where(beyond, np.nan, logs), segment.own) for name, logs in parts.items()]
        return rows, {"share": found.share[:1]}

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return the mean additive share at the initial state."""
        return {"path_share": float(kept["share"][0].mean())}
