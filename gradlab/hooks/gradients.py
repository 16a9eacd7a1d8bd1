"""The norms of all gradients at every step, the rate, the horizons, the shape of the decay and the verdict."""

from __future__ import annotations

from gradlab.arrays.scaled import Array
from gradlab.hooks.base import Summary, TableHook
from gradlab.layer import LayerPass, Row
from gradlab.statistics.survival import FRACTIONS
from gradlab.verdicts.decay import Decay, by_lag
from gradlab.verdicts.labels import word_of


class GradientsHook(TableHook):
    """Quantities adjoint, last_adjoint, dL/dh, dL/dc, direct, dL/dx, dL/da_<gate>; the rate's columns of ``runs``."""

    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return the norms of every quantity; keep those of the last loss step's adjoint."""
        logs = {name: segment.log_norm(name)[-len(segment.own) :] for name in segment.quantities}
        rows = [segment.rows(name, found, segment.own[-len(found) :]) for name, found in logs.items()]
        return rows, {"last": logs["last_adjoint"]}

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return the rate, its interval and window, the horizons, the shape and the verdict's word."""
        found = Decay(by_lag(kept["last"], segment.ends), segment.ends, segment.overflow_step, segment.above)
        rate, horizons = found.rate(), {name: found.horizon(fraction) for name, fraction in FRACTIONS.items()}
        return {
            "rate": rate.rate,
            "rate_low": rate.low,
            "rate_high": rate.high,
            "window": rate.window,
            **{name: estimate.steps for name, estimate in horizons.items()},
            "censored": horizons["horizon_1pct"].censored,
            "shape": found.shape.word,
            "verdict": word_of(found.evidence()),
        }
