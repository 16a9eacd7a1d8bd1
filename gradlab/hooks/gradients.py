"""The norms of all gradients at every step, the rate, the horizons and the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.analysis.rates import horizon
from gradlab.hooks.base import TableHook
from gradlab.layers import LayerTrace


class GradientsHook(TableHook):
    """Quantities adjoint, last_adjoint, dL/dh, dL/dc, direct, dL/dx, dL/da_<gate>; the rate's columns of ``runs``."""

    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the norms of every quantity, and the rate with all that follows from it."""
        rows = []
        for quantity in segment.quantities:
            logs = segment.log_norm(quantity)
            indices = np.arange(segment.tape.steps + 1)[-len(logs) :]
            rows.append(segment.rows(quantity, logs, indices))
        return rows, _summary(segment)


def _summary(segment: LayerTrace) -> dict[str, Any]:
    found, logs = segment.rate(), segment.from_loss()
    one_percent, censored = horizon(logs, 0.01)
    return {
        "rate": found.rate,
        "rate_low": found.low,
        "rate_high": found.high,
        "window": found.window,
        "horizon_e": horizon(logs, float(np.exp(-1.0)))[0],
        "horizon_1pct": one_percent,
        "censored": censored,
        "verdict": segment.word(),
    }
