"""The decay of a gradient back in time: ln‖δ‖ by lag, and the statistics that follow from it alone."""

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
    ends : last step of each sequence, ``(B,)``.
    overflow_step : first index at which a state is not finite, ``(B,)``; 0 if all are finite.
    above : number of layers above this one.
    """

    by_lag: Array
    ends: NDArray[np.int64]
    overflow_step: NDArray[np.int64]
    above: int = 0

    @cached_property
    def from_loss(self) -> Array:
        """ln‖δ‖ in nats by steps back from the last step read by the loss, ``(T+1, B)``; nan beyond t = 0."""
        logs = self.by_lag
        rows = np.arange(len(logs))[:, None] + self.unread
        found = np.where(rows < len(logs), np.take_along_axis(logs, np.minimum(rows, len(logs) - 1), axis=0), np.nan)
        found.flags.writeable = False
        return found

    @cached_property
    def unread(self) -> NDArray[np.int64]:
        """Number of lags of each sequence before the first that the loss reads, ``(B,)``; 0 if it reads none."""
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
        """Shape of the decay: exponential, power law, flat or non-monotone."""
        return shape(self.from_loss)

    def horizon(self, fraction: float = 0.01) -> Horizon:
        """Return the number of steps after which less than ``fraction`` of the norm at lag 1 is left."""
        return horizon(self.from_loss, fraction)

    def evidence(self, lag: int | None = None) -> Evidence:
        """Return the gradient's numbers for a verdict over ``lag`` steps; by default back to the first input."""
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
    """Reorder ``(T+1, B)`` from index to lag 0 … T, counted from each sequence's own end; nan beyond t = 0."""
    order = ends - np.arange(len(logs))[:, None]
    return np.where(order < 0, np.nan, np.take_along_axis(logs, np.maximum(order, 0), axis=0))
