"""The norms of all gradients at every step, the rate, the horizons, the shape of the decay and the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.analysis.horizons import FRACTIONS, horizon
from gradlab.analysis.rates import rate
from gradlab.analysis.shapes import shape
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
    logs = segment.by_lag()
    found, horizons = rate(logs), {name: horizon(logs, fraction) for name, fraction in FRACTIONS.items()}
    return {
        "rate": found.rate,
        "rate_low": found.low,
        "rate_high": found.high,
        "window": found.window,
        **{name: estimate.steps for name, estimate in horizons.items()},
        "censored": horizons["horizon_1pct"].censored,
        "shape": shape(logs).word,
        "verdict": segment.verdict().word,
    }
