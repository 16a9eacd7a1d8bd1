"""Delayed exclusive or of the bits one and two delays ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import Array
from gradlab.models.losses import At, Loss, mse
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least


@dataclass(frozen=True)
class DelayedXor(Task):
    """Random bits s₁, s₂ …, 0 or 1 with probability ½; the target at step t is ``|s_{t−d} − s_{t−2d}|``, d the delay.

    Bits before the first step count as 0, so the target is 0 up to step d and s_{t−d} up to step 2d. Under squared
    error the best constant costs 0 up to step d; after it, ½ costs ¼. Neither bit alone improves on that. An answer is
    right within ½. The lag is 2d at any length; the length must exceed 2d.
    """

    delay: int = 10

    name: ClassVar[str] = "delayed_xor"
    input_size: int = 1
    output_size: int = 1
    tolerance: ClassVar[float] = 0.5
    KEYS: ClassVar[Mapping[str, Option]] = {
        "delay": Option(int, 10, minimum=1, meaning="d, in steps: bits d and 2d steps back are compared")
    }

    def __post_init__(self) -> None:
        positive("delay", self.delay)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 1)`` and the squared error against the exclusive or."""
        at_least("delayed_xor", positive("length", length), 2 * self.delay + 1, "more than twice the delay")
        bits = rng.integers(2, size=(length, positive("batch", batch), 1)).astype(np.float64)
        return bits, mse(np.abs(self._back(bits, 1) - self._back(bits, 2)), at=at)

    def constant_loss(self, length: int) -> Array:
        """Return ¼ at each step after the first d, ``(T,)``: the variance of a bit."""
        return np.where(np.arange(length) < self.delay, 0.0, 0.25)

    def lag(self, length: int) -> int:
        """Return 2d."""
        return 2 * self.delay

    def _back(self, bits: NDArray[np.float64], delays: int) -> NDArray[np.float64]:
        """Return the bits a number of delays ago; 0 before the first step."""
        return np.concatenate([np.zeros_like(bits[: delays * self.delay]), bits[: -delays * self.delay]])
