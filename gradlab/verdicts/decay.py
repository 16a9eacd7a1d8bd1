"""How a gradient fades on its way back: ln‖δ‖ by lag, and what follows from it alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradlab.statistics.decay_shapes import Shape, shape
from gradlab.statistics.rates import Rate, rate
from gradlab.statistics.survival import Horizon, horizon
from gradlab.verdicts.evidence import Evidence, dead_at, left

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decay:
    """The gradient of the last loss step's loss alone, in one layer and direction.

    Attributes
    ----------
    by_lag : ``(T+1, B)`` ln‖δ‖ in nats by lag, each sequence from its own end; nan beyond its first state.
    ends : each sequence's last step, ``(B,)``.
    overflow_step : the first index at which a state is not finite, ``(B,)``, 0 where there is none.
    above : how many layers lie above.
    """

    by_lag: Array
    ends: NDArray[np.int64]
    overflow_step: NDArray[np.int64]
    above: int = 0

    @cached_property
    def from_loss(self) -> Array:
        """ln‖δ‖ by steps back from the step where the loss is read last, ``(T+1, B)``; nan beyond the first state."""
        logs = self.by_lag
        rows = np.arange(len(logs))[:, None] + self.unread
        found = np.where(rows < len(logs), np.take_along_axis(logs, np.minimum(rows, len(logs) - 1), axis=0), np.nan)
        found.flags.writeable = False
        return found

    @cached_property
    def unread(self) -> NDArray[np.int64]:
        """Each sequence's lags before the one at which its loss is read last, ``(B,)``; 0 where none is read."""
        live = np.isfinite(self.by_lag)
        return np.where(live.any(axis=0), live.argmax(axis=0), 0)

    @property
    def overflowed(self) -> bool:
        """Whether a gradient within a sequence is not finite."""
        logs = self.by_lag
        return bool((~np.isfinite(logs) & ~np.isneginf(logs) & (np.arange(len(logs))[:, None] <= self.ends)).any())

    def rate(self) -> Rate:
        """Return the mean per-step increment, with its interval."""
        return rate(self.from_loss)

    @cached_property
    def shape(self) -> Shape:
        """How it changes with the lag."""
        return shape(self.from_loss)

    def horizon(self, fraction: float = 0.01) -> Horizon:
        """Return after how many steps less than a fraction of that at lag 1 is left."""
        return horizon(self.from_loss, fraction)

    def evidence(self, lag: int | None = None) -> Evidence:
        """Return the numbers of a verdict that are about the gradient, over ``lag`` steps."""
        logs, ran = self.from_loss, self.ends - self.unread
        span = max(int(ran.max()) - 1, 1) if lag is None else lag
        broken = self.overflow_step[self.overflow_step > 0]
        return Evidence(
            rate=rate(logs),
            span=span,
            horizon_1pct=self.horizon().steps,
            shape=self.shape,
            left=left(logs, span),
            dead_at=dead_at(logs),
            diverged_at=int(broken.min()) if broken.size else 0,
            overflowed=self.overflowed,
            read=int(ran.max()) if self.unread.any() else None,
            above=self.above,
        )


def by_lag(logs: Array, ends: NDArray[np.int64]) -> Array:
    """Return ``(T+1, B)``, which a layer has by index, by lag 0 … T, each sequence from its own end; nan beyond."""
    order = ends - np.arange(len(logs))[:, None]
    return np.where(order < 0, np.nan, np.take_along_axis(logs, np.maximum(order, 0), axis=0))
