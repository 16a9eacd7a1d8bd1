"""The two-sequence problem: the first steps determine the class, all later ones are noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradlab.arrays.checks import number, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, mse
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least

#: Variance of the noise steps.
NOISE = 0.2


@dataclass(frozen=True)
class TwoSequence(Task):
    """The first N steps are +1 in class 1 and −1 in class 2, each with probability ½; all later ones are N(0, 0.2).

    The target, at the last step, is 1 for class 1 and 0 for class 2, under squared error: a constant ½ costs ¼. An
    answer is right within 0.2. The lag is T − N, from the last informative step. ``noise`` is the variance of noise
    added to the informative steps: 0 in experiment 3a of Hochreiter & Schmidhuber 1997, 0.1 in 3b. (0.2 and 0.1 are
    variances in the paper.) There lengths are drawn from T … T + T/10; here the length is T. Experiment 3c, with noisy
    targets, is not included, nor is the form of Bengio, Simard & Frasconi, whose lengths begin at T/2.

    A shorter sequence is a prefix of a longer one.

    References
    ----------
    Hochreiter & Schmidhuber 1997, experiment 3; after Bengio, Simard & Frasconi 1994.
    """

    telling: int = 1
    noise: float = 0.0

    name: ClassVar[str] = "two_sequence"
    input_size: int = 1
    output_size: int = 1
    tolerance: ClassVar[float] = 0.2
    KEYS: ClassVar[Mapping[str, Option]] = {
        "telling": Option(int, 1, minimum=1, meaning="N, steps at the start that tell the class (1 or 3 as published)"),
        "noise": Option(float, 0.0, minimum=0.0, meaning="variance added to these (3a: 0, 3b: 0.1)"),
    }

    def __post_init__(self) -> None:
        positive("telling", self.telling)
        if number("noise", self.noise) < 0.0:
            raise InputError(f"noise is a variance and must be at least 0, got {self.noise}")

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 1)`` and the squared error against the class, at every step read."""
        at_least("two_sequence", positive("length", length), self.telling, "the steps that tell")
        first = rng.integers(2, size=(positive("batch", batch), 1)).astype(np.float64)
        x = rng.standard_normal((length, batch, 1))
        x[self.telling :] *= np.sqrt(NOISE)
        x[: self.telling] = 2.0 * first - 1.0 + np.sqrt(self.noise) * x[: self.telling]
        return x, mse(first, at=at)

    def constant_loss(self, length: int) -> Array:
        """Return ¼, the variance of a fair coin, ``(T,)``."""
        return np.full(length, 0.25)

    def lag(self, length: int) -> int:
        """Return T − N."""
        return length - self.telling
