"""The adding problem, in three published variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, positive
from gradlab.arrays.scaled import Array
from gradlab.models.losses import At, Loss, mse
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least, places

#: The shortest sequence per variant, so that every marker has a place; the original needs ten places for the first.
SHORTEST = {"halves": 2, "original": 22, "mean": 10}


@dataclass(frozen=True)
class Adding(Task):
    """The sum of two marked numbers in a random sequence, read at the end.

    D = 2: the number and its marker. Two places have marker 1, all others 0. With n = ⌊T/10⌋ and m = ⌊T/2⌋:

    * ``halves``: numbers U[0, 1], one marker in the first m steps and one in the others, target x₁ + x₂. A constant 1
      costs the variance of two uniform numbers, 1/6. (Arjovsky, Shah & Bengio 2016. Le, Jaitly & Hinton 2015 state
      0.1767, which does not hold for two independent numbers.)
    * ``original``: numbers U[−1, 1]. The first marker is in the first ten steps, the second at one of the first m − 1
      that is not marked yet. The first and the last step have marker −1. The target is 0.5 + (x₁ + x₂)/4. If a marker
      falls on the first step, it stays −1 and the number counts as 0; the paper states this for x₁, and here it holds
      for x₂ as well. A constant ½ costs (1.9 − 0.9/(m − 2))/48, since x₁ counts in 9 of 10 cases and x₂ in all but a
      share 0.9/(m − 2). (Hochreiter & Schmidhuber 1997, experiment 4, with lengths drawn from T … T + T/10; here T.)
    * ``mean``: numbers U[0, 1], markers in the first n steps and in the ⌊2T/5⌋ after them, target (x₁ + x₂)/2.
      A constant ½ costs 1/24. (Pascanu, Mikolov & Bengio 2013, their code, with lengths drawn from T … 1.1 T; here T.)

    An answer is right within 0.04, as in the original. The lag is at most T − 1, if the first step is marked
    (``original``: T − 2, if the second is).

    A shorter sequence is no prefix of a longer one: the first numbers are the same, but markers lie at fractions of T.
    """

    variant: str = "halves"

    name: ClassVar[str] = "adding"
    input_size: int = 2
    output_size: int = 1
    tolerance: ClassVar[float] = 0.04
    KEYS: ClassVar[Mapping[str, Option]] = {
        "variant": Option(str, "halves", choices=tuple(SHORTEST), meaning="which published form of the problem")
    }

    def __post_init__(self) -> None:
        choice("variant", self.variant, SHORTEST)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 2)`` and the squared error against the sum of the marked numbers, at every step read."""
        at_least(f"adding ({self.variant})", positive("length", length), SHORTEST[self.variant], "a place per marker")
        first, second = self._marked(length, rng.random((2, positive("batch", batch))))
        numbers = rng.random((length, batch))
        if self.variant == "original":
            numbers = 2.0 * numbers - 1.0
        x, every = np.zeros((length, batch, 2)), np.arange(batch)
        x[..., 0] = numbers
        x[first, every, 1] = x[second, every, 1] = 1.0
        if self.variant == "original":
            x[[0, -1], :, 1] = -1.0
        total = (numbers * (x[..., 1] == 1.0)).sum(axis=0)
        target = {"halves": total, "original": 0.5 + total / 4.0, "mean": total / 2.0}[self.variant]
        return x, mse(target[:, None], at=at)

    def constant_loss(self, length: int) -> Array:
        """Return the variance of the target, ``(T,)``, the same at every step."""
        if self.variant == "halves":
            return np.full(length, 1.0 / 6.0)
        if self.variant == "mean":
            return np.full(length, 1.0 / 24.0)
        return np.full(length, (1.9 - 0.9 / (length // 2 - 2)) / 48.0)

    def lag(self, length: int) -> int:
        """Return the steps from the earliest number that counts to the last step: T − 1, or T − 2 in the original."""
        return length - (2 if self.variant == "original" else 1)

    def _marked(self, T: int, u: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the marked places per sequence, counted from 0."""
        if self.variant == "halves":
            return places(u[0], 0, T // 2), places(u[1], T // 2, T)
        if self.variant == "mean":
            return places(u[0], 0, T // 10), places(u[1], T // 10, T // 10 + 2 * T // 5)
        first, second = places(u[0], 0, 10), places(u[1], 0, T // 2 - 2)
        return first, second + (second >= first)  # skips the first place
