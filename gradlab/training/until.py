"""When a task counts as solved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, number, positive
from gradlab.errors import InputError

OF = ("loss", "score")


@dataclass(frozen=True)
class Until:
    """The criterion of success at which training stops; a training that ends without it is censored, not failed.

    Parameters
    ----------
    of : "loss", the batch-mean losses of the steps; or "score", what ``task.score`` says of a fresh batch, which no
        step is trained on (:class:`~gradlab.training.batches.Stream` says where its seed comes from).
    below, above : the limit, one of the two; strictly.
    window : the mean of so many of the newest losses, or scores, has to lie beyond the limit.
    every : steps between two scores.

    Examples
    --------
    >>> Until("loss", below=0.01, window=2).met([0.1, 0.012, 0.004])
    True
    """

    of: str = "loss"
    below: float | None = None
    above: float | None = None
    window: int = 1
    every: int = 100

    def __post_init__(self) -> None:
        choice("criterion", self.of, OF)
        if (self.below is None) == (self.above is None):
            raise InputError(f"give below= or above=, one of them; got below={self.below} and above={self.above}")
        number("below" if self.above is None else "above", self.below if self.above is None else self.above)
        positive("window", self.window)
        positive("every", self.every)

    def met(self, values: NDArray[Any] | list[float]) -> bool:
        """Return whether the newest of the values, in their order, lie beyond the limit; not where they are too few."""
        if len(values) < self.window:
            return False
        mean = float(np.mean(values[-self.window :]))
        return mean < self.below if self.below is not None else mean > (self.above or 0.0)

    def __str__(self) -> str:
        side = f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"
        what = self.of if self.window == 1 else f"mean {self.of} over {self.window}"
        return f"{what} {side}"
