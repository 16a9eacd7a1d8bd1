"""Temporal order: the order of a few relevant symbols among distractors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, cross_entropy
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least, one_hot, places

#: Number of relevant symbols, one of which is at each of the places; and number of distractors.
TELLING, DISTRACTORS = 2, 4
#: Per number of places: the tenths of T at which their ranges begin; each range is one tenth long.
TENTHS = {2: (1, 5), 3: (1, 3, 6)}


@dataclass(frozen=True)
class TemporalOrder(Task):
    """One of two relevant symbols at each of two (three) places among distractors; the class encodes their order.

    D = 6, one-hot: symbols 0 and 1 are relevant, 2 … 5 fill all other steps at random. The places are uniform in the
    ⌊T/10⌋ steps after the first ⌊T/10⌋ and ⌊5T/10⌋ (``symbols=3``: ⌊T/10⌋, ⌊3T/10⌋, ⌊6T/10⌋). The target is the class
    Σ sᵢ 2ⁱ, under cross-entropy at the last step. O = 4 (8) classes are equally likely, so a constant costs ln 4
    (ln 8). The lag is at most T − 1 − ⌊T/10⌋, from the first place.

    This is the form of Pascanu, Mikolov & Bengio 2013 (their code). Hochreiter & Schmidhuber 1997, experiments 6a and
    6b, have two further symbols, at the start and the end. There three places lie at 10–20, 33–43 and 66–76, and
    lengths are drawn from 100 … 110.

    A shorter sequence is no prefix of a longer one: classes are the same, places are stretched, distractors differ.
    """

    symbols: int = 2

    name: ClassVar[str] = "temporal_order"
    input_size: int = TELLING + DISTRACTORS
    KEYS: ClassVar[Mapping[str, Option]] = {
        "symbols": Option(int, 2, minimum=2, meaning="how many symbols tell: 2 (4 classes) or 3 (8 classes)")
    }

    def __post_init__(self) -> None:
        if self.symbols not in TENTHS:
            raise InputError(f"symbols must be 2 or 3, got {self.symbols!r}")

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """O: the number of classes, 4 or 8."""
        return int(TELLING**self.symbols)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 6)`` and the cross-entropy of the class, at every step read."""
        tenth = at_least("temporal_order", positive("length", length), 10, "each place is within a tenth of it") // 10
        u, told = rng.random((self.symbols, positive("batch", batch))), rng.integers(2, size=(self.symbols, batch))
        x = rng.integers(TELLING, self.input_size, size=(length, batch))
        for i, start in enumerate(self._starts(length)):
            x[places(u[i], start, start + tenth), np.arange(batch)] = told[i]
        classes = (told << np.arange(self.symbols)[:, None]).sum(axis=0)
        return one_hot(x, self.input_size), cross_entropy(classes, at=at)

    def constant_loss(self, length: int) -> Array:
        """Return the logarithm of the number of classes, ``(T,)``."""
        return np.full(length, np.log(self.output_size))

    def lag(self, length: int) -> int:
        """Return the steps from the earliest first place to the last step."""
        return length - 1 - self._starts(length)[0]

    def _starts(self, length: int) -> list[int]:
        return [length * tenths // 10 for tenths in TENTHS[self.symbols]]
