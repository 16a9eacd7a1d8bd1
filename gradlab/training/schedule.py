"""The learning rate over the steps of training, and the criterion at which they end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, number, positive
from gradlab.errors import InputError

#: The kinds, and the options that each reads.
USED = {
    "constant": ("warmup",),
    "step": ("warmup", "factor", "every"),
    "exponential": ("warmup", "factor", "every"),
    "cosine": ("warmup", "over", "least"),
}
KINDS = tuple(USED)
#: The quantities that a criterion of success may use.
OF = ("loss", "score")


@dataclass(frozen=True)
class Schedule:
    """The factor of the learning rate at step n = 0, 1 …: a linear warm-up, then a function of m = n − warmup.

    ===========  ==========================================================
    constant     1
    step         ``factor^⌊m/every⌋``
    exponential  ``factor^(m/every)``
    cosine       ``least + (1 − least) ½ (1 + cos(π m/over))``, m at most over
    ===========  ==========================================================

    Parameters
    ----------
    kind : str
        One of these four.
    warmup : int
        Steps of the warm-up; step n < warmup has the factor ``(n + 1)/warmup``.
    factor : float
        For "step" and "exponential".
    every : int
        For "step" and "exponential", in steps.
    over : int
        For "cosine": its length in steps.
    least : float
        For "cosine": the factor at its end and beyond.

    References
    ----------
    Loshchilov & Hutter 2017, eq. 5 (cosine, here without restarts); Goyal et al. 2017 (warm-up).

    Examples
    --------
    >>> half = Schedule("step", every=10, factor=0.5, warmup=2)
    >>> [half(step) for step in (0, 1, 2, 11, 12)]
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """

    kind: str = "constant"
    warmup: int = 0
    factor: float = 0.1
    every: int = 1
    over: int | None = None
    least: float = 0.0

    def __post_init__(self) -> None:
        choice("schedule", self.kind, KINDS)
        if self.warmup:
            positive("warmup", self.warmup)
        number("factor", self.factor, least=0.0)
        positive("every", self.every)
        number("least", self.least, least=0.0)
        if (self.over is None) == (self.kind == "cosine"):
            raise InputError(f'over is the length in steps of a "cosine" and of nothing else, got {self.over}')
        if self.over is not None:
            positive("over", self.over)

    def __call__(self, step: int) -> float:
        """Return the factor at a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        after = step - self.warmup
        if self.kind == "step":
            return float(self.factor ** (after // self.every))
        if self.kind == "exponential":
            return float(self.factor ** (after / self.every))
        if self.over is not None:
            return self.least + (1.0 - self.least) * 0.5 * (1.0 + math.cos(math.pi * min(after / self.over, 1.0)))
        return 1.0


@dataclass(frozen=True)
class Until:
    """The criterion of success at which training stops; a training that ends without it is censored, not failed.

    Parameters
    ----------
    of : str
        "loss" uses the batch-mean loss of each step. "score" uses ``task.score`` on a held-out batch, which no step
        trains on (see :class:`~gradlab.training.batches.Stream`).
    below, above : float
        The limit, exactly one of the two; the comparison is strict.
    window : int
        Number of newest losses or scores whose mean is compared.
    every : int
        Steps between two scores.

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
        """Return whether the mean of the newest values is beyond the limit; False below ``window`` values."""
        if len(values) < self.window:
            return False
        mean = float(np.mean(values[-self.window :]))
        return mean < self.below if self.below is not None else mean > (self.above or 0.0)

    def __str__(self) -> str:
        side = f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"
        what = self.of if self.window == 1 else f"mean {self.of} over {self.window}"
        return f"{what} {side}"
