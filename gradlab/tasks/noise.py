"""Noise, or one kick: the inputs of random-network theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradlab.arrays.checks import number, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, projection, step_mask
from gradlab.options import Option
from gradlab.tasks.base import Task


@dataclass(frozen=True)
class Noise(Task):
    """Inputs i.i.d. N(0, std²) without a target, to compare random networks with mean-field theory.

    With W_xh from N(0, input_scale²/D), pre-activations receive noise of variance ``s² = std² · input_scale²``, the
    ``input_var`` of :func:`gradlab.theory.mean_field`. Theory takes it as independent between units, which holds for
    D → ∞. With ``kick=True`` only the first step has input; after it the network runs freely,
    ``a_t = W_hh φ(a_{t−1})``. The loss is the sum of the outputs at the steps read, so dL/dy = 1 there.

    References
    ----------
    Sompolinsky, Crisanti & Sommers 1988 (no input); Molgedey, Schuchhardt & Schuster 1992 (noise).
    """

    input_size: int = 1
    std: float = 1.0
    kick: bool = False

    name: ClassVar[str] = "noise"
    output_size: int = 1
    KEYS: ClassVar[Mapping[str, Option]] = {
        "input_size": Option(int, 1, minimum=1, meaning="D, inputs at a step"),
        "std": Option(float, 1.0, minimum=0.0, meaning="standard deviation of the inputs"),
        "kick": Option(bool, False, meaning="input at the first step alone, zeros after it"),
    }

    def __post_init__(self) -> None:
        positive("input_size", self.input_size)
        if number("std", self.std) < 0.0:
            raise InputError(f"std is a standard deviation and must be at least 0, got {self.std}")
        if not isinstance(self.kick, bool):
            raise InputError(f"kick must be true or false, got {self.kick!r}")

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` and the sum of the outputs at the steps ``at``."""
        shape = (positive("length", length), positive("batch", batch), self.input_size)
        x = self.std * rng.standard_normal(shape)
        if self.kick:
            x[1:] = 0.0
        return x, projection(step_mask(at, length, batch)[..., None].astype(np.float64))
