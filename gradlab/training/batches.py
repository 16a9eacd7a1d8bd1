"""The batches of a training: each depends on (seed, step) alone, not on earlier draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradlab._trace.trace import whole_trace
from gradlab.arrays.checks import positive
from gradlab.arrays.scaled import Array
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, LossFunction
from gradlab.models.network import Network
from gradlab.tasks import Task

Batch = tuple[Array, Loss | LossFunction]
#: Relative tolerance of :func:`summed` within which two tasks are the same; machines differ in rounding.
AGREEMENT = 1e-6
#: First spawn key of the batches that are scored; the key of training batches is the step alone.
SCORED = 1


@dataclass(frozen=True)
class Stream:
    """Batches of a task, or of a function ``step -> (x, loss)``.

    The batch of step n is the first of ``task.train.batches(…, seed=seed, start=n)``. The batch for the score after
    n steps is drawn from ``task.test`` by ``SeedSequence(seed, spawn_key=(1, n))``. No step trains on it. For finite
    data, no step trains on any of its sequences.
    """

    task: Task | Callable[[int], Batch]
    length: int
    batch: int
    at: At
    seed: int

    def __post_init__(self) -> None:
        positive("batch", self.batch)
        positive("length", self.length)
        if not isinstance(self.task, Task) and not callable(self.task):
            raise InputError(
                f"task must be a gradlab task or a function step -> (x, loss), got {type(self.task).__name__}"
            )

    def __call__(self, step: int) -> Batch:
        """Return ``x (T, B, D)`` and the loss of a step, counted from 0."""
        if isinstance(self.task, Task):
            return next(self.task.train.batches(self.length, self.batch, at=self.at, seed=self.seed, start=step))
        answer = self.task(step)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise InputError(f"a task's function must return the pair (x, loss), got {type(answer).__name__}")
        return answer

    def agrees(self, first: list[float]) -> bool:
        """Return whether the first batch has these numbers (:func:`summed`)."""
        found = summed(*self(0))
        return len(found) == len(first) and np.allclose(found, first, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True)

    def score(self, model: Cell | Network, step: int) -> float:
        """Return the mean score of a model on the held-out batch after ``step`` steps."""
        if not isinstance(self.task, Task):
            raise InputError('a score needs a gradlab task, which defines it; for a function use Until("loss", …)')
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(SCORED, step)))
        x, loss = self.task.test.sample(self.length, self.batch, at=self.at, rng=rng)
        return float(self.task.score(whole_trace(model, x).outputs, loss).mean())


def summed(x: Array, loss: Loss | LossFunction) -> list[float]:
    """Return a few numbers that identify a batch: sizes and two mean products, of inputs and of targets."""
    found = []
    for array in (x, loss.targets) if isinstance(loss, Loss) else (x,):
        flat = np.asarray(array, np.float64).ravel()
        with np.errstate(all="ignore"):
            means = (flat @ flat / flat.size, flat @ np.linspace(-1.0, 1.0, flat.size) / flat.size)
        found += [*map(float, np.shape(array)), *map(float, means)]
    return found
