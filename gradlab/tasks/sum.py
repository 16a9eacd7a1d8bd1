"""The running sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import Array
from gradlab.models.losses import At, Loss, mse
from gradlab.tasks.base import Task


@dataclass(frozen=True)
class Sum(Task):
    """Inputs i.i.d. U[−1, 1], target the sum so far, ``y_t = Σ_{s≤t} x_s``, under mean squared error.

    A constant 0, the mean, costs ``t·Var(x) = t/3`` at step t. The lag is T − 1.
    """

    name: ClassVar[str] = "sum"
    input_size: int = 1
    output_size: int = 1

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 1)`` and the squared error against its running sum."""
        x = rng.uniform(-1.0, 1.0, (positive("length", length), positive("batch", batch), 1))
        return x, mse(np.cumsum(x, axis=0), at=at)

    def constant_loss(self, length: int) -> Array:
        """Return t/3, the variance of a sum of t numbers of variance 1/3, ``(T,)``."""
        return np.arange(1, length + 1) / 3.0
