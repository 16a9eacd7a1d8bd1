"""The copy problem: ten symbols, a wait, then the same ten symbols again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, positive
from gradlab.arrays.scaled import Array
from gradlab.models.losses import At, Loss, LossFunction, cross_entropy
from gradlab.options import Option
from gradlab.tasks.base import Task, at_least, one_hot, places

WAITS = ("fixed", "variable")
#: Number of symbols to copy, and of different symbols; blank and marker follow them.
COPIED, ALPHABET = 10, 8
BLANK, MARKER = ALPHABET, ALPHABET + 1


@dataclass(frozen=True)
class Copy(Task):
    """Ten symbols out of eight, T₀ − 1 blanks, a marker, ten blanks; the target is blank, then the symbols at the end.

    ``length`` is the whole length, T = T₀ + 20. D = 10, one-hot: eight symbols, the blank, the marker. O = 9: eight
    symbols and the blank, under cross-entropy of logits. The published loss averages over the length: ``at="every"``.
    A network that knows when to answer, but not what, pays ln 8 for each of ten answers: 10 ln 8/(T₀ + 20) in all.

    ``wait="variable"`` draws the number of blanks before the marker, 0 … T₀ − 1, per sequence, and fills up with blanks
    after the answer. (Tallec & Ollivier draw the wait uniformly up to T₀; that they fill up to one length follows from
    the cost that they state.) Knowing when to answer then requires the marker. :meth:`constant_loss` is the loss of
    knowing it, 10 ln 8/T, called *memoryless* in the papers, for both waits.

    The score is the share of the ten symbols that are copied. The lag is T₀ + 10 = T − 10, from each symbol to its copy
    (at most, for a variable wait).

    A shorter sequence is no prefix of a longer one: the symbols are the same, and the wait is longer.

    References
    ----------
    Hochreiter & Schmidhuber 1997 (the idea); Arjovsky, Shah & Bengio 2016 (fixed); Tallec & Ollivier 2018 (variable).
    """

    wait: str = "fixed"

    name: ClassVar[str] = "copy"
    input_size: int = ALPHABET + 2
    output_size: int = ALPHABET + 1
    KEYS: ClassVar[Mapping[str, Option]] = {
        "wait": Option(str, "fixed", choices=WAITS, meaning="blanks before the marker: T − 21, or 0 … T − 21 at random")
    }

    def __post_init__(self) -> None:
        choice("wait", self.wait, WAITS)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 10)`` and the cross-entropy of the answers; the blank is the target between them."""
        most = at_least("copy", positive("length", length), 2 * COPIED + 1, "ten symbols, a marker, ten answers")
        symbols = rng.integers(ALPHABET, size=(COPIED, positive("batch", batch)))
        blanks = np.full(batch, most - 2 * COPIED - 1)
        if self.wait == "variable":
            blanks = places(rng.random(batch), 0, most - 2 * COPIED)
        x, answers = np.full((2, length, batch), BLANK)
        x[:COPIED] = symbols
        x[COPIED + blanks, np.arange(batch)] = MARKER
        for i, symbol in enumerate(symbols):
            answers[COPIED + blanks + 1 + i, np.arange(batch)] = symbol
        return one_hot(x, self.input_size), cross_entropy(answers, at=at)

    def constant_loss(self, length: int) -> Array:
        """Return the memoryless loss, ``(T,)``: ln 8 times the share of sequences that answer at each step."""
        waits = length - 2 * COPIED
        share = np.zeros(length)
        for blanks in range(waits) if self.wait == "variable" else [waits - 1]:
            share[COPIED + blanks + 1 :][:COPIED] += 1.0 / waits if self.wait == "variable" else 1.0
        return np.asarray(share * np.log(ALPHABET))

    def lag(self, length: int) -> int:
        """Return T − 10, from a symbol to its copy."""
        return length - COPIED

    def score(self, outputs: Array, loss: Loss | LossFunction) -> NDArray[np.float64]:
        """Return the share of the ten symbols that are copied, ``(B,)``, whatever steps the loss reads."""
        assert isinstance(loss, Loss)
        asked = loss.targets != BLANK
        found: NDArray[np.float64] = cross_entropy(loss.targets, at=asked).right(outputs)
        return found
