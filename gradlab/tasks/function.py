"""A task that is a function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import float_array, positive
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss
from gradlab.tasks.base import DataTask
from gradlab.tasks.targets import checksum, loss_of

Array = NDArray[Any]
#: Length and batch of what is drawn to tell one function's data from another's.
PROBE = (32, 4)


@dataclass(frozen=True, eq=False)
class FunctionTask(DataTask):
    """A task that a function draws: ``draw(length, batch, rng)`` gives x and its targets.

    Parameters
    ----------
    draw : ``(T, B, numpy Generator) -> x (T, B, D), y``, where y is classes ``(B,)`` or ``(T, B)`` of whole numbers, or
        numbers ``(B, O)`` or ``(T, B, O)``. All that is random comes from the generator.
    input_size, output_size : D and O.
    steps : T, where there is one only.

    A study knows two functions apart by what they draw, 4 sequences of 32 steps (or of ``steps``) from one generator.

    Examples
    --------
    >>> def echo(length, batch, rng):
    ...     x = rng.standard_normal((length, batch, 1))
    ...     return x, x[0]
    >>> x, loss = next(FunctionTask(echo, 1, 1).batches(length=30, batch=2, seed=0))
    >>> x.shape, loss.kind
    ((30, 2, 1), 'mse')
    """

    draw: Callable[[int, int, np.random.Generator], tuple[Any, Any]]
    input_size: int
    output_size: int
    steps: int | None = None

    name: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        if not callable(self.draw):
            raise InputError(f"draw must be a function (length, batch, rng) -> (x, y), got {type(self.draw).__name__}")
        positive("input_size", self.input_size)
        positive("output_size", self.output_size)

    @property
    def fixed_length(self) -> int | None:
        """T where there is one only."""
        return self.steps

    def checksum(self) -> str:
        """Return the checksum of what is drawn from one generator."""
        x, loss = self.sample(self.steps or PROBE[0], PROBE[1], rng=np.random.default_rng(0))
        return checksum(x, loss.targets)

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return what the function draws, checked: ``x (T, B, D)``, and the loss of its targets."""
        answer = self.draw(positive("length", length), positive("batch", batch), rng)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise InputError(f"a task's function must return the pair (x, y), got {type(answer).__name__}")
        x = np.asarray(answer[0], np.float64)
        float_array("x of the task's function", x, (length, batch, self.input_size))
        return x, loss_of(np.asarray(answer[1]), at)
