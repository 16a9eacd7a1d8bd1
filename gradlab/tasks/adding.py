"""The adding problem, in three published variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, positive
from gradlab.models.losses import At, Loss, mse
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least, places

#: The shortest sequence of each variant: each marker has a place, and in the original the ten first ones are there.
SHORTEST = {"halves": 2, "original": 22, "mean": 10}


@dataclass(frozen=True)
class Adding(Task):
    """Two numbers are marked in a sequence of random ones; the target, read at the end, is their sum.

    D = 2: the number and its marker. Two places are marked by 1, all others by 0, with n = ⌊T/10⌋ and
    m = ⌊T/2⌋:

    * ``halves``: numbers U[0, 1], one marker in the first m steps, one in the others, target x₁ + x₂. Answering 1 costs
      the variance of two uniform numbers, 1/6. (Arjovsky, Shah & Bengio 2016; Le, Jaitly & Hinton 2015 state the
      cost of a constant as 0.1767, which two independent numbers do not have.)
    * ``original``: numbers U[−1, 1]; the first marker in the first ten steps, the second at one of the first m − 1 that
      is not marked yet; the first and the last step have marker −1; target 0.5 + (x₁ + x₂)/4. Where a marker falls on
      the first step, it stays −1 and the number counts as 0; the paper says so of x₁, and here it holds for x₂ too.
      Answering ½ costs (1.9 − 0.9/(m − 2))/48, since x₁ counts in 9 of 10 cases and x₂ in all but 0.9/(m − 2).
      (Hochreiter & Schmidhuber 1997, experiment 4.) There a sequence's length is drawn from T … T + T/10; here it is T.
    * ``mean``: numbers U[0, 1], markers in the first n steps and in the ⌊2T/5⌋ after them, target (x₁ + x₂)/2.
      Answering ½ costs 1/24. (Pascanu, Mikolov & Bengio 2013, their code: lengths drawn from T … 1.1 T, here T.)

    An answer is right within 0.04, as in the original. The lag is T − 1 at most, where the first step is marked
    (``original``: T − 2, the second).

    A longer sequence has the same first numbers and its markers stretched: it is no prefix, as they lie at fractions
    of T.
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

    def sample(
        self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator
    ) -> tuple[NDArray[Any], Loss]:
        """Return ``x (T, B, 2)`` and the squared error against the marked numbers' sum, the same at every step read."""
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
        return x, mse(self._target(total)[:, None], at=at)

    def constant_loss(self, length: int) -> NDArray[Any]:
        """Return the target's variance, ``(T,)``, the same at every step."""
        if self.variant == "halves":
            return np.full(length, 1.0 / 6.0)
        if self.variant == "mean":
            return np.full(length, 1.0 / 24.0)
        return np.full(length, (1.9 - 0.9 / (length // 2 - 2)) / 48.0)

    def lag(self, length: int) -> int:
        """Return the steps from the earliest number that counts to the last one: T − 1, of the original T − 2."""
        return length - (2 if self.variant == "original" else 1)

    def _marked(self, T: int, u: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the marked places of each sequence, counted from 0."""
        if self.variant == "halves":
            return places(u[0], 0, T // 2), places(u[1], T // 2, T)
        if self.variant == "mean":
            return places(u[0], 0, T // 10), places(u[1], T // 10, T // 10 + 2 * T // 5)
        first, second = places(u[0], 0, 10), places(u[1], 0, T // 2 - 2)
        return first, second + (second >= first)  # one of the others

    def _target(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        return {"halves": total, "original": 0.5 + total / 4.0, "mean": total / 2.0}[self.variant]
