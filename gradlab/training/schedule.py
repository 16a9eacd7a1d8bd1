"""The learning rate over the steps of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradlab.arrays.checks import choice, number, positive
from gradlab.errors import InputError

#: The kinds, and which of the options each reads.
USED = {
    "constant": ("warmup",),
    "step": ("warmup", "factor", "every"),
    "exponential": ("warmup", "factor", "every"),
    "cosine": ("warmup", "over", "least"),
}
KINDS = tuple(USED)


@dataclass(frozen=True)
class Schedule:
    """A factor of the learning rate for every step n = 0, 1 …: a linear warm-up, and what follows it, m = n − warmup.

    ===========  ==========================================================
    constant     1
    step         ``factor^⌊m/every⌋``
    exponential  ``factor^(m/every)``
    cosine       ``least + (1 − least) ½ (1 + cos(π m/over))``, m at most over
    ===========  ==========================================================

    Parameters
    ----------
    kind : which of these.
    warmup : steps of it; step n < warmup has the factor ``(n + 1)/warmup``.
    factor, every : of step and exponential; 0.1 and 1 unless given.
    over, least : of cosine: its length in steps, and the factor at its end and beyond.

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
        """Return the factor of step 0, 1 …"""
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
